"""How streams reach the messaging server. No type of a transport is used outside this folder."""
