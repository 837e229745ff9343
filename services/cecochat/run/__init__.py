"""Runs servers: one, all of them in one process, or each in a process of its own."""
