"""Commands of an operator who looks for what is wrong."""
