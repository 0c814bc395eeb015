"""A Gymnasium environment in the page: keys, steps, recordings, and the page in a real browser."""

import contextlib
import enum
import json
from types import SimpleNamespace

import gymnasium
import numpy as np
import pytest

from myosu.envs.registry import load_environment
from myosu.errors import UserError
from myosu.players.agent import load_agent
from myosu.runs.recordings import open_recording
from myosu.web.controls import Control, find_controls
from myosu.web.screen import Recorder, Screen, Session, png
from web_runs import serving, untrained_run


class Named(gymnasium.Env):
    """Provides the names of its actions."""

    def __init__(self, names=(), keys=None) -> None:
        self.spec = None
        if names:
            self.get_action_meanings = lambda: names
        if keys:
            self.get_keys_to_action = lambda: keys


def discrete(count: int) -> SimpleNamespace:
    return SimpleNamespace(action_low=(), action_high=(), action_branches=(), num_actions=count)


def keys_of(env, spec) -> dict:
    return {control.keys: control.action for control in find_controls(env, spec).controls}


def test_keys_follow_from_action_names():
    atari = Named(("NOOP", "FIRE", "UP", "RIGHT", "LEFT", "UPRIGHT", "UPFIRE"))
    controls = find_controls(atari, discrete(7))
    assert controls.idle == 0
    assert {control.keys: control.action for control in controls.controls} == {
        (" ",): 1, ("ArrowUp",): 2, ("ArrowRight",): 3, ("ArrowLeft",): 4, ("ArrowUp", "ArrowRight"): 5,
        ("ArrowUp", " "): 6}
    minigrid = Named()
    minigrid.actions = enum.IntEnum("Actions", "left right forward pickup drop toggle done", start=0)
    assert keys_of(minigrid, discrete(7)) == {("ArrowLeft",): 0, ("ArrowRight",): 1, ("ArrowUp",): 2, ("1",): 3,
                                              ("2",): 4, (" ",): 5, ("3",): 6}
    assert keys_of(Named(), discrete(2)) == {("1",): 0, ("2",): 1}


def test_own_keys_of_an_environment_come_first():
    own = Named(("stay", "jump", "run"), {(ord("w"),): 1, (1073741903, ord("w")): 2, (): 0})
    assert find_controls(own, discrete(3)).controls == (
        Control(("w",), "jump", 1), Control(("ArrowRight", "w"), "run", 2))


@pytest.mark.parametrize(("env_id", "keys"), [
    ("FrozenLake-v1", {("ArrowLeft",): 0, ("ArrowDown",): 1, ("ArrowRight",): 2, ("ArrowUp",): 3}),
    ("FrozenLake8x8-v1", {("ArrowLeft",): 0, ("ArrowDown",): 1, ("ArrowRight",): 2, ("ArrowUp",): 3}),
    ("MountainCar-v0", {("ArrowLeft",): 0, ("ArrowRight",): 2, ("ArrowRight", "ArrowLeft"): 1}),
    ("MountainCarContinuous-v0", {("ArrowLeft",): [-1.0], ("ArrowRight",): [1.0]}),
])
def test_keys_of_gymnasiums_environments(env_id, keys):
    assert keys_of(gymnasium.make(env_id), load_environment(env_id).spec) == keys


def test_unsuitable_action_spaces_get_no_keys():
    spec = SimpleNamespace(action_low=(-1.0,) * 6, action_high=(1.0,) * 6, action_branches=(), num_actions=0)
    assert find_controls(Named(), spec).controls == ()
    spec = SimpleNamespace(action_low=(-np.inf,), action_high=(np.inf,), action_branches=(), num_actions=0)
    assert find_controls(Named(), spec).controls == ()
    assert find_controls(Named(), discrete(21)).controls == ()


def test_image_is_encoded_as_png():
    image = np.random.default_rng(0).integers(0, 256, (5, 7, 3)).astype(np.uint8)
    imageio = pytest.importorskip("imageio.v3")
    assert np.array_equal(imageio.imread(png(image)), image)


