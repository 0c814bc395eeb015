"""Leagues: many players rated on one scale; the schedule, the processes that play, and the folder of results."""
