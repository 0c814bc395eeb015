"""Every planted fault must be found under its name, and popular environments must pass."""

import importlib.util
import json
import re
import sys

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

from gym_toys import Broken, Everything, Walk
from myosu import cli
from myosu.doctor import check_gym, gym_play
from myosu.envs.gym_env import EnvMaker

check_module = sys.modules["myosu.doctor.check_gym"]  # the package's attribute of that name is the function


def check(env, episodes=30, **kwargs):
    return {finding.check: finding for finding in check_gym(EnvMaker(env, kwargs), episodes)}


def told(findings):
    return "\n".join(map(str, findings.values()))


@pytest.fixture(autouse=True)
def short(monkeypatch):
    monkeypatch.setattr(gym_play, "MAX_STEPS", 3000)


@pytest.fixture
def brief(monkeypatch):
    """For faults that random play shows: little time for the other examinations."""
    monkeypatch.setattr(check_module, "_LIMIT_SECONDS", 0.2)
    monkeypatch.setattr(check_module, "_TRIAL_SECONDS", 1.0)
    monkeypatch.setattr(check_module, "_RECORD_SECONDS", 0.02)


FLAWS = {
    "outside": ("observation-space", "error", r"component \[[01]\] of the observation at step \d+ of episode 0 is"),
    "dtype": ("observation-dtype", "error", "is float64; its space says float32"),
    "float64": ("float64", "info", "is float64"),
    "live observation": ("live-reference", "error", r"the observation of reset\(\) of episode 0 was changed by step 1"),
    "live mask": ("live-reference", "error", "the action mask of step"),
    "foreign chance": ("determinism", "error", "same seed and given the same actions"),
    "leftover at reset": ("leftover", "error", r"differs from reset\(\) on"),
    "leftover later": ("leftover", "warning", "differs from step 4 on"),
    "no chance": ("one-episode", "info", "six different seeds gave the same episode"),
    "endless": ("endless", "warning", "did not end within 3000 steps"),
    "time limit": ("time-limit", "warning", "100% of random episodes were terminated at exactly step 30"),
    "both ends": ("both-ends", "warning", "30 of 30 ends were terminated and truncated in the same step"),
    "dying early pays": ("early-end", "warning", "dying early pays: most steps cost 0.1, an end 0.3"),
    "hurry": ("early-end", "info", "look at this: a step costs 1 on average"),
    "high reward": ("reward-scale", "warning", r"are large: up to ±5,000 a step"),
    "low reward": ("reward-scale", "warning", "are small: up to ±0.0001 a step"),
    "no reward": ("no-signal", "warning", r"all rewards of \d+ random episodes were 0"),
    "always 1": ("no-signal", "info", "all 30 random episodes had the return 1"),
    "badly scaled": ("observation-scale", "warning", r"component \[0\] goes from -1,000 to 1,000"),
    "constant component": ("constant-observation", "warning", r"1 of 2 components .* \[1\]"),
    "constant": ("constant-observation", "warning", "2 of 2 components"),
    "useless moves": ("useless-moves", "warning", r"9\d% of random moves changed nothing .* among 300"),
    "illegal moves": ("legal-actions", "info", r"of 2 actions 1\.\d are legal"),
}


@pytest.mark.parametrize("flaw", FLAWS)
@pytest.mark.usefixtures("brief")
def test_planted_faults_are_reported(flaw):
    name, severity, message = FLAWS[flaw]
    findings = check(Walk, flaw=flaw)
    assert name in findings, told(findings)
    found = findings.pop(name)
    assert found.severity == severity
    assert re.search(message, found.message), found.message
    assert found.advice or found.severity == "info"
    if flaw in ("live mask", "illegal moves"):  # step() accepts actions that the mask forbids
        findings.pop("mask-missing", None)
    # Constant observations also hide information, and actions without visible effect also count as dead: the same
    # fault, found by two checks.
    findings.pop({"constant": "hidden-information", "useless moves": "dead-actions"}.get(flaw, ""), None)
    assert [str(other) for other in findings.values() if other.severity != "info"] == [], "nothing else is wrong"


@pytest.mark.parametrize(("habit", "message"), [
    ("reset", r"reset\(\) raised RuntimeError: no level"), ("old reset", r"must return \(observation, info\)"),
    ("step", r"step 3: step\(\) raised ZeroDivisionError"), ("old step", r"step\(\) must return"),
    ("nan", "holds NaN"), ("nan reward", "the reward is nan"), ("list reward", r"the reward is \[1, 2\]"),
    ("shape", r"the observation is int32 \[3\]"), ("long mask", "4 entries for 3 actions"),
    ("empty mask", "allows no action"), ("no mask", "at some steps only"),
])
def test_failures_during_play_are_reported_as_findings(habit, message):
    findings = check(Broken, habit=habit)
    found = findings["contract"]
    assert found.severity == "error" and re.search(message, found.message), told(findings)
    assert "reset" in habit or len(found.history) == 3


REAL = ("CartPole-v1", "Taxi-v4", "MountainCar-v0", "Blackjack-v1", "FrozenLake-v1", "Pendulum-v1", "LunarLander-v3",
        *(f"myosu.envs:myosu/{name}-v0" for name in ("Snake", "SnakePublished", "Woodoku", "WoodokuPublished",
                                                    "ProbeConstant", "ProbeObservation", "ProbeDiscount",
                                                    "ProbeAction", "ProbeBoth")))


