"""Hyperparameter search: ``space.py`` defines the settings to search, ``study.py`` runs and measures it."""
