"""Checks that find silent failures."""

from myosu.doctor.check_env import check_vector_env
from myosu.doctor.check_game import check_game
from myosu.doctor.check_gym import check_gym
from myosu.doctor.finding import Finding

__all__ = ["Finding", "check_game", "check_gym", "check_vector_env"]
