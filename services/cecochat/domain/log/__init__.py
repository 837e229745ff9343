"""What the records of a partition are, and what they mean in their order, to every reader."""
