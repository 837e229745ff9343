"""Commands that bring messages in and out, and compare them."""
