"""The training loop, and what runs beside it: evaluators, progress, trackers, videos."""
