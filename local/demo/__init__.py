"""A small front end that uses the broker as a fintech would; invented, for one machine."""
