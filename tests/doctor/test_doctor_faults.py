"""Planted faults that random play alone does not show, one of each kind; ``scripts/measure_doctor.py`` runs all."""

import sys
import time

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

from faults import FAULTS, bases
from faults.game_faults import DICE, FIVE
from faults.healthy import Walled, _shaped
from faults.other_bases import PAINT
from gym_toys import Counter
from myosu import cli
from myosu.doctor import check_game, check_gym, gym_play, prediction
from myosu.doctor.apart import examine_apart
from myosu.doctor.predictor import unexplained
from myosu.envs.gym_env import EnvMaker
from myosu.envs.registry import load_environment
from myosu.errors import UserError

check_module = sys.modules["myosu.doctor.check_gym"]  # the package's attribute of that name is the function
pytestmark = pytest.mark.slow

QUICK = ("wall is not seen", "off by one", "made before the move", "mask all true: walls",
         "truncated to a bool", "the last one counts", "one line of the kite", "hidden information: velocity",
         "the turn's points", "banked points", "the notes' own", "bytes divided", "thorns are never drawn",
         "time limit as an end: seldom", "both ends: MountainCar's",
         "the order of the day before", "steps the bare environment", "only the sign is kept", "takes the raw reward")
GAMES = ("shifted", "overwrite", "own marks", "a corner", "divided by two", "two are one",
         "any empty square", "a game hides: a box", "heuristic: of the other side", "two cells exchanged",
         "Nim, more than there is", "Nim, a heap")


ACTIONS = {"dead-actions", "aliased-actions", "ignored-actions", "mask-illegal", "mask-all-true", "mask-missing",
           "mask-stale"}
PREDICTED = {"hidden-information", "delayed-reward"}


def only(monkeypatch, looked_for):
    """Shorten the examinations of actions and by prediction, unless they look for ``looked_for``."""
    if not PREDICTED & set(looked_for):
        monkeypatch.setattr(prediction, "_MOST_OF_GAMES", 640)
        if ACTIONS & set(looked_for):
            monkeypatch.setattr(check_module, "_RECORD_SECONDS", 0.02)
            monkeypatch.setattr(check_module, "_TRIAL_SECONDS", 5.0)
    if not ACTIONS & set(looked_for):
        monkeypatch.setattr(check_module, "_TRIAL_SECONDS", 0.5)


@pytest.mark.parametrize("words", QUICK)
def test_environment_faults_are_reported(words, monkeypatch):
    fault = next(fault for fault in FAULTS if words in str(fault))
    only(monkeypatch, fault.checks)
    findings = check_gym(EnvMaker(fault.make))
    assert fault.verdict(findings) == "found", [str(finding) for finding in findings]


@pytest.mark.parametrize("words", GAMES)
def test_game_faults_are_reported(words, monkeypatch):
    fault = next(fault for fault in FAULTS if words in str(fault))
    only(monkeypatch, fault.checks)
    findings = check_game(fault.make())
    assert fault.verdict(findings) == "found", [str(finding) for finding in findings]


@pytest.mark.parametrize("make", [bases.Cart, bases.Garden, bases.Stones, bases.Pig, bases.Kite, bases.Chase, Walled,
                                  _shaped], ids=lambda make: make.__name__)
def test_healthy_environments_cause_no_warnings(make, monkeypatch):
    monkeypatch.setattr(check_module, "_TRIAL_SECONDS", 3.0)
    monkeypatch.setattr(check_module, "_LIMIT_SECONDS", 1.0)
    assert [str(found) for found in check_gym(EnvMaker(make)) if found.severity != "info"] == []


@pytest.mark.parametrize("game", [FIVE, DICE, PAINT], ids=lambda game: game.name)
def test_healthy_games_cause_no_warnings(game):
    assert [str(found) for found in check_game(game) if found.severity != "info"] == []


def test_unexplained_variance_of_targets():
    rng = np.random.default_rng(0)
    x, groups = rng.normal(size=(2000, 3)), np.arange(2000) // 20
    targets = np.stack([x[:, 0] * x[:, 1], rng.normal(size=2000), x[:, 2] + rng.normal(size=2000)], axis=1)
    product, noise, half = unexplained(x, targets, groups)
    assert product < 0.1 and noise > 0.9 and 0.4 < half < 0.65


