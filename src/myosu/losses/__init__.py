"""Loss functions and returns: pure functions without networks."""
