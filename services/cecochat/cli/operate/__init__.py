"""Commands for an operator who looks for what is wrong."""
