"""The edge: HAProxy in front of all ports that clients reach."""
