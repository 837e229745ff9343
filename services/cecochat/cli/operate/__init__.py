"""Commands for an operator who sets rules, or looks for what is wrong."""
