"""What CecoChat decides, without I/O, clock or randomness."""
