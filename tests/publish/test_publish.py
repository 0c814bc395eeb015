"""Published pages: the rules, the search and the network give the same results in WebAssembly as in Python."""

from __future__ import annotations

import dataclasses
import gzip
import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch

from myosu.algorithms import load_algorithm, load_settings
from myosu.envs.game_history import GameHistory
from myosu.errors import UserError
from myosu.games import load_game
from myosu.players.agent import load_agent
from myosu.publish import site
from myosu.runs.checkpoint import Checkpoints
from myosu.runs.config import RunConfig, TrainConfig
from myosu.training.start import configure, create_run
from myosu.web.analyzer import PositionAnalysis, analysis_to_json
from myosu.web.views import view
from own_game import NIM
from toy_runs import TOY

pytestmark = pytest.mark.slow

#: A game that no board was written for, whose rules allocate an array, call a function of a module and may raise an
#: exception.
TICTACTOE_AGAIN = """
import dataclasses

import numpy as np

from myosu.games import compiled, tictactoe


@compiled
def step(state, action):
    seen = np.zeros(10, np.int64)
    seen[1:] = state.board
    if seen[action + 1] != -1:
        raise ValueError("taken")
    return tictactoe.step(state, action)


GAME = dataclasses.replace(tictactoe.GAME, name="again", step=step)
"""

GAMES = ("tictactoe", "connect_four", "othello", "go9", "snake", "woodoku", "bubble")
#: The games whose agents are compared; of the others only the rules are.
SEARCHED = ("tictactoe", "connect_four", "othello", "snake", "woodoku")
NODE = shutil.which("node")
HARNESS = Path(__file__).with_name("published.mjs")
MUZERO = {"channels": 8, "blocks": 1, "simulations": 16, "precision": "float32"}

needs_node = pytest.mark.skipif(NODE is None, reason="NODE IS NOT INSTALLED: what a page computes is tested in it")


def lively_run(folder: Path, game: str, algorithm: str, settings: dict) -> Path:
    """A run with random weights in all layers, because a new network has the same outputs for all positions."""
    module = load_algorithm(algorithm)
    run = create_run(RunConfig(game, algorithm, module.Config(**settings), TrainConfig(deterministic=True, updates=1)),
                     folder)
    weights = module.make_learner(load_settings(run.config), run.config.environment.spec, None, 0).weights()
    generator = torch.Generator().manual_seed(1)
    for name, tensor in weights.items():
        if tensor.is_floating_point():
            if "variance" in name or "running_var" in name:
                tensor.copy_(0.5 + torch.rand(tensor.shape, generator=generator))
            elif tensor.dim() > 0:
                tensor.add_(0.2 * torch.randn(tensor.shape, generator=generator))
    Checkpoints(run.checkpoints).write(1, run.config, weights, {}, {"files": []}, run.replay)
    return folder


class Page:
    """The engine of a published page, run in Node."""

    def __init__(self, folder: Path) -> None:
        assert NODE
        self.process = subprocess.Popen([NODE, str(HARNESS), str(folder)], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, text=True)

    def ask(self, order: str, **details):
        self.process.stdin.write(json.dumps({"order": order, **details}) + "\n")
        self.process.stdin.flush()
        answer = json.loads(self.process.stdout.readline())
        assert "error" not in answer, answer["error"]
        return answer["found"]

    def close(self) -> None:
        self.process.stdin.close()
        self.process.wait(20)


@pytest.fixture(scope="module")
def published(tmp_path_factory, compile_once):
    """A function that publishes a ``lively_run`` and returns its folder and the page in Node."""
    if NODE is None:
        pytest.skip("NODE IS NOT INSTALLED")
    pages, made = [], {}

    def published(game: str, algorithm: str, **settings) -> tuple[Path, Page]:
        key = (game, algorithm, str(settings))
        if key not in made:
            folder = tmp_path_factory.mktemp("published")
            run = lively_run(folder / "run", game, algorithm, settings)
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(site, "compile_for_page", compile_once)
                site.publish(run, folder / "site")
            pages.append(Page(folder / "site"))
            made[key] = run, pages[-1]
        return made[key]

    yield published
    for page in pages:
        page.close()


def random_histories(game, count: int, ended: bool = False) -> list[GameHistory]:
    """Games played at random to the end, then, unless ``ended``, taken back to a random earlier position."""
    rng, found = np.random.default_rng(3), []
    for number in range(count):
        history = GameHistory(game, number)
        while not history.now.over:
            history.play(int(rng.choice(np.flatnonzero(history.legal_actions()))))
        if not ended:
            history.take_back(int(rng.integers(history.now.ply)))
        found.append(history)
    return found


def perft(history: GameHistory, position, depth: int) -> int:
    if depth == 0:
        return 1
    after = [history.after(position, int(action)) for action in np.flatnonzero(history.legal_actions(position))]
    return sum(1 if each.over else perft(history, each, depth - 1) for each in after)


