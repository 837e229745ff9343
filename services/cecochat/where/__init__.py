"""Where one message is, asked by its id: what is asked of the servers, and the answer."""
