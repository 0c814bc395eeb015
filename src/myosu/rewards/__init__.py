"""Reward signals, one file each, whose weighted sum the agent maximises.

A signal is a class that implements ``RewardSignal``. To add one, write it in a new file here and add it to
``reward_signals`` of the algorithms that use it.
"""
