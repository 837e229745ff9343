"""Commands that import, export, restore and compare messages."""
