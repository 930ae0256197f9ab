"""The Akoya token broker: connects bank accounts and keeps their tokens alive."""

__version__ = "0.1.0.dev0"  # the template's output, the operator's command and CHANGELOG say it too
