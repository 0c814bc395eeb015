"""For all tests: one thread, as in every process of Myosu. Two threads wait for each other at every operation, and on a
busy machine that takes a hundred times as long."""

from myosu.processes import one_thread

one_thread()  # before anything imports NumPy

import torch  # noqa: E402

torch.set_num_threads(1)
