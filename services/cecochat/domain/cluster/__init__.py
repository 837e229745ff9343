"""Who owns what, how many servers there are, and what all of them have been told."""
