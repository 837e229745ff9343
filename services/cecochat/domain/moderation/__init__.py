"""What users report, and what moderators do about it."""
