"""What the owner of a partition does: accept sends, read them back, deliver and forward."""
