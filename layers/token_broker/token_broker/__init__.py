"""The Akoya token broker: connects bank accounts and keeps their tokens alive."""
