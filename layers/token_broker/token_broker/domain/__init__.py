"""What a connection is and which moves it has; standard library only, no I/O, clock or chance."""
