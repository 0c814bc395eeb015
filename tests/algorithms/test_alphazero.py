"""AlphaZero: the search by true rules against exhaustive search, its network, learning, and going on exactly."""

import asyncio
import copy
import dataclasses
import re
from pathlib import Path

import numpy as np
import pytest
import torch

import myosu
from in_turn import InTurn
from myosu.algorithms import alphazero, muzero
from myosu.algorithms.muzero import make_net
from myosu.doctor.experiments import play
from myosu.envs.game_history import GameHistory
from myosu.envs.native import NativeVectorEnv, game_spec
from myosu.envs.registry import load_environment
from myosu.errors import UserError
from myosu.games.game import Game, compiled
from myosu.games.registry import load_game
from myosu.games.tictactoe import GAME as TICTACTOE
from myosu.players.agent import AgentPlayer, load_agent, turn_at
from myosu.players.player import legal_mask
from myosu.presets import load_preset
from myosu.runs.config import RunConfig, TrainConfig
from myosu.training.start import create_run
from myosu.training.trainer import train
from myosu.web.analyzer import Analyzer

SMALL = alphazero.Config(channels=16, blocks=1, atoms=11, simulations=24, considered_actions=9, num_envs=8,
                         batch_size=16, learning_starts=50, replay_capacity=500, device="cpu", precision="float32")
#: Gumbel's own settings trust differences of Q so much that without a value some replies are never tried.
CONFIGS = [dataclasses.replace(SMALL, c_visit=5.0, c_scale=0.02), dataclasses.replace(SMALL, search="puct")]


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


def solved(state, memo):
    """(value in the view of the player to move, the best actions) of a position of tic-tac-toe, by minimax."""
    key = state.tobytes()
    if key not in memo:
        values = {}
        for action in np.flatnonzero(legal_mask(TICTACTOE, state)[0]).tolist():
            after, reward, ended = state.copy(), np.empty(1, np.float32), np.empty(1, np.bool_)
            TICTACTOE.batch.step(after, np.array([action]), reward, ended)
            values[action] = float(reward[0]) if ended[0] else -solved(after, memo)[0]
        best = max(values.values())
        memo[key] = best, {action for action, value in values.items() if value == best}
    return memo[key]


def endgames(empty, count, seed):
    """Positions of random games with ``empty`` free cells and nobody won yet, [count]."""
    rng, found = np.random.default_rng(seed), []
    while len(found) < count:
        state, ended = TICTACTOE.new_states(1), np.zeros(1, np.bool_)
        for _ in range(9 - empty):
            action = rng.choice(np.flatnonzero(legal_mask(TICTACTOE, state)[0]))
            TICTACTOE.batch.step(state, np.array([action]), np.empty(1, np.float32), ended)
            if ended[0]:
                break
        if not ended[0]:
            found.append(state)
    return np.concatenate(found)


def untrained(config, game=TICTACTOE, seed=0):
    weights = make_net(config, game_spec(game)).state_dict()
    return alphazero.make_agent(config, game_spec(game), weights, seed=seed)


@pytest.mark.parametrize(("config", "empty"), [(CONFIGS[0], 4), (CONFIGS[1], 5)], ids=["gumbel", "puct"])
def test_untrained_agent_plays_endgames_like_minimax(config, empty):
    """Some plies before the end the rules alone decide: the agent mates, it blocks, and its values (means over all
    simulations) are nearest to the true ones. A search with a wrong sign, illegal moves or rewards of the wrong side
    fails."""
    positions, memo = endgames(empty, 40, 1), {}
    analysis = untrained(config).analyze(*observed(positions), simulations=1500, positions=positions)
    for k, position in enumerate(positions):
        value, best = solved(positions[k:k + 1], memo)
        assert analysis.action[k] in best, f"{TICTACTOE.render(position)}\n{analysis.visits[k]}"
        assert abs(analysis.value[k] - value) < 0.4, f"{TICTACTOE.render(position)}\n{analysis.value[k]} not {value}"
    assert {solved(positions[k:k + 1], memo)[0] for k in range(40)} == {-1.0, 0.0, 1.0}


def observed(positions, game=TICTACTOE):
    out = np.zeros((len(positions), *game.observation_shape), game.observation_dtype)
    game.batch.observe(positions, out)
    return out, legal_mask(game, positions)


