"""What is to be maximised: reward signals, one file each, and their sum.

A signal is a class with what ``RewardSignal`` says. To add one, write it in a file of its own here and name it in
``reward_signals`` of the algorithms that are to have it.
"""
