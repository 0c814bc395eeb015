"""``check`` survives every environment, and its advice is always possible."""

import re

import gymnasium
import numpy as np
import pytest

from myosu.doctor import check_gym
from myosu.envs.making import EnvMaker
from odd_envs import Ten


class Bools(Ten):
    observation_space = gymnasium.spaces.Box(0, 1, (4, 4, 2), np.bool_)

    def see(self):
        return self.np_random.random((4, 4, 2)) < 0.5


@pytest.mark.parametrize(("make", "habit", "check", "message"), [
    (Bools, "", None, ""), (Ten, "close", None, ""),
    ("odd_envs:OddTen-v0", "close", "close", r"close\(\) raised RuntimeError: not connected"),
    (Ten, "text", "left-out", r"no network reads \['mission'\] \(Text\)"),
    (Ten, "huge reward", "contract", r"the reward is 1e\+39"), (Ten, "info none", "contract", "info is None"),
    (Ten, "exits", "contract", "tried to end the program"), (Ten, "far", "contract", "infinite for a network"),
    (Ten, "mask", "legal-actions", "of 3 actions 2.0 are legal"),
])
@pytest.mark.filterwarnings("ignore")
def test_check_of_an_odd_environment_completes(make, habit, check, message):
    findings = {finding.check: finding for finding in check_gym(EnvMaker(make, {"habit": habit}), 2)}
    assert check is None or re.search(message, findings[check].message), findings.keys()
    assert (check == "contract") == any(f.check == "contract" for f in findings.values())
