"""Hyperparameter search: ``space.py`` defines the settings to search, ``study.py`` tries them and measures the result.
"""