def test_principal_variations_are_legal_to_the_end():
    positions = endgames(6, 20, 2)
    analysis = untrained(SMALL).analyze(*observed(positions), simulations=200, positions=positions)
    for k in range(20):
        state, ended = positions[k:k + 1].copy(), np.zeros(1, np.bool_)
        for action in analysis.lines[k]:
            assert not ended[0] and legal_mask(TICTACTOE, state)[0, action]
            TICTACTOE.batch.step(state, np.array([action]), np.empty(1, np.float32), ended)


def test_unsupported_games_and_missing_positions_are_refused():
    with pytest.raises(UserError, match="foresee"):
        alphazero.resolve(SMALL, load_environment("snake").spec, True)
    with pytest.raises(UserError, match="rules of a game"):
        alphazero.resolve(SMALL, load_environment("CartPole-v1").spec, True)
    with pytest.raises(UserError, match="rules of a game"):
        alphazero.resolve(SMALL, game_spec(TICTACTOE).against_opponent(), True)
    with pytest.raises(UserError, match="positions"):
        untrained(SMALL).act(*observed(endgames(5, 1, 0)))
    with pytest.raises(TypeError, match="unroll_steps"):
        alphazero.Config(unroll_steps=3)
    with pytest.raises(UserError, match="simulations"):
        alphazero.Config(simulations=0)


@pytest.mark.parametrize("game", ["tictactoe", "connect_four", "othello", "go9"])
def test_presets_make_a_network(game):
    environment = load_environment(game)
    preset = load_preset("alphazero", environment, alphazero.Config)
    make_net(alphazero.Config(**preset), environment.spec)
    assert preset


def test_trains_on_several_board_games():
    for name in ("connect_four", "othello", "go9"):
        config = dataclasses.replace(SMALL, simulations=2, num_envs=2, learning_starts=1, batch_size=4,
                                     ownership_loss_weight=float(name == "go9"))
        loop = InTurn(alphazero, config, NativeVectorEnv(load_game(name), 2), 0)
        while not loop.episodes:
            loop.run(20)
        assert loop.metrics and all(np.isfinite(list(losses.values())).all() for losses in loop.metrics)


def test_int8_network_is_close_to_float32():
    config = dataclasses.replace(SMALL, channels=32, blocks=2)
    if muzero._precision(make_net(config, game_spec(TICTACTOE)), dataclasses.replace(
            config, precision="int8"), self_play=True) != "int8":
        pytest.skip("this processor has no integer dot products")
    torch.manual_seed(0)
    net = make_net(config, game_spec(TICTACTOE))
    torch.nn.init.normal_(net.value.out.weight, std=0.3)
    positions = endgames(5, 64, 3)
    found = {}
    for precision in ("float32", "int8"):
        planner = alphazero.Planner(dataclasses.replace(config, precision=precision), game_spec(TICTACTOE), 64, 4,
                                    explore=True, seed=0)
        planner.load_weights(net.state_dict())
        planner._notice(observed(positions)[0])
        planner.seen.extend(observed(positions)[0][:, None])
        found[precision] = planner.evaluate(observed(positions)[0])[0]
    assert found["float32"].std() > 0.01
    assert np.abs(found["float32"] - found["int8"]).max() < 0.3 * found["float32"].std() + 0.02


# Learning.


def probe(rewards) -> Game:
    """Two plies of one action each for two players, or one ply: rewards of the movers, known values."""
    first, last = rewards

    @compiled
    def init(state, seed):
        state.ply = 0

    @compiled
    def legal_actions(state, mask):
        mask[0] = mask[1] = True

    @compiled
    def step(state, action):
        state.ply += 1
        return (first, False) if state.ply == 1 else (last, True)

    @compiled
    def observe(state, out):
        out[0] = state.ply

    @compiled
    def to_play(state):
        return state.ply % 2

    return Game(name="probe", num_players=2, num_actions=2, observation_shape=(1,), observation_dtype=np.float32,
                state_dtype=np.dtype([("ply", np.int32)], align=True), init=init, legal_actions=legal_actions,
                step=step, observe=observe, to_play=to_play, render=lambda state: str(state["ply"]),
                reward_range=(-1.0, 1.0), max_plies=2)


