"""What a running process tells about itself: logs and traces."""
