"""Plots for a paper or a README, with matplotlib (the extra ``plot``)."""
