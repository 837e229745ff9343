"""CecoChat: a chat back end that never loses, doubles or silently omits an acknowledged message."""

__version__ = "0.1.0"
