"""What is started: one server, all of them in one process, or a process for each."""
