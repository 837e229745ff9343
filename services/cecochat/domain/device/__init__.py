"""What a client must do to keep its half of the promises."""
