"""The files of a run's folder: configuration, checkpoints, records of episodes and games, metrics."""
