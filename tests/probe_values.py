"""What the probe environments (``myosu.envs.probes``) teach, by name."""

#: Observations, and Q of each action there.
Q_VALUES = (
    ("Constant", [1], [[1]]),
    ("Observation", [1, -1], [[1], [-1]]),
    ("Discount", [0, 1], [[0.5], [1]]),
    ("Action", [1], [[-1, 1]]),
    ("Both", [1, -1], [[-1, 1], [1, -1]]),
)

#: Observations, their values and the best actions (the first of equal ones).
PROBES = {
    "Constant": ([1.0], [1.0], [0]),
    "Observation": ([-1.0, 1.0], [-1.0, 1.0], [0, 0]),
    "Discount": ([0.0, 1.0], [0.5, 1.0], [0, 0]),
    "Action": ([1.0], [1.0], [1]),
    "Both": ([-1.0, 1.0], [1.0, 1.0], [0, 1]),
}
