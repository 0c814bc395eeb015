"""Evaluation: matches, episodes, ratings, comparisons, and the GTP engine."""
