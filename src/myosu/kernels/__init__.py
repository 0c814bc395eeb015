"""Compiled arithmetic for the processor."""
