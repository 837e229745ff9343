"""Commands that start servers and say what each has to do."""