@pytest.fixture
def recorder(tmp_path):
    recorder = Recorder(tmp_path / "recording", load_environment("filmed_envs:Filmed-v0"), {})
    yield recorder
    with contextlib.suppress(OSError):  # a server that ended has closed it
        recorder.close()


def test_human_play_is_recorded_and_learnt_from(tmp_path, recorder):
    session = Session(Screen(load_environment("filmed_envs:Filmed-v0"), None, recorder))
    session.start()
    states = [session.step(action) for action in (0, 1, 2, 1, 0)]
    assert [state["return"] for state in states] == [1, 3, 6, 10, 15]
    assert [state["over"] for state in states] == [False] * 4 + [True] and states[-1]["recorded"] == 1
    session.step(2)
    session.start()  # the unfinished episode is dropped
    for action in (2, 2, 2, 2, 2):
        session.step(action)
    session.close()
    recording = open_recording(tmp_path / "recording")
    records = list(recording.records())
    assert [record.actions for record in records] == [[0, 1, 2, 1, 0], [2] * 5]
    assert [record.index for record in records] == [0, 1] and records[0].seed != records[1].seed
    # Raises UserError if the replay ends differently.
    moves = list(records[0].moves(load_environment("filmed_envs:Filmed-v0")))
    assert [move.action.item() for move in moves] == [0, 1, 2, 1, 0] and moves[-1].terminated


def test_wrong_actions_are_refused():
    session = Session(Screen(load_environment("filmed_envs:Filmed-v0"), None, None))
    session.start()
    for wrong in (3, -1, 0.5, "x", [1, 2], {}, float("nan")):
        with pytest.raises(UserError, match="is not an action of"):
            session.step(wrong)
    assert session.step(1)["step"] == 1
    session.close()


def test_environment_without_images_is_refused():
    with pytest.raises(UserError, match="renders no images"):
        Screen(load_environment("filmed_envs:Blind-v0"), None, None)


def test_the_agent_plays_and_a_person_takes_over(tmp_path):
    run = untrained_run(tmp_path / "run", "filmed_envs:Filmed-v0", learnt_by=("ppo", {"hidden": (8,)}))
    agent, environment, _ = load_agent(run)
    session = Session(Screen(environment, agent, None))
    assert session.agent_plays
    session.start()
    assert session.step(None)["person"] is False
    assert session.step(2)["person"] is False, "the agent has played some of the steps"
    assert [session.step(None)["over"] for _ in range(3)] == [False, False, True]
    assert session.step(1)["person"] is True
    session.close()


def test_screen_page_in_the_browser(new_context, recorder, tmp_path):
    expect = pytest.importorskip("playwright.sync_api").expect
    expect.set_options(timeout=20_000)
    with serving(Screen(load_environment("filmed_envs:Filmed-v0"), None, recorder)) as address:
        page = new_context(address).new_page()
        page.goto("/")
        expect(page.locator("canvas")).to_have_attribute("width", "45")
        status = page.locator("#status")
        expect(status).to_have_text("Press a key to begin.")
        page.keyboard.press("2")
        expect(status).to_contain_text("Step 1")
        page.wait_for_timeout(500)
        expect(status).to_contain_text("Step 1")  # it waits for the next key
        pixel = "() => [...document.querySelector('canvas').getContext('2d').getImageData(3, 3, 1, 1).data]"
        assert page.evaluate(pixel) == [255, 255, 255, 255]
        for step in (2, 3, 4):
            page.click("#keys button >> nth=2")
            expect(status).to_contain_text(f"Step {step}")
        page.keyboard.press("1")
        expect(page.locator("#episodes li")).to_have_text("return 15, 5 steps, you")
        expect(page.locator("#recorded")).to_have_text("1 recorded")
    line = json.loads((tmp_path / "recording" / "games.jsonl").read_text())
    assert line["actions"] == [1, 2, 2, 2, 0]
