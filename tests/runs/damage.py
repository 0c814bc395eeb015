"""Damage files of all kinds and see what every reader does: it must say what is wrong, or do without.

    python tests/runs/damage.py --count 2000 --seed 0

A case damages one file in a copy of a run, a league or a folder of played games, then runs all readers of that folder.
Each must return or raise ``UserError``; none that only reads may change a file; of lines all whole ones are still read;
and code that a damaged file names must not run.
"""

from __future__ import annotations

import argparse
import functools
import hashlib
import io
import json
import logging
import math
import os
import random
import shutil
import sys
import tempfile
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import myosu.games.registry as game_registry
from myosu import cli, trust
from myosu.algorithms import muzero, ppo
from myosu.arena.entrants import Entrant
from myosu.arena.league import League, Pair
from myosu.arena.standings import Standings, cross_table, ratings_table
from myosu.envs.game_history import GameHistory
from myosu.errors import UserError
from myosu.games import load_game
from myosu.players.agent import load_agent
from myosu.plots.learning import plot_learning
from myosu.plots.ratings import plot_ratings
from myosu.runs.checkpoint import Checkpoints, find_checkpoint
from myosu.runs.config import RunConfig, TrainConfig
from myosu.runs.curves import MetricsLine, minutes_at, read_curve
from myosu.runs.games import GameLine, GameRecord, write_game
from myosu.runs.reading import DamagedValue, parse_line, read_lines
from myosu.runs.recordings import Recording, open_recording
from myosu.runs.run import open_run
from myosu.runs.sgf import to_sgf
from myosu.training.start import create_run
from myosu.training.trainer import train
from myosu.web.open_games import OpenGames
from myosu.web.watching import Shown, Watched

KINDS = {("board", "games.jsonl"): GameLine, ("pole", "games.jsonl"): GameLine, ("league", "games.jsonl"): Pair,
         ("board", "metrics.jsonl"): MetricsLine, ("pole", "metrics.jsonl"): MetricsLine}
#: Of the cases, those in which the slowest readers look too: a training that goes on, and plots.
SHARE_OF_RESUMES, SHARE_OF_PLOTS = 0.5, 0.05
EVIL = """
import pathlib
pathlib.Path({marker!r}).touch()
GAME = None
"""


# --- what is damaged


def make_whole(folder: Path) -> None:
    """A run of a board game with games that people played, a run of a Gymnasium environment, and a league."""
    settings = muzero.Config(channels=4, blocks=1, num_envs=4, simulations=4, considered_actions=4, atoms=5,
                             learning_starts=50, batch_size=8, replay_capacity=500, replay_ratio=1.0, unroll_steps=2,
                             device="cpu", precision="float32")
    board = create_run(RunConfig("tictactoe", "muzero", settings, TrainConfig(
        updates=30, deterministic=True, evaluate_every=10, evaluation_games=4, keep_every=10)), folder / "board")
    train(board, quiet=True)
    limits = TrainConfig(env_steps=600, deterministic=True, evaluate_every=5, evaluation_games=4)
    pole = create_run(RunConfig("CartPole-v1", "ppo", ppo.Config(num_envs=2, rollout_steps=32, batch_size=32), limits),
                      folder / "pole")
    train(pole, quiet=True)
    for name in ("othello", "tictactoe"):
        history, rng = GameHistory(load_game(name), 7), np.random.default_rng(7)
        while not history.now.over:
            history.play(int(rng.choice(np.flatnonzero(history.legal_actions()))))
        agent = {"kind": "agent", "run": "board", "checkpoint": "update-00000030", "simulations": 4, "temperature": 0.0}
        record = GameRecord(history.seed, history.actions, list(history.now.returns), history.now.terminated, False,
                            game=name, players=[{"kind": "person"}, agent], started=1.0, ended=2.0)
        write_game(folder / "board" / "played" / f"{name}.json", record)
    begun = GameHistory(load_game("tictactoe"), 7)
    begun.play(4)
    OpenGames(folder / "board" / "played" / "open").keep("open", GameRecord(
        7, [4], list(begun.now.returns), False, False, game="tictactoe", players=[{"kind": "person"}, agent]))
    make_league(folder / "league", folder / "board")


