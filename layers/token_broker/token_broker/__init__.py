"""The Akoya token broker: connects bank accounts and keeps their tokens alive."""

__version__ = "0.1.0.dev0"  # so say template, operators' command, client and CHANGELOG
