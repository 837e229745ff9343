"""Which server owns which partition, how many servers there are, and what configures them all."""
