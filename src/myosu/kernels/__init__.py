"""Compiled arithmetic for the CPU, and the switch that turns it off."""

import os

#: Use torch's own operations, float32 and automatic differentiation alone: the reference that the compiled kernels and
#: the closed-form gradients are compared with. Set the environment variable MYOSU_PLAIN=1 before Myosu is imported.
PLAIN = os.environ.get("MYOSU_PLAIN") == "1"