def make_league(folder: Path, run: Path) -> None:
    league = League(folder, "tictactoe", seed=3)
    path = str((run / "checkpoints" / "update-00000030").resolve())
    league.enter([Entrant("random", "random", False), Entrant("greedy", "greedy", True),
                  Entrant("mcts:5", "mcts:5", False), Entrant("board/30:4", f"{path}:4", True, str(run), 30, 4)])
    rng = np.random.default_rng(3)
    for number in range(60):
        i, j = rng.choice(4, 2, replace=False)
        rewards = tuple(rng.choice([-1.0, 0.0, 1.0], 2).tolist())
        league.add(Pair(league.names[i], league.names[j], number, rewards, ([4, 0, 8], [0, 4]), 0.01))
    league.close()


# --- how


@dataclass
class Case:
    """How ``file`` was damaged. lines, lost: so many it had, and so many are no longer whole, of a file of lines."""

    file: Path
    how: str
    lines: int = 0
    lost: int | None = None


VALUES: list[Any] = [None, True, -1, 0, 1.5, math.nan, math.inf, -math.inf, 10**400, 2**63, 2**64, -2**63, 1e308, "",
                     "x", "\ud800", "a\0b", "../../x", [], [[]], {}, {"x": []}, [None], "update-00000099", 10**9]


def damage(file: Path, rng: random.Random, evil: Path) -> Case:
    """Damage ``file`` in some way that suits it."""
    ways: list[Callable[[Path, random.Random], str]] = [_cut, _flip, _no_text, _empty, _folder, _missing]
    if file.suffix == ".jsonl":
        return _damage_lines(file, rng, evil)
    if file.suffix == ".json":
        ways += [lambda f, r: _edit(f, r, evil)] * 12
    elif file.suffix == ".safetensors":
        ways += [_flip] * 3
    how = rng.choice(ways)(file, rng)
    if "checkpoints" in file.parts and file.exists() and file.name != "best.json" and rng.random() < 0.7:
        how += ", sums renewed" if renew(file.parent) else ""
    return Case(file, how)


def _cut(file: Path, rng: random.Random) -> str:
    data = file.read_bytes()
    file.write_bytes(data[:rng.randrange(len(data))])
    return "cut"


def _flip(file: Path, rng: random.Random) -> str:
    data = bytearray(file.read_bytes())
    for _ in range(rng.choice([1, 3, 20])):
        # In files of tensors mostly the header, which says more.
        data[rng.randrange(min(len(data), rng.choice([400, len(data)])))] ^= 1 << rng.randrange(8)
    file.write_bytes(data)
    return "bytes flipped"


def _no_text(file: Path, rng: random.Random) -> str:
    data = file.read_bytes()
    at = rng.randrange(len(data))
    file.write_bytes(data[:at] + rng.choice([b"\xff\xfe", b"\0", b"\n\n", b"[" * 3000]) + data[at:])
    return "bytes put in"


def _empty(file: Path, rng: random.Random) -> str:
    file.write_bytes(b"")
    return "emptied"


def _folder(file: Path, rng: random.Random) -> str:
    file.unlink()
    file.mkdir()
    return "a folder instead"


def _missing(file: Path, rng: random.Random) -> str:
    file.unlink()
    return "removed"


def _edit(file: Path, rng: random.Random, evil: Path) -> str:
    value, how = edited(json.loads(file.read_text()), rng, evil)
    file.write_text(json.dumps(value))
    return how


