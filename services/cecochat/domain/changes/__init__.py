"""Edits, deletions and reactions: who may make them, and what becomes of a message. Pure."""