@pytest.mark.parametrize("search", ["gumbel", "puct"])
def test_exact_values_of_a_two_ply_probe(search):
    """The second mover earns 0.5: the value is 0.5 before that ply and 0.25 − 0.5 before the first, which earns 0.25 at
    once."""
    config = dataclasses.replace(SMALL, search=search, search_value_weight=0.0, simulations=4,
                                 considered_actions=2, learning_rate=1e-2, replay_ratio=16.0)
    loop = InTurn(alphazero, config, NativeVectorEnv(probe((0.25, 0.5)), 8), 0).run(600)
    planner = loop.agent().planner
    value, _ = planner.evaluate(np.array([[0.0], [1.0]], np.float32))
    assert value == pytest.approx([-0.25, 0.5], abs=0.08)
    searched = loop.agent().analyze(np.zeros((1, 1), np.float32), np.ones((1, 2), np.bool_),
                                    positions=loop.env.game.new_states(1))
    assert searched.value[0] == pytest.approx(-0.25, abs=0.05)


STONES = 21
PAGE = Path(__file__).parents[2] / "docs" / "new-game.md"
LEARNING = dataclasses.replace(SMALL, channels=64, simulations=6, considered_actions=3, num_envs=32, opening_plies=6,
                               batch_size=64, learning_starts=500, replay_capacity=4000, replay_ratio=4.0,
                               learning_rate=5e-3)


def nim_run(tmp_path, updates=500):
    """The page's game with 21 stones: too deep for six simulations without a value."""
    path = tmp_path / "nim.py"
    path.write_text(re.search(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL).group(1))
    run = create_run(RunConfig(str(path), "alphazero", LEARNING, TrainConfig(
        updates=updates, deterministic=True, seed=1, evaluate_every=0)), tmp_path / "run")
    train(run, quiet=True)
    agent, environment, _ = load_agent(run.folder)
    stones = np.arange(1, STONES + 1)
    states = environment.rules.new_states(STONES)
    states["stones"] = stones
    won = stones % 4 != 0
    value, _ = agent.planner.evaluate(observed(states, environment.rules)[0])
    chosen = AgentPlayer(environment.rules, agent, "agent").choose(states, [[]] * STONES)
    return np.mean(chosen[won] == stones[won] % 4 - 1), np.abs(value - np.where(won, 1.0, -1.0)).mean()


@pytest.mark.slow
def test_learns_nim_from_its_file(tmp_path):
    found, error = nim_run(tmp_path)
    assert found == 1.0 and error < 0.3, (found, error)


@pytest.mark.slow
def test_a_broken_sign_does_not_learn(tmp_path, monkeypatch):
    monkeypatch.setattr(muzero, "signed_discount", lambda config, spec: 1.0)
    found, error = nim_run(tmp_path)
    assert found < 1.0 and error > 0.4, (found, error)


def test_restored_run_continues_exactly():
    def loop():
        return InTurn(alphazero, SMALL, NativeVectorEnv(TICTACTOE, 8), 3)

    whole = loop().run(160, until=400)
    state = whole.state_dict()
    whole.run(160, until=400)
    restored = loop()
    restored.load_state_dict(state)
    restored.run(160, until=400)
    assert restored.updates == whole.updates > 4
    one, other = whole.learner.weights(), restored.learner.weights()
    assert all(torch.equal(one[name], other[name]) for name in one)
    later = copy.deepcopy(whole.actor.state_dict())
    assert np.array_equal(later["env"]["states"], restored.actor.state_dict()["env"]["states"])


def test_trained_run_is_evaluated_loaded_and_exported(tmp_path):
    run = create_run(RunConfig("tictactoe", "alphazero", SMALL, TrainConfig(
        updates=4, deterministic=True, evaluate_every=4, evaluation_games=4)), tmp_path / "run")
    result = train(run, quiet=True)
    assert result.evaluation["games"] == 4
    agent = myosu.load(run.folder)
    envs = myosu.make("tictactoe", 3)
    envs.reset()
    step = envs.recv()
    actions = agent.act(step.observation, step.legal_actions, positions=envs.states)
    assert agent.act(step.observation[0], step.legal_actions[0], positions=envs.states[0]) == actions[0]
    from myosu.publish.export import export
    assert [file.name for file in export(run.folder, tmp_path / "out", "torch")] == ["initial.pt2", "export.json"]


def test_web_page_and_doctor_pass_positions():
    agent = untrained(SMALL)
    analyzer, history = Analyzer(lambda name: agent), GameHistory(TICTACTOE, 0)
    for action in (0, 3, 1, 4):
        history.play(action)

    async def asked():
        return await analyzer.analyze("newest", 64, [turn_at(history, history.now)])

    assert asyncio.run(asked()).action == 2
    analyzer.close()
    played = play(agent, load_environment("tictactoe"), 1.0, 60.0)
    assert len(played.values) >= 200 and np.corrcoef(played.values, played.returns)[0, 1] > 0.3
