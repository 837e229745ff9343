"""How queries reach the history server. No type of a transport is used outside this folder."""
