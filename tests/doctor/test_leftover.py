"""BipedalWalker keeps state from earlier episodes: it reuses the world of its physics engine.

Destroyed bodies leave Box2D's collision proxies numbered in another order, by which contacts are sorted and solved.
(LunarLander did the same, until Gymnasium gave it a new world at every reset, issue 728.)
"""

import sys

import Box2D
import gymnasium
import pytest

from myosu.doctor.finding import Findings
from myosu.doctor.gym_play import RandomPlayer
from myosu.envs.making import EnvMaker

check_module = sys.modules["myosu.doctor.check_gym"]


class NewWorld(gymnasium.Wrapper):
    """Makes a new world for every episode."""

    def reset(self, **kwargs):
        walker = self.unwrapped
        walker._destroy()
        walker.hull, walker.world = None, Box2D.b2World()
        return self.env.reset(**kwargs)


@pytest.mark.parametrize(("wrapper", "checks"), [(gymnasium.Wrapper, ["leftover"]), (NewWorld, [])],
                         ids=["kept", "new"])
def test_bipedal_walker_world_kept_after_reset_is_reported(wrapper, checks, monkeypatch):
    player = RandomPlayer(EnvMaker(lambda: wrapper(gymnasium.make("BipedalWalker-v3"))), 3)
    findings = Findings()
    first = player.trajectory(0, 100)
    check_module._check_seeds(player, first, findings)
    player.close()
    assert [finding.check for finding in findings.list] == checks
    assert all(finding.severity == "warning" for finding in findings.list)
