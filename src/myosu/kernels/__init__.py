"""Compiled kernels for the CPU, and the switch that disables them."""

import os

#: Use only torch's operations, float32 and automatic differentiation, as a reference for the compiled kernels and the
#: hand-written gradients. To enable it, set the environment variable MYOSU_PLAIN=1 before Myosu is imported.
PLAIN = os.environ.get("MYOSU_PLAIN") == "1"
