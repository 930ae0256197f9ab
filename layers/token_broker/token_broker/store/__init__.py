"""What each write to the tables changes, and which named conditions guard it: values, no I/O."""
