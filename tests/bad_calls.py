"""Functions that behave badly, for a helper process to call. They take an experiment's arguments, or none."""

import os
import sys
import time


def double(number):
    print("what an environment prints does not reach the output")
    return 2 * number


def refuse(kind):
    raise kind("not here")


def work(*_):
    return None


def fail(*_):
    return 1 / 0


def leave(*_):
    sys.exit(3)


def crash(*_):
    os._exit(7)


def hang(*_):
    time.sleep(1000)
