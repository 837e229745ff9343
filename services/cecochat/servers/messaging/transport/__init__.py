"""How streams reach the messaging server; nothing of a transport's types leaves this folder."""
