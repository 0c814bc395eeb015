"""Replay buffers: transitions, sequences and unrolls, with priorities."""
