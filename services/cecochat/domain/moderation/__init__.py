"""What operators and the product allow people to say, and what users report. Pure."""
