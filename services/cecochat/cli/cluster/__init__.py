"""Commands that start servers, and that show and change what each has to do."""
