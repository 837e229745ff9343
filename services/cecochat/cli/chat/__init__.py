"""Commands of a person who chats."""
