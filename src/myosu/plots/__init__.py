"""Pictures for a paper or a README, by matplotlib (the extra ``plot``)."""
