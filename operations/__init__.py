"""What an operator does to a deployed stack by hand: move in, move out, undo, adopt."""
