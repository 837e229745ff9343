"""A folder for each kind of server."""
