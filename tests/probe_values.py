"""What the probe environments (``myosu.envs.probes``) teach, by name: observations, and Q of each action there."""

Q_VALUES = (
    ("Constant", [1], [[1]]),
    ("Observation", [1, -1], [[1], [-1]]),
    ("Discount", [0, 1], [[0.5], [1]]),
    ("Action", [1], [[-1, 1]]),
    ("Both", [1, -1], [[-1, 1], [1, -1]]),
)
