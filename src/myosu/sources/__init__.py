"""Sources of experience: actors in turn with the learner, in threads, in processes or in a cluster; recorded games.

``factory.make_source`` chooses one. Nothing is imported here, so that a cluster's relay, which is in this package,
loads neither torch nor Numba.
"""

#: Number of failures of actors in a row, without a game in between, that a run tolerates.
MAX_FAILURES = 3