def edited(value: Any, rng: random.Random, evil: Path) -> tuple[Any, str]:
    """``value`` with one place of it changed; what was done."""
    places = list(_places(value))
    if not places:
        return rng.choice(VALUES), "replaced"
    parent, key = rng.choice(places)
    named = [place for place in places if place[1] in ("game", "algorithm", "text", "env_id")]
    if named and rng.random() < 0.15:
        parent, key = rng.choice(named)
        parent[key] = rng.choice([str(evil), f"{evil.stem}:Evil-v0", f"gtp:{sys.executable} {evil}"])
        return value, f"{key} = code"
    way = rng.choice(["change", "change", "change", "remove", "add"])
    if way == "change":
        parent[key] = rng.choice(VALUES) if not isinstance(parent[key], int | float) or rng.random() < 0.6 else (
            parent[key] * rng.choice([-1, 2, 1000, 0.5]) + rng.choice([0, 1, -1]))
        return value, f"{key} = {ascii(parent[key])[:30] if not _huge(parent[key]) else 'huge'}"
    if way == "remove":
        del parent[key]
        return value, f"{key} removed"
    if isinstance(parent, dict):
        parent[rng.choice(["new", "", "__class__", "\ud800", "read_from"])] = rng.choice(VALUES)
    else:
        parent.insert(key, rng.choice(VALUES))
    return value, f"added beside {key}"


def _huge(value: Any) -> bool:
    return isinstance(value, int) and abs(value) > 10**18


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    parts = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, part in parts:
        yield value, key
        yield from _places(part)


def _damage_lines(file: Path, rng: random.Random, evil: Path) -> Case:
    if rng.random() < 0.1:
        return Case(file, rng.choice([_empty, _folder, _missing])(file, rng))
    lines = file.read_bytes().splitlines(keepends=True)
    at = rng.randrange(len(lines))
    way = rng.choice(["cut", "flip", "edit", "edit", "edit", "text", "end"])
    if way == "end":
        file.write_bytes(b"".join(lines)[:-rng.randrange(1, len(lines[-1]))])
        return Case(file, "last line cut", len(lines), 1)
    if way == "edit":
        value, how = edited(json.loads(lines[at]), rng, evil)
        lines[at] = json.dumps(value).encode() + b"\n"
    elif way == "cut":
        lines[at], how = lines[at][:rng.randrange(1, len(lines[at]) - 1)] + b"\n", "cut"
    elif way == "text":
        lines[at], how = b"\xff\xfe" + lines[at], "bytes put in"
    else:
        line = bytearray(lines[at][:-1])
        line[rng.randrange(len(line))] ^= 1 << rng.randrange(8)
        lines[at], how = bytes(line) + b"\n", "bytes flipped"
    file.write_bytes(b"".join(lines))
    kind = KINDS["league" if "league.json" in os.listdir(file.parent) else "board", file.name]
    parts = lines[at].splitlines(keepends=True)
    whole = sum(_is_whole(part, kind) for part in parts)
    return Case(file, f"line {at + 1}: {how}", len(lines), 1 - whole)


def _is_whole(line: bytes, kind: Any) -> bool:
    try:
        parse_line(line, kind)
    except DamagedValue:
        return False
    return True


def renew(checkpoint: Path) -> bool:
    """Give the manifest the sums of its files as they are now, as somebody would who wants to pass for whole."""
    try:
        manifest = json.loads((checkpoint / "manifest.json").read_bytes())
        manifest.pop("sha256", None)
        for name, seal in manifest["files"].items():
            data = (checkpoint / name).read_bytes()
            seal["bytes"], seal["sha256"] = len(data), hashlib.sha256(data).hexdigest()
        total = hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()
        (checkpoint / "manifest.json").write_text(json.dumps({**manifest, "sha256": total}))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return False
    return True


# --- who reads


