"""Attacks on the running system over its real sockets, and what each costs the others."""
