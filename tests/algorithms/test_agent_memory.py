"""Agents with a memory: wherever they play, they answer as in the loop that trains and evaluates them."""

import asyncio
import io
import json
from pathlib import Path

import numpy as np
import pytest

from myosu import cli
from myosu.envs.game_history import GameHistory
from myosu.envs.pettingzoo_env import PettingZooEnv
from myosu.evaluation.episodes import play_episodes
from myosu.evaluation.exhaustive import walk_all_replies
from myosu.evaluation.match import play_match
from myosu.games import load_game
from myosu.players.agent import AgentPlayer, load_agent, stack_states
from myosu.players.player import RandomPlayer
from myosu.web.room import Room
from web_runs import untrained_run

LSTM = {"lstm_size": 16, "sequence_length": 4, "batch_size": 64, "channels": 4, "blocks": 0, "hidden": (16,)}
FOR_TWO = (str(Path(__file__).parents[1] / "ppo_for_two.py"), LSTM)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return untrained_run(tmp_path_factory.mktemp("memory") / "run", "othello", learnt_by=FOR_TWO)


@pytest.fixture(scope="module")
def agent(run):
    return load_agent(run)[0]


@pytest.fixture(scope="module")
def othello():
    return load_game("othello")


class Forgetful:
    """The agent without its memory."""

    has_memory = False

    def __init__(self, agent):
        self.agent = agent

    def act(self, observation, legal_actions, state=None, starts=None):
        return self.agent.act(observation, legal_actions)[0], None


def answers(agent, game, actions, seat, seed=0):
    """By ply, what the agent in ``seat`` answers in this game: a plain loop over its turns that passes the state on."""
    history, state, found = GameHistory(game, seed), None, {}
    for action in actions:
        if history.now.to_play == seat:
            action_now, state = agent.act(history.observation(history.now)[None], history.legal_actions()[None], state,
                                          np.array([state is None]))
            found[history.now.ply] = int(action_now[0])
        history.play(action)
    return found


def opinion(agent, game, actions):
    """The action and the value of whoever is to move after ``actions``; a value tells of any memory that is wrong."""
    history, seat, state = GameHistory(game, 0), len(actions) % 2, None
    for action in [*actions, None]:
        if history.now.to_play == seat:
            turn = history.observation(history.now)[None], history.legal_actions()[None]
            analysis = agent.analyze(*turn, state, np.array([state is None]))
            state = analysis.state
        if action is not None:
            history.play(action)
    return int(analysis.action[0]), float(analysis.value[0])


def test_batched_games_keep_separate_states(agent, othello):
    """Games in one batch, in another order at the next turn and beside one that begins, as each by itself."""
    rng = np.random.default_rng(0)
    observation = rng.integers(0, 2, (2, 3, *othello.observation_shape)).astype(othello.observation_dtype)
    legal = np.ones((3, othello.num_actions), np.bool_)
    _, state = agent.act(observation[0], legal)
    order = [2, 0, 1]
    both, after = agent.act(observation[1], legal, state[order], np.array([False, False, True]))
    for row, source in enumerate(order):
        start = row == 2
        alone, state_alone = agent.act(observation[1, row:row + 1], legal[:1], *(
            (None, None) if start else (state[source:source + 1], None)))
        assert both[row] == alone[0] and np.allclose(after[row], state_alone[0], atol=1e-6)
    stacked, starts = stack_states([state[0], None])
    assert np.array_equal(stacked[0], state[0]) and starts.tolist() == [False, True]
    assert stack_states([None, None])[0] is None


@pytest.mark.parametrize("opening_plies", [0, 5])
def test_memory_in_a_match(agent, othello, opening_plies):
    """From both seats, against another player and itself, and after an opening that chance has played."""
    player = AgentPlayer(othello, agent, "agent")
    result = play_match(othello, player, RandomPlayer(othello, 3), 8, opening_plies, seed=1)
    forgot = 0
    for game, actions in enumerate(result.histories):
        own = {ply: action for ply, action in enumerate(actions) if ply % 2 == game % 2}
        for ply, action in answers(agent, othello, actions, game % 2).items():
            assert ply < opening_plies or own[ply] == action
        forgot += answers(Forgetful(agent), othello, actions, game % 2) != own
    assert forgot, "memory changes no action in these games, so they test nothing"
    itself = play_match(othello, player, player, 4, 2, seed=1)
    for actions in itself.histories:
        told = answers(agent, othello, actions, 0) | answers(agent, othello, actions, 1)
        assert [told[ply] for ply in range(2, len(actions))] == actions[2:]