@pytest.mark.parametrize("env", [*REAL, Walk], ids=str)
def test_healthy_environments_cause_no_warnings(env):
    if env == "LunarLander-v3" and importlib.util.find_spec("Box2D") is None:
        pytest.skip("Box2D is not installed")
    findings = check(env)
    assert [str(found) for found in findings.values() if found.severity != "info"] == []
    assert list(findings)[-1] == "speed" and "steps/s" in findings["speed"].message
    assert "early-end" not in findings and "random episodes" in findings["episodes"].message


@pytest.mark.usefixtures("brief")
def test_findings_name_the_part_of_the_observation():
    findings = check(Everything)
    assert "the observation['speed'] at reset() of episode 0 is float64" in findings["float64"].message
    assert "never changed in random play: ['inner']['flag'][0]." in findings["constant-observation"].message
    assert {name for name, found in findings.items() if found.severity != "info"} == {
        "no-signal", "gymnasium", "constant-observation"}
    assert "AssertionError" in findings["gymnasium"].message, "Gymnasium's checker ignores the action mask"


@pytest.mark.usefixtures("brief")
def test_image_layout_is_reported():
    findings = check("myosu.envs:myosu/Woodoku-v0", episodes=2)
    assert "[18, 9, 9] are read as 9 rows and 9 columns with 18 channels, which come first" in told(findings)


class Rooms(gymnasium.Env):
    """An image nested two levels deep in the observation."""

    observation_space = spaces.Dict({"rooms": spaces.Dict({"view": spaces.Box(0, 255, (6, 7, 3), np.uint8)})})
    action_space = spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.steps = 0
        return self.observation_space.sample(), {}

    def step(self, action):
        self.steps += 1
        return self.observation_space.sample(), 1.0, self.steps == 9, False, {}


def test_image_layout_is_reported_for_nested_observations():
    assert ("observations['rooms']['view'] [6, 7, 3] are read as 6 rows and 7 columns with 3 channels, which come last"
            in check(Rooms)["layout"].message)


@pytest.mark.usefixtures("brief")
def test_findings_contain_advice():
    mountain = check("MountainCar-v0", 12)
    assert "all 12 random episodes had the return -200" in mountain["no-signal"].message
    assert "--max-episode-steps 1000" in check(Walk, flaw="endless")["endless"].advice
    assert "multiply rewards by 0.0001" in check(Walk, flaw="high reward")["reward-scale"].advice


@pytest.mark.usefixtures("brief")
def test_gymnasium_warnings_are_reported_once_without_colours():
    class Odd(Walk):
        def step(self, action):
            *answer, ended, cut, info = super().step(action)
            return *answer, int(ended), cut, info

    findings = check_gym(EnvMaker(Odd), 5)
    heard = [found for found in findings if found.check == "gymnasium"]
    assert [found.severity for found in heard] == ["warning"] and "\x1b" not in heard[0].message
    assert "Expects `terminated` signal to be a boolean" in heard[0].message
    assert [found.check for found in check_gym(EnvMaker(Walk, {"flaw": "outside"}), 5)].count("observation-space") == 1


@pytest.mark.usefixtures("brief")
def test_failed_gymnasium_assertion_is_an_error():
    class Unseeded(Walk):
        def reset(self, *, seed=None, options=None):
            return super().reset(seed=5)

    findings = check(Unseeded)
    assert "one-episode" in findings and findings["gymnasium"].severity == "error", told(findings)
    assert "does not call `super().reset(seed=seed)`" in findings["gymnasium"].message


@pytest.mark.usefixtures("brief")
def test_illegal_moves_by_gymnasiums_checker_are_not_an_error():
    class Strict(Walk):
        def step(self, action):
            if not self.mask[action]:
                raise ValueError("illegal")
            return super().step(action)

        def info(self):
            self.mask[0] = 0
            return {"action_mask": self.mask.copy()}

    findings = check(Strict)
    assert "ValueError: illegal" in findings["gymnasium"].message
    assert {found.severity for found in findings.values()} <= {"warning", "info"}, told(findings)


def test_check_command_on_a_gymnasium_environment(capsys):
    class Loud(Walk):
        def reset(self, *, seed=None, options=None):
            print("reset")
            return super().reset(seed=seed)

    gymnasium.register("toys/Walk-v0", Loud, max_episode_steps=200)
    try:
        assert cli.run(["check", "toys/Walk-v0", "--games", "10"]) == 0
        assert "toys/Walk-v0: the environment keeps the contract" in capsys.readouterr().out
        assert cli.run(["check", "toys/Walk-v0", "--games", "10", "--json", "--env-kwargs", '{"flaw": "outside"}']) == 1
        report = json.loads(capsys.readouterr().out)
        assert report["game"] == "toys/Walk-v0" and not report["ok"]
        assert report["findings"][0]["check"] == "observation-space"
        assert cli.run(["check", "toys/Walk-v0", "--env-kwargs", '{"wall": 3}']) == 2
        assert "cannot be made" in capsys.readouterr().err
    finally:
        del gymnasium.registry["toys/Walk-v0"]
