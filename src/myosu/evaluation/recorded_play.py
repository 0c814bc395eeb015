"""Plays games between two players, or episodes of an agent, and returns records that can be replayed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from myosu.algorithms.interface import Agent
from myosu.envs.registry import Environment
from myosu.envs.vector import Step
from myosu.errors import UserError
from myosu.evaluation.episodes import Playing
from myosu.games.game import Game
from myosu.players.gtp import EngineCrashed, GtpPlayer
from myosu.players.player import RESIGNS, History, Player, legal_mask
from myosu.runs.games import GameRecord, Seat


def play_block(game: Game, players: tuple[Player, Player], numbers: Sequence[int], seeds: Sequence[int],
               opening_plies: int = 0, random_moves: float = 0.0,
               lost: Callable[[int, str], None] = lambda number, why: None) -> list[GameRecord]:
    """Play the games ``numbers`` in parallel, with ``players`` in their seats.

    A game begins with 0 to ``opening_plies`` random moves, and later moves are random with probability
    ``random_moves``; random moves are ``unchosen``. When an engine that can capture dead stones would pass in Go, it
    captures them first (the rules count stones on the board as alive). From then on all moves except passes are
    ``unchosen``.

    An engine that crashes is restarted. The game in which it crashed has no record: lost(its number, why) is called.
    """
    count = len(numbers)
    chances = [np.random.default_rng(seed) for seed in seeds]
    openings = [int(chance.integers(opening_plies + 1)) for chance in chances]
    states, histories = game.new_states(count), [History() for _ in range(count)]
    game.batch.init(states, np.array(seeds, np.uint64))
    unchosen: list[list[int]] = [[] for _ in range(count)]
    returns = np.zeros((count, 2))
    resigned, cleaning, over, crashed = np.zeros((4, count), np.bool_)

    def ask(mover: GtpPlayer, i: int, cleans: bool) -> int:
        """The engine's move in game ``i``. If it crashes, the game is over."""
        try:
            if cleans:
                return mover.clean_up(states[i], histories[i])
            return int(mover.choose(states[i:i + 1], [histories[i]])[0])
        except EngineCrashed as error:
            lost(numbers[i], str(error))
            mover.restart()
            over[i] = crashed[i] = True
            return 0

    for ply in range(game.max_plies):
        going = np.flatnonzero(~over)
        if not len(going):
            break
        seat = int(game.to_play(states[going[0]]))  # players alternate, so it is the same in all games
        mover, legal = players[seat], legal_mask(game, states)
        random = np.array([not cleaning[i] and (ply < openings[i] or chances[i].random() < random_moves)
                           for i in range(count)])
        actions = np.array([_random_move(game, legal[i], chances[i]) for i in range(count)])
        cleans = isinstance(mover, GtpPlayer) and mover.cleans_up
        asked = going[~random[going] & ~(cleaning[going] & cleans)]
        if isinstance(mover, GtpPlayer):
            for i in asked:
                actions[i] = ask(mover, i, cleans=False)
            if cleans:
                cleaning[asked] |= (actions[asked] == game.pass_action) & ~crashed[asked]
                for i in going[cleaning[going]]:
                    actions[i] = ask(mover, i, cleans=True)
        elif len(asked):
            actions[asked] = mover.choose(states[asked], [histories[i] for i in asked])
        for i in going[~crashed[going]]:
            action = int(actions[i])
            if action == RESIGNS:
                returns[i, seat], returns[i, 1 - seat] = game.reward_range
                resigned[i] = over[i] = True
                continue
            if not legal[i, action]:
                raise UserError(f"{mover.name} played the illegal move {game.action_name(action)} after: "
                                f"{' '.join(map(game.action_name, histories[i]))}")
            if random[i] or (cleaning[i] and action != game.pass_action):
                unchosen[i].append(ply)
            histories[i].append(action)
            reward, over[i] = game.step(states[i], action)
            reward = float(np.sign(reward) if game.rewards == "outcome" else reward)
            returns[i] += (reward, -reward) if seat == 0 else (-reward, reward)
    seats: list[Seat] = [{"kind": "player", "name": player.name} for player in players]
    return [GameRecord(seed=seeds[i], actions=histories[i], returns=returns[i].tolist(), terminated=bool(over[i]),
                       truncated=not over[i], index=number, players=seats, unchosen=unchosen[i],
                       adjudicated=bool(resigned[i]))
            for i, number in enumerate(numbers) if not crashed[i]]


def _random_move(game: Game, legal: np.ndarray, chance: np.random.Generator) -> int:
    """A uniformly random legal action; a pass only if no other action is legal."""
    actions = np.flatnonzero(legal)
    moves = actions[actions != game.pass_action]
    return int(chance.choice(moves if len(moves) else actions))


def record_episodes(environment: Environment, agent: Agent, numbers: Sequence[int], seed: int) -> list[GameRecord]:
    """Record one episode of ``agent`` for each of ``numbers``, each in its own environment, in parallel."""
    env = environment.make(len(numbers), seed)
    try:
        env.reset()
        step = env.recv()
        seeds = dict(zip(step.env_ids.tolist(), step.seed.tolist(), strict=True))
        actions: dict[int, list[Any]] = {i: [] for i in seeds}
        totals = {i: np.zeros(2) for i in seeds}
        records: list[GameRecord] = []
        player = Playing(agent, env)
        while len(records) < len(numbers):
            for i, chosen in zip(step.env_ids.tolist(), player.send(step), strict=True):
                actions[i].append(chosen.tolist())
            step = env.recv()  # other libraries' vector environments may return only some of the environments
            for k, i in enumerate(step.env_ids.tolist()):
                totals[i] += step.reward[k], step.raw_reward[k]
                if step.terminated[k] or step.truncated[k]:
                    records.append(GameRecord(
                        seed=seeds[i], actions=actions[i], returns=[float(totals[i][0])],
                        raw_returns=[float(totals[i][1])], terminated=bool(step.terminated[k]),
                        truncated=bool(step.truncated[k]), index=numbers[i]))
            goes_on = ~(step.terminated | step.truncated)
            step = Step(**{name: values[goes_on] for name, values in vars(step).items()})
        return records
    finally:
        env.close()
