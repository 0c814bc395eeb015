"""Errors that a person can mend."""


class UserError(Exception):
    """Bad input. The command prints its message alone and exits with code 2."""
