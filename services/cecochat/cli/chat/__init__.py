"""Commands for a person who chats."""
