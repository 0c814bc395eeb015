"""Myosu (묘수): train agents that play games on an ordinary computer."""

__version__ = "0.1.0"