def test_state_visible_in_observations_is_not_reported_as_hidden():
    """A position on 64 cells, shown as one of 64. Rare cells are not learned, but not hidden either."""
    rng = np.random.default_rng(0)
    cells = np.minimum(rng.geometric(0.12, 3000) - 1, 63)
    shown = np.eye(64, dtype=np.float32)[cells]

    def hidden(values):
        return prediction._categories(prediction.Transitions(
            shown, np.ones((3000, 1), np.float32), np.zeros(3000), shown, np.zeros(3000, np.bool_),
            np.arange(3000) % 30 == 0, np.arange(3000) // 30, {"s": np.asarray(values, np.float64)[:, None]}))

    assert hidden(rng.permutation(64)[cells]) == {}
    assert list(hidden(cells + 64 * rng.integers(0, 3, 3000))) == ["s"]


# --- any environment


class Sleepy(Counter):
    """Makes ten steps a second."""

    def step(self, action):
        time.sleep(0.1)
        return super().step(action)


def test_check_of_a_slow_environment_ends_in_time(monkeypatch):
    monkeypatch.setattr(gym_play, "MAX_SECONDS", 2.0)
    begun = time.monotonic()
    findings = check_gym(EnvMaker(Sleepy))
    assert time.monotonic() - begun < 60
    assert sum(finding.check == "unjudged" for finding in findings) == 2
    assert any("steps/s" in finding.message for finding in findings if finding.check == "unjudged")


FILE = '''
import os, sys, time
import gymnasium, numpy as np
from gymnasium import spaces

class {name}(gymnasium.Env):
    observation_space, action_space = spaces.Box(-1, 1, (2,), np.float32), spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.count = 0
        return self.observe(), {{}}

    def observe(self):
        return self.np_random.uniform(-1, 1, 2).astype(np.float32)

    def step(self, action):
        self.count += 1
        if self.count == 7:
            {habit}
        return self.observe(), float(action), self.count == 9, False, {{}}
'''


def write(folder, habit, name="Mine"):
    path = folder / f"{name.lower()}.py"
    path.write_text(FILE.format(habit=habit, name=name))
    return str(path)


@pytest.mark.parametrize(("habit", "check", "words"), [
    ("os._exit(7)", "crash", "exit code 7"), ("time.sleep(1000)", "hang", "did not return"),
    ("sys.exit(0)", "contract", "sys.exit(0)"), ("os.kill(os.getpid(), 11)", "crash", "exit code -11"),
])
def test_crashing_and_hanging_environments_are_reported(tmp_path, habit, check, words):
    name, is_game, findings = examine_apart(write(tmp_path, habit), {}, None, 0, seconds=20)
    found = next(finding for finding in findings if finding.check == check)
    assert found.severity == "error" and words in found.message and not is_game and name.endswith("mine.py")


@pytest.mark.parametrize("seconds", [0.5, 6])
def test_game_check_without_time_ends_as_unjudged(seconds):
    """As on a busy machine, or with a small --minutes: too short a silence is no hang."""
    found = examine_apart("othello", {}, 100_000, 0, seconds=seconds)[2]
    assert [(finding.severity, finding.check) for finding in found] == [("info", "unjudged")]


def test_environment_in_a_file_is_checked(tmp_path, capsys):
    path = write(tmp_path, "pass")
    assert cli.run(["check", path]) == 0
    assert "mine.py: the environment keeps the contract" in capsys.readouterr().out
    with open(path, "a") as file:
        file.write("\n\nclass Other(Mine):\n    pass\n\n\nclass Third(gymnasium.Env):\n    pass\n")
    with pytest.raises(UserError, match=r"which environment\?.*Other"):
        load_environment(path)
    assert load_environment(f"{path}:Mine").spec.num_actions == 2
    with pytest.raises(UserError, match="Nobody"):
        load_environment(f"{path}:Nobody")


def test_continuous_components_are_named(monkeypatch):
    only(monkeypatch, ["ignored-actions"])

    class Deaf(bases.Kite):
        def pull(self, action):
            return np.array([0.3, action[1]])

    found = {finding.check: finding for finding in check_gym(EnvMaker(Deaf))}
    assert "component 0 of the action" in found["ignored-actions"].message


def test_waiting_action_is_not_a_fault(monkeypatch):
    only(monkeypatch, ["dead-actions"])

    class Waits(bases.Garden):
        moves = np.array([*bases.Garden.moves, (0, 0)])

        def __init__(self):
            super().__init__()
            self.action_space = spaces.Discrete(5)

    assert [str(found) for found in check_gym(EnvMaker(Waits)) if found.severity != "info"] == []
    assert isinstance(Waits(), gymnasium.Env)
