"""Webhooks: what they tell, to whom, in which order, and when to try again."""
