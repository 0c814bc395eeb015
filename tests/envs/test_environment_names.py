"""Names of environments, and the flags, wrappers and presets with which they are made."""

import sys
from dataclasses import replace

import pytest

from myosu.commands.options import read_environment_flags
from myosu.envs.making import absolute_name
from myosu.envs.packages import import_package_of
from myosu.envs.registry import load_environment
from myosu.errors import UserError
from myosu.presets import load_preset
from myosu.trust import exists, source_of

MINE = '''
import gymnasium
import numpy as np


class {name}(gymnasium.Env):
    observation_space = gymnasium.spaces.Box(-1, 1, (3,), np.float32)
    action_space = gymnasium.spaces.Discrete(2)

    def __init__(self, size=3):
        self.size = size

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return np.zeros(3, np.float32), {{}}

    def step(self, action):
        return np.zeros(3, np.float32), 1.0, True, False, {{}}


def make_{name}():
    return {name}()


{more}
'''


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A user's folder with environments in modules with unique names."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path])
    (tmp_path / "mine_one.py").write_text(MINE.format(name="Mine", more=""))
    (tmp_path / "mine_registered.py").write_text(
        MINE.format(name="Mine", more='gymnasium.register("MineRegistered-v0", Mine)'))
    others = "class Later(Mine):\n    pass\n\n\nclass Other(gymnasium.Env):\n    pass"
    (tmp_path / "mine_two.py").write_text(MINE.format(name="Mine", more=others))
    (tmp_path / "mine_none.py").write_text("x = 1")
    return tmp_path


@pytest.mark.parametrize("name", ["mine_one.py", "mine_one.py:Mine", "mine_one:Mine", "mine_one:make_Mine",
                                  "mine_registered.py", "mine_registered:MineRegistered-v0", "mine_two:Later"])
def test_environment_in_the_current_folder_is_found(folder, name):
    environment = load_environment(name)
    assert environment.spec.observation_shape == (3,) and environment.spec.num_actions == 2
    env = replace(environment, workers="synchronous").make(2, 0)  # worker processes find it, too
    env.reset()
    assert env.recv().reward.tolist() == [0, 0]
    env.close()


@pytest.mark.parametrize(("name", "message"), [
    ("mine_two.py", r"mine_two\.py: which environment\? Available: mine_two\.py:Mine, mine_two\.py:Later, .*:Other\."),
    ("mine_none.py", r"mine_none\.py defines neither a game \(GAME = Game\(\.\.\.\)\) nor an environment"),
    ("mine_none:Mine", r"no environment 'Mine' in mine_none\. It registers nothing with Gymnasium and defines no"),
    ("mine_registered:Other-v0", r"Available: mine_registered:MineRegistered-v0, mine_registered:Mine\."),
    ("nowhere:Mine", r"no module 'nowhere' for 'nowhere:Mine': neither installed nor in the current folder"),
    ("Nowhere-v0", r"no game or environment 'Nowhere-v0'.*module:MyEnv with the module that"),
    ("nowhere.py:Mine", r"There is no file 'nowhere\.py'"),
])
def test_unresolved_names_are_refused_with_a_hint(folder, name, message):
    with pytest.raises(UserError, match=message):
        load_environment(name)


def test_source_of_every_environment_name_is_known(folder):
    """So that another person's run folder cannot run code that the user has not agreed to."""
    assert source_of("mine_one.py:Mine") == source_of("mine_one.py") == str(folder / "mine_one.py")
    assert source_of("mine_one:Mine") == "mine_one" and exists("mine_one"), "the module is in the current folder"
    assert source_of("gymnasium.wrappers:FlattenObservation") is None
    assert absolute_name("mine_one.py:Mine") == f"{folder}/mine_one.py:Mine" and absolute_name("a:B") == "a:B"


def install(folder, package, needs="gymnasium>=1.0", **modules):
    """Create an installed package: its modules (``wrapper="…"``; ``init`` is ``__init__.py``) and its metadata."""
    about = folder / f"{package}-1.0.dist-info"
    for place in (folder / package, about):
        place.mkdir()
    for name, text in {"init": "", **modules}.items():
        (folder / package / ("__init__.py" if name == "init" else f"{name}.py")).write_text(text)
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\nRequires-Dist: {needs}\n")
    (about / "RECORD").write_text("".join(f"{package}/{'__init__' if name == 'init' else name}.py,,\n"
                                          for name in ("init", *modules)))


