"""Where experience comes from: actors in turn with the learner, in processes, on a card, in a cluster; or recorded.

``factory.make_source`` chooses. Nothing is imported here, so that a cluster's relay, which is in this room, loads
neither torch nor Numba.
"""

#: So many actors may fail one after another before any of them delivers a game.
MAX_FAILURES = 3