def test_memory_against_every_reply(tmp_path):
    """Lines that branch off from one another have memories of their own."""
    game = load_game("tictactoe")
    agent, _, _ = load_agent(untrained_run(tmp_path / "run", "tictactoe", learnt_by=FOR_TWO))
    lines = [(line, seat) for seat in (0, 1)
             for line in walk_all_replies(game, AgentPlayer(game, agent, "agent"), seat).losing_lines]
    assert len(lines) > 50
    for line, seat in lines[::7]:
        assert answers(agent, game, line, seat) == {ply: a for ply, a in enumerate(line) if ply % 2 == seat}


def test_memory_over_gtp(run, agent, othello, capsys, monkeypatch):
    """In either seat, after moves that the controller chose for it, and after taking back."""
    rng, history, commands, expected = np.random.default_rng(2), GameHistory(othello, 0), ["clear_board"], []
    colours = ("black", "white")

    def ask():
        now = history.now
        turn = answers(agent, othello, [*history.actions, int(np.argmax(history.legal_actions()))], now.to_play)
        expected.append(othello.action_name(turn[now.ply]).upper())
        commands.append(f"genmove {colours[now.to_play]}")
        history.play(turn[now.ply])

    def play():
        action = int(rng.choice(np.flatnonzero(history.legal_actions())))
        commands.append(f"play {colours[history.now.to_play]} {othello.action_name(action)}")
        history.play(action)

    for turn in [play, play, ask, play, ask, ask, ask, play, play]:
        turn()
    for _ in range(4):
        commands.append("undo")
    history.take_back(history.now.ply - 4)
    for turn in [ask, play, ask, play, ask]:
        turn()
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO("\n".join([*commands, "quit", ""]).encode())))
    monkeypatch.setattr("sys.stdout", said := io.TextIOWrapper(io.BytesIO()))
    assert cli.run(["gtp", str(run)]) == 0
    said.seek(0)
    answered = [line[2:] for line in said.read().split("\n\n") if len(line) > 2 and line.startswith("= ")]
    assert answered == expected


def test_memory_in_pettingzoo(agent, othello):
    """Both seats, each with a state of its own; the observation of whoever waits is 0 there, and is not shown."""
    env, states, actions = PettingZooEnv("othello"), {}, []
    env.reset(seed=1)
    for name in env.agent_iter():
        seen, _, terminated, truncated, _ = env.last()
        action = None
        if not (terminated or truncated):
            turn = seen["observation"][None], seen["action_mask"][None] == 1
            chosen, states[name] = agent.act(*turn, states.get(name))
            action = int(chosen[0])
            actions.append(action)
        env.step(action)
    told = answers(agent, othello, actions, 0) | answers(agent, othello, actions, 1)
    assert [told[ply] for ply in range(len(actions))] == actions and len(actions) > 40


class Onlooker:
    def __init__(self):
        self.messages = asyncio.Queue()

    def send(self, message):
        self.messages.put_nowait(message)

    async def hear(self, kind):
        while (message := await asyncio.wait_for(self.messages.get(), 30))["type"] != kind:
            assert message["type"] != "error", message
        return message


def at_the_page(folder, conversation):
    """Run ``conversation(room)``."""

    async def talk():
        room = Room(folder)
        try:
            return await conversation(room)
        finally:
            room.close()

    return asyncio.run(talk())