@needs_node
@pytest.mark.parametrize("game, depth, known", [
    ("tictactoe", 9, 255168), ("connect_four", 6, 117649), ("othello", 6, 8200), ("snake", 6, None),
    ("woodoku", 2, None), ("go9", 2, 81 * 81 + 82), ("bubble", 2, None)])
def test_page_perft_equals_known_counts(published, game, depth, known):
    _, page = published(game, "muzero", **MUZERO)
    if known is None:
        history = GameHistory(load_game(game), 5)
        known = perft(history, history.now, depth)
    assert page.ask("perft", seed=5, depth=depth) == known


@needs_node
@pytest.mark.parametrize("game", GAMES)
def test_page_positions_equal_python_bit_for_bit(published, game):
    _, page = published(game, "muzero", **MUZERO)
    rules = load_game(game)
    for history in [*random_histories(rules, 100), *random_histories(rules, 20, ended=True)]:
        now = history.now
        found = page.ask("look", seed=history.seed, actions=history.actions)
        state = np.frombuffer(bytes(found["state"]), rules.state_dtype)[0]
        assert all(np.array_equal(state[name], now.state[name]) for name in rules.state_dtype.names)
        assert found["legal"] == np.flatnonzero(history.legal_actions()).tolist()
        assert found["observation"] == history.observation(now).ravel().tolist()
        assert (found["returns"], found["to_play"]) == (list(now.returns), now.to_play)
        assert (found["terminated"], found["truncated"]) == (now.terminated, now.truncated)
        assert found["view"] == json.loads(json.dumps(view(history, now)))


@needs_node
def test_the_largest_page_of_a_native_game_is_below_a_megabyte(published):
    """Bubble has the largest page; with the network of its preset."""
    asked = configure("bubble")
    run, _ = published("bubble", asked.algorithm, **dataclasses.asdict(load_settings(asked)))
    files = [path for path in (run.parent / "site").rglob("*") if path.is_file()]
    assert 500_000 < sum(len(gzip.compress(path.read_bytes())) for path in files) <= 1_000_000


@needs_node
def test_a_game_from_a_file_is_published(published, tmp_path):
    """A game from a file, with an array in its rules and a grid that is detected by playing."""
    path = tmp_path / "again.py"
    path.write_text(TICTACTOE_AGAIN)
    _, page = published(str(path), "muzero", **MUZERO)
    rules = load_game("tictactoe")
    assert page.ask("perft", seed=0, depth=9) == 255168
    for history in random_histories(rules, 20):
        found = page.ask("look", seed=0, actions=history.actions)["view"]
        assert found["board"] == json.loads(json.dumps(view(history, history.now)))["board"]
    error = page.ask("step", seed=0, actions=[4, 4])
    assert "broke off" in error


@needs_node
def test_a_game_without_a_board_is_published(published, tmp_path):
    """The docs' example, whose observation is a vector: its state is shown as text, and its agent uses linear
    layers."""
    path = tmp_path / "nim.py"
    path.write_text(NIM)
    run, page = published(str(path), "muzero", **MUZERO)
    assert page.ask("look", seed=0, actions=[2, 0])["view"]["board"] == {
        "kind": "text", "text": "stones 17\nplayer 0"}
    agent, environment, _ = load_agent(run)
    for history in random_histories(environment.rules, 20):
        ours = agent.analyze(history.observation(history.now)[None], history.legal_actions()[None], simulations=16)
        theirs = page.ask("analyze", seed=0, actions=history.actions, simulations=16)
        np.testing.assert_allclose(theirs["policy"], ours.policy[0], atol=2e-2)


@pytest.mark.parametrize("old, new, words", [
    ("@compiled\ndef step(state, action):",
     "@compiled\ndef shout(x):\n    print(x)\n\n\n@compiled\ndef step(state, action):\n    shout(action)",
     ["again.py, line 9: shout cannot be compiled for the browser", "as print does"]),
    ("seen = np.zeros(10, np.int64)", "seen = np.sort(np.zeros(10).astype(np.str_))",
     ["again.py, line 11: step cannot be compiled for the browser"]),
])
def test_rules_that_do_not_compile_for_the_browser_are_reported(tmp_path, old, new, words):
    path = tmp_path / "again.py"
    assert old in TICTACTOE_AGAIN
    path.write_text(TICTACTOE_AGAIN.replace(old, new))
    with pytest.raises(UserError) as caught:
        site.compile_for_page(str(path), "score")
    message = str(caught.value)
    assert "\n" not in message and all(word in message for word in words), message


def refused(run, folder: Path, *words: str) -> None:
    with pytest.raises(UserError) as caught:
        site.publish(run, folder)
    assert all(word in str(caught.value) for word in words), caught.value


