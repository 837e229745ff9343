"""A stream of a device, as the server sees it: where it resumes, what it may send and is owed."""
