"""The command line: one file a concern. What is slow to import is imported where it is used."""
