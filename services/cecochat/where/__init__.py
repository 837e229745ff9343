"""Finds out where a message is, by its id: gathers the facts and puts the answer together."""
