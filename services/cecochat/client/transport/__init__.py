"""How a client's streams reach a messaging server. The rest of the client knows only `base`."""