def readers(part: str, folder: Path, rng: random.Random) -> Iterator[tuple[str, Callable[[], Any]]]:
    """Of ``board``, ``pole`` or ``league``, all readers, by name; those that write come last."""
    run = folder / part
    picture = folder / "picture.svg"
    if part == "league":
        yield "standings", lambda: _standings(run, picture if rng.random() < SHARE_OF_PLOTS else None)
        yield "myosu arena", lambda: _command("arena", "--resume", run, "--games", 0, "--json")
        return
    yield "open_run", lambda: open_run(run)
    for name in ("", "checkpoints/best", "checkpoints/latest"):
        yield f"load_agent {name}", lambda name=name: _act(run / name)
    for x_axis in ("minutes", "env_steps", "updates"):
        yield f"curve over {x_axis}", lambda x_axis=x_axis: read_curve(run, x_axis)
    yield "minutes_at", lambda: minutes_at(run, [1, 5])
    if rng.random() < SHARE_OF_PLOTS:
        yield "plot", lambda: plot_learning([run], picture)
    yield "episodes", lambda: _episodes(run)
    yield "myosu episodes", lambda: _command("episodes", run, "--best", 5)
    yield "myosu episodes --json", lambda: _command("episodes", run, "--json")
    if part == "board":
        yield "myosu episodes played", lambda: _command("episodes", run / "played")
    yield "watch", lambda: _watch(run)
    if part == "board":
        yield "played", lambda: _played(run)
        yield "open games", lambda: _open_games(run)
    for path in Checkpoints(run / "checkpoints").paths():
        yield f"checkpoint {path.name}", lambda path=path: _whole_checkpoint(path)
    if rng.random() < SHARE_OF_RESUMES:
        yield "resume", lambda: train(open_run(run, updates=33, env_steps=700), quiet=True)


def _command(*words: Any) -> None:
    with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
        code = cli.run([str(word) for word in words])
    assert code in (0, 2), f"exit code {code}"


def _whole_checkpoint(path: Path) -> None:
    checkpoint = find_checkpoint(path)
    checkpoint.weights()
    if checkpoint.resumable:
        checkpoint.state()


def _act(path: Path) -> None:
    agent, environment, _ = load_agent(path)
    spec = environment.spec
    observation = np.zeros((2, *spec.observation_shape), spec.observation_dtype)
    actions, _ = agent.act(observation, np.ones((2, spec.num_actions), np.bool_))
    assert ((actions >= 0) & (actions < spec.num_actions)).all()


def _standings(folder: Path, picture: Path | None) -> None:
    league = League.open(folder)
    try:
        standings = Standings.of(league)
        json.dumps(standings.to_json(), allow_nan=False)
        ratings_table(standings), cross_table(standings), standings.surprises()
        if picture:
            plot_ratings(standings, picture)
    finally:
        league.close()


def _episodes(run: Path) -> None:
    recording = open_recording(run)
    recording.last(5), recording.best(5)
    for which in ("best", 0, 10):
        _or_user_error(lambda which=which: list(recording.find(which).moves(recording.environment)))


def _watch(run: Path) -> None:
    watched = Watched(run)
    _, page = watched.look(Shown("minutes"))
    json.dumps(page, allow_nan=False)  # as the server does
    json.dumps(watched.games(), allow_nan=False)
    for episode in (0, 10):
        _or_user_error(lambda episode=episode: watched.positions(episode, 0))


def _played(run: Path) -> None:
    for path in (run / "played", *(run / "played").glob("*.json")):
        _or_user_error(lambda path=path: _replay(open_recording(path)))


def _replay(recording: Recording) -> None:
    """Listed, played again and exported as SGF where that is possible."""
    recording.last(5), recording.best(5)
    for record in recording.records():
        _or_user_error(lambda record=record: list(record.moves(recording.environment)))
        _or_user_error(lambda record=record: to_sgf(record, recording.environment.rules))


def _open_games(run: Path) -> None:
    games = OpenGames(run / "played" / "open")
    list(games.unfinished())
    game = games.find("open")
    if game:
        game.history()


def _or_user_error(action: Callable[[], Any]) -> None:
    try:
        action()
    except UserError as error:
        assert str(error).isprintable() or "\n" in str(error)


# --- all of it


@dataclass
class Result:
    cases: int
    refused: int
    faults: list[str]
    kinds: Counter[str]


