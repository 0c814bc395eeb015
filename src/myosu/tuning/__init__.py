"""A search for settings: ``space.py`` says which, ``study.py`` tries them and measures what was found."""
