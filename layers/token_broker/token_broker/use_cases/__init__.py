"""What the broker does, one module per function; everything outside comes in as an argument."""
