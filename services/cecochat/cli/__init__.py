"""The command line. Each command has a file, and imports what is slow only when it is used."""