def test_package_that_registers_the_environment_is_imported(tmp_path, monkeypatch):
    """The package is found among all installed ones by its requirements and its name."""
    registers = 'gymnasium.register("Minefield-8x8-v0", Mine)'
    install(tmp_path, "minefield_env", init=MINE.format(name="Mine", more=registers))
    monkeypatch.syspath_prepend(tmp_path)
    assert not import_package_of("Unheard-of-v0")
    assert load_environment("Minefield-8x8-v0").spec.num_actions == 2


def test_package_that_cannot_be_imported_is_reported(tmp_path, monkeypatch):
    """For example MiniWorld without a display: advice to install it would not help."""
    install(tmp_path, "quicksand_env", init='raise RuntimeError("no display")')
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UserError, match=r"quicksand_env is installed, but cannot be imported: Runtime.*no display"):
        load_environment("Quicksand-v0")


def test_registering_module_is_found_by_its_source_text(tmp_path, monkeypatch):
    """For example ViZDoom, whose package registers nothing itself, or BabyAI, whose package has another name."""
    registers = 'for size in (3, 4):\n    gymnasium.register(f"Swamp-{size}-v0", Mine)'
    install(tmp_path, "bog_games", other='raise RuntimeError("Swamp, but nothing is entered here")',
            wrapper=MINE.format(name="Mine", more=registers))
    monkeypatch.syspath_prepend(tmp_path)
    assert load_environment("Swamp-4-v0").spec.num_actions == 2


def test_package_for_the_old_gym_is_reported(tmp_path, monkeypatch):
    install(tmp_path, "antique_games", "gym>=0.21",
            init='from gym.envs.registration import register\nregister(id="Antique-v0")')
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UserError, match=r"The package antique_games has it\. It is made for gym, .*GymV26Environment"):
        load_environment("Antique-v0")


def test_flags_become_environment_arguments():
    assert read_environment_flags('{"size": 5}') == {"size": 5}
    assert read_environment_flags(max_episode_steps=9) == {"max_episode_steps": 9}
    assert read_environment_flags(wrapper=["a:B", 'c:D {"by": 2}'], frame_stack=3)["wrappers"] == [
        {"wrapper": "a:B", "kwargs": {}}, {"wrapper": "c:D", "kwargs": {"by": 2}},
        {"wrapper": "gymnasium.wrappers:FrameStackObservation", "kwargs": {"stack_size": 3}}]
    atari = read_environment_flags(atari=True)
    assert atari["frameskip"] == 1 and [w["wrapper"].rpartition(":")[2] for w in atari["wrappers"]] == [
        "AtariFrames", "FrameStackObservation"]
    for wrong in ({"frame_stack": 0}, {"max_episode_steps": 0}, {"wrapper": ["Flatten"]}, {"wrapper": ["a:B {"]},
                  {"env_kwargs": "[1]"}):
        with pytest.raises(UserError, match="--"):
            read_environment_flags(**wrong)


def test_failing_wrapper_is_reported():
    with pytest.raises(UserError, match=r"CartPole-v1: the wrapper gymnasium.wrappers:FrameStackObservation .* cannot"):
        load_environment("CartPole-v1", {"wrappers": [{"wrapper": "gymnasium.wrappers:FrameStackObservation"}]})
    with pytest.raises(UserError, match=r"module gymnasium.wrappers has no 'FlatenObservation'. Did you mean 'Flatten"):
        load_environment("CartPole-v1", {"wrappers": [{"wrapper": "gymnasium.wrappers:FlatenObservation"}]})


def test_changed_environment_does_not_get_the_preset():
    from myosu.algorithms.ppo import Config

    own = load_preset("ppo", load_environment("CartPole-v1"), Config)
    of_its_kind = load_preset("ppo", load_environment("Acrobot-v1"), Config)
    assert own != of_its_kind == load_preset("ppo", load_environment("CartPole-v1", {"max_episode_steps": 50}), Config)


def test_kinds_of_environments_have_a_preset_whatever_their_arguments_are():
    from myosu.algorithms.ppo import Config

    names = [("Taxi-v4", {}), ("FrozenLake-v1", {"map_name": "8x8"}), ("CliffWalking-v1", {"max_episode_steps": 200})]
    for name, kwargs in names:
        assert load_preset("ppo", load_environment(name, kwargs), Config)["gae_lambda"] == 0.85
    for name in ("Acrobot-v1", "MountainCar-v0"):
        assert load_preset("ppo", load_environment(name), Config) == {"epochs": 10, "learning_rate": 1e-3}
    assert not load_preset("ppo", load_environment("Blackjack-v1"), Config), "three parts"
