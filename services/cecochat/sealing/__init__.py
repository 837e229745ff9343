"""Texts are sealed with a key of the user who wrote them, so that they end with their key."""