def run_cases(count: int, seed: int, whole: Path, scratch: Path, show: bool = False) -> Result:
    """``whole``: what ``make_whole`` made. Everything happens in ``scratch``, an empty folder."""
    rng = random.Random(seed)
    marker, evil = scratch / "CODE-RAN", scratch / "evil_module.py"
    evil.write_text(EVIL.format(marker=str(marker)))
    sys.path.insert(0, str(scratch))
    entry_points = game_registry.entry_points
    game_registry.entry_points = functools.cache(entry_points)  # they take a third of the time
    files = {part: [path for path in sorted((whole / part).rglob("*")) if path.is_file() and path.suffix in
                    (".json", ".jsonl", ".safetensors") and path.name not in ("ratings.json",)]
             for part in ("board", "pole", "league")}
    result = Result(count, 0, [], Counter())
    try:
        for number in range(count):
            part = rng.choice(["board", "board", "pole", "league"])
            folder = scratch / "case"
            shutil.copytree(whole, folder)
            groups: dict[str, list[Path]] = {}
            for path in files[part]:  # each kind of file as often as another
                groups.setdefault(path.name if path.parent.name != "replay" else "block", []).append(path)
            chosen = rng.choice(groups[rng.choice(sorted(groups))])
            case = damage(folder / chosen.relative_to(whole), rng, evil)
            result.kinds[f"{part}/{chosen.name if chosen.parent.name != 'replay' else 'block'}"] += 1
            known = len(result.faults)
            _one_case(case, part, folder, rng, marker, result, number)
            shutil.rmtree(folder)
            if show and len(result.faults) > known:
                print(*result.faults[known:], sep="\n", flush=True)
            if show and number % 100 == 99:
                print(f"{number + 1} cases, {len(result.faults)} faults", flush=True)
    finally:
        sys.path.remove(str(scratch))
        game_registry.entry_points = entry_points
    return result


def _one_case(case: Case, part: str, folder: Path, rng: random.Random, marker: Path, result: Result,
              number: int) -> None:
    what = f"case {number}: {case.file.relative_to(folder)}, {case.how}"
    before = _sums(folder / part)
    refused = False
    kind = KINDS.get((part, case.file.name))
    if case.lost is not None and len(list(read_lines(case.file, kind))) != case.lines - case.lost:
        result.faults.append(f"{what}: whole lines are not read")
    for name, read in readers(part, folder, rng):
        try:
            read()
        except UserError as error:
            refused = True
            if not str(error).strip():
                result.faults.append(f"{what}: {name} says nothing")
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt):
                raise
            result.faults.append(f"{what}: {name}: {''.join(traceback.format_exception(error))}")
        if marker.exists():
            marker.unlink()
            result.faults.append(f"{what}: {name} RAN CODE")
        if name not in ("resume", "standings", "myosu arena") and _sums(folder / part) != before:
            result.faults.append(f"{what}: {name} changed files")
            before = _sums(folder / part)
    result.refused += refused


def _sums(folder: Path) -> dict[str, bytes]:
    return {str(path): hashlib.sha256(path.read_bytes()).digest() for path in sorted(folder.rglob("*"))
            if path.is_file() and "tensorboard" not in path.parts and path.suffix != ".lock"}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        logging.disable()  # notices of damaged lines, by the thousand
        os.environ["XDG_STATE_HOME"] = str(folder / "state")
        make_whole(folder / "whole")
        (folder / "scratch").mkdir()
        assert trust.EVERYTHING not in trust.agreed()
        result = run_cases(options.count, options.seed, folder / "whole", folder / "scratch", show=True)
    print(f"{result.cases} damaged files ({', '.join(f'{n} {kind}' for kind, n in result.kinds.most_common())}): "
          f"{result.refused} were refused with a message by some reader, the rest read; {len(result.faults)} faults")
    return 1 if result.faults else 0


if __name__ == "__main__":
    sys.exit(main())
