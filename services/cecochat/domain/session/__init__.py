"""A stream of a device, as the server sees it: where it resumes, and what it may send and gets."""
