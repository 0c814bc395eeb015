"""Reward signals, one file each. The agent maximises their weighted sum.

A signal is a class that implements ``RewardSignal``. To add one, write it in a new file here and add it to
``reward_signals`` of the algorithms that use it.
"""
