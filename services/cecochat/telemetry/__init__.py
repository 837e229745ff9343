"""What a running process says of itself: logs and traces."""
