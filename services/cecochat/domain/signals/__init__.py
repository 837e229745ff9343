"""Typing and presence: who is told what of whom, and when."""