def test_memory_on_the_web_page(run, agent, othello):
    """Against a person, who asks for hints and takes moves back, and after the server was started again."""
    rng = np.random.default_rng(5)

    async def play(room, table, guest, moves):
        for _ in range(moves):
            action = int(rng.choice(np.flatnonzero(table.history.legal_actions())))
            table.play(table.history.now.ply, action)
            while table.history.now.to_play == 0 and not table.history.now.over:
                await guest.hear("analysis")
                await asyncio.sleep(0.01)

    async def check_hints(room, table):
        history, default = table.history, room.default
        for ply in (history.now.ply, history.now.ply - 1, 2, history.now.ply):
            analysis = await table.analyze(ply, default, 0)
            action, value = opinion(agent, othello, history.actions[:ply])
            assert analysis["action"] == action and analysis["value"] == pytest.approx(value, abs=1e-4)

    def check(table):
        own = {ply: action for ply, action in enumerate(table.history.actions) if ply % 2 == 0}
        assert answers(agent, othello, table.history.actions, 0) == own

    async def begin(room):
        order = {"seats": [{"kind": "agent", "checkpoint": room.default, "simulations": 0, "temperature": 0},
                           {"kind": "person"}]}
        table, guest = await room.open(order), Onlooker()
        table.enter(guest)
        await guest.hear("analysis")
        await asyncio.sleep(0.01)
        await play(room, table, guest, 4)
        await check_hints(room, table)
        await play(room, table, guest, 2)
        await check_hints(room, table)
        for _ in range(4):
            for _ in range(3):
                table.undo(table.history.now.ply)
            await play(room, table, guest, 4)  # by another way beyond where the last hint was asked for
            await check_hints(room, table)
        check(table)
        return table.id

    async def go_on(room, name):
        table, guest = await room.table(name), Onlooker()
        assert len(table.history.actions) > 8
        table.enter(guest)
        await play(room, table, guest, 3)
        await check_hints(room, table)
        check(table)

    name = at_the_page(run, begin)
    at_the_page(run, lambda room: go_on(room, name))


def test_memory_in_single_player_games(tmp_path):
    """Snake, where an agent has every turn: what the page plays is what ``play_episodes`` measures."""
    folder = untrained_run(tmp_path / "run", "snake", learnt_by=("ppo", LSTM))
    agent, environment, _ = load_agent(folder)
    forgot = 0

    async def watch(room):
        seat = {"kind": "agent", "checkpoint": room.default, "simulations": 0, "temperature": 0}
        table, guest = await room.open({"seats": [seat]}), Onlooker()
        table.pace = 0.0
        table.enter(guest)
        while not table.history.now.over and table.history.now.ply < 40:
            await guest.hear("position")
        table.close()
        return table.history.seed, list(table.history.actions)

    for _ in range(3):
        seed, actions = at_the_page(folder, watch)
        played = dict(enumerate(actions))
        assert answers(agent, environment.rules, actions, 0, seed) == played
        forgot += answers(Forgetful(agent), environment.rules, actions, 0, seed) != played
    assert forgot, "memory changes no action in these games, so they test nothing"

    class Watched:
        """Records what the agent was asked and answered in each environment, whose number travels with the memory:
        environments that have finished are not asked about any more."""

        has_memory, turns = True, {env: [] for env in range(4)}

        def act(self, observation, legal_actions, state=None, starts=None):
            envs = np.arange(len(observation)) if state is None else state[:, -1].astype(int)
            action, after = agent.act(observation, legal_actions, None if state is None else state[:, :-1], starts)
            for row, env in enumerate(envs):
                part = slice(row, row + 1)
                self.turns[env].append((observation[part].copy(), legal_actions[part].copy(), starts[row], action[row]))
            return action, np.column_stack([after, envs]).astype(after.dtype)

    play_episodes(environment, Watched(), 4, seed=1)
    for turns in Watched.turns.values():
        assert len(turns) > 1
        state = None
        for observation, legal, starts, action in turns:
            again, state = agent.act(observation, legal, None if starts else state)
            assert again[0] == action


def test_evaluate_prints_the_match_result(run, agent, othello, capsys):
    assert cli.run(["evaluate", str(run), "--games", "6", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    expected = play_match(othello, AgentPlayer(othello, agent, str(run)), RandomPlayer(othello, 1), 6)
    assert report["mean_reward"] == expected.overall.mean_reward
