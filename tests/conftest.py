"""For all tests: one thread, as in every process of Myosu. Two threads wait for each other at every operation, and on a
busy machine that takes a hundred times as long."""

import torch

torch.set_num_threads(1)