def test_impossible_publications_are_refused(tmp_path, monkeypatch):
    """A single error message, and the folder is unchanged."""
    def compiled(game, rewards):
        raise AssertionError("seconds of compilation before what takes none")

    monkeypatch.setattr(site, "compile_for_page", compiled)
    page = tmp_path / "page"
    refused(tmp_path / "nothing", page, "There is no run")
    run = create_run(RunConfig("tictactoe", "muzero", load_algorithm("muzero").Config(**MUZERO),
                               TrainConfig(deterministic=True, updates=1)), tmp_path / "fresh")
    refused(run.folder, page, "has no checkpoint yet")
    refused(lively_run(tmp_path / "memory", "snake", "ppo", {"channels": 4, "hidden": (8,), "lstm_size": 4}), page,
            "lstm_size")
    refused(lively_run(tmp_path / "gym", "CartPole-v1", "ppo", {}), page, "CartPole-v1", "rules")
    refused(lively_run(tmp_path / "toy", "tictactoe", TOY, {}), page, "MuZero, Muesli, PPO and DQN",
            "that of toy_algorithm.py")
    page.mkdir()
    (page / "thesis.txt").write_text("years of work")
    refused(run.folder, page, "holds something other than")
    assert (page / "thesis.txt").read_text() == "years of work" and sorted(tmp_path.glob(".*.part")) == []


def analyses(run: Path, page: Page, round_weights):
    """The results of Python and the page for 100 positions, in Python with the rounded weights of the page."""
    agent, environment, _ = load_agent(run)
    round_weights(agent)
    played = random_histories(environment.rules, 100)
    ours = agent.analyze(np.stack([history.observation(history.now) for history in played]),
                         np.stack([history.legal_actions() for history in played]), simulations=16)
    return ours, [page.ask("analyze", seed=history.seed, actions=history.actions, simulations=16) for history in played]


def halved(module):
    return module.half().float()


@needs_node
@pytest.mark.parametrize("search", ["gumbel", "puct"])
@pytest.mark.parametrize("game", SEARCHED)
def test_muzero_on_the_page_equals_python(published, game, search):
    run, page = published(game, "muzero", **MUZERO, search=search)

    def round_weights(agent):
        agent.planner._model = halved(agent.planner.net.for_inference(torch.float32))

    ours, theirs = analyses(run, page, round_weights)
    assert [analysis["action"] for analysis in theirs] == ours.action.tolist()
    assert [analysis["visits"] for analysis in theirs] == ours.visits.tolist()
    assert len(set(ours.action.tolist())) > 2
    np.testing.assert_allclose([analysis["policy"] for analysis in theirs], ours.policy, atol=2e-3)
    np.testing.assert_allclose([analysis["value"] for analysis in theirs], ours.value, rtol=1e-3, atol=1e-3)
    for k, analysis in enumerate(theirs):
        expected = analysis_to_json(PositionAnalysis(int(ours.action[k]), np.array(analysis["policy"]),
                                                     analysis["value"], ours.visits[k], []), [])
        assert analysis["json"] == {name: expected[name] for name in ("action", "value", "shares", "visits")}


@needs_node
@pytest.mark.parametrize("game, algorithm, settings", [
    ("othello", "muesli", {"channels": 8, "blocks": 1}), ("tictactoe", "muesli", {"channels": 6, "blocks": 2}),
    ("snake", "ppo", {"channels": 6, "blocks": 1, "hidden": (16,), "normalize_values": True}),
    ("woodoku", "ppo", {"channels": 8, "blocks": 0, "hidden": (16,)}),
    ("snake", "dqn", {"channels": 8, "blocks": 1, "hidden": (16,)}),
    ("woodoku", "dqn", {"channels": 8, "blocks": 1, "hidden": (16,), "dueling": False})])
def test_agents_without_search_on_the_page_equal_python(published, game, algorithm, settings):
    """Up to the rounding of the weights to float16, which applies to products of weights here; so close choices may
    differ."""
    run, page = published(game, algorithm, **settings)
    ours, theirs = analyses(run, page, lambda agent: None)
    scale = np.abs(ours.value).max()
    np.testing.assert_allclose([analysis["value"] for analysis in theirs], ours.value, atol=5e-3 * scale)
    actions = np.array([analysis["action"] for analysis in theirs])
    if algorithm == "dqn":
        assert (actions == ours.action).mean() > 0.95
    else:
        policy = np.array([analysis["policy"] for analysis in theirs])
        np.testing.assert_allclose(policy, ours.policy, atol=5e-3)
        best = np.sort(ours.policy, axis=1)
        clear = best[:, -1] - best[:, -2] > 1e-2
        assert clear.sum() > 30 and (actions == ours.action)[clear].all()
    assert len(set(ours.action.tolist())) > 1
