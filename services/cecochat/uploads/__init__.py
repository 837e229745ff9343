"""What shows that files were uploaded for a message, so that its owner need not ask the store."""
