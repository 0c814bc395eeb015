"""Leagues, which rate many players on one scale: schedule, worker processes and the folder of results."""
