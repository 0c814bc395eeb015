"""A run is a folder of files and tensors: configuration, checkpoints, records of episodes and games, metrics."""
