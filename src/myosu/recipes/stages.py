"""The stages of recipes. Each checks its settings when the recipe is read, and runs in its own folder.

A stage's figures are plain numbers by name; ``NAME_ci95`` is the 95 % interval of ``NAME``.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from myosu.algorithms import load_settings
from myosu.envs.registry import load_environment
from myosu.errors import UserError
from myosu.evaluation.match import play_match
from myosu.evaluation.prediction import predict_recordings
from myosu.evaluation.recording import Settings, record_games
from myosu.players.agent import load_agent
from myosu.players.apv_name import files_of, with_files
from myosu.players.opponents import make_opponent
from myosu.runs.checkpoint import Checkpoints, find_checkpoint
from myosu.runs.reading import parse
from myosu.runs.recordings import is_held_out, open_recording, recorded_lines
from myosu.runs.run import open_run
from myosu.runs.sgf import is_go
from myosu.training import trainer
from myosu.training.start import configure, create_run

Figures = dict[str, Any]
Tell = Callable[[str], None]


@dataclass(frozen=True)
class Made:
    """The result of a finished stage: its ``folder``, the stage's ``kind``, its ``figures`` and its duration in
    ``seconds``."""

    folder: Path
    kind: str
    figures: Figures
    seconds: float

    @property
    def player(self) -> str:
        """The resulting player, in the form that ``make_opponent`` accepts.

        For a reinforced policy this is the best checkpoint, or the initial policy if the best is not significantly
        better, or significantly worse against the stage's engine.
        """
        if self.kind == "reinforce":
            return self.figures["player"]
        return str(self.folder)


#: What is wrong with a stage whose settings cannot be parsed.
WRONG = "has a wrong setting"
#: The kinds of stages that can provide each part of AlphaGo's search (``players.apv_name``).
PARTS_OF_APV = {"network": ("supervise", "reinforce"), "prior": ("supervise", "reinforce"), "value": ("value",),
                "rollout": ("rollout",)}


def _part(part: str, name: str, made: dict[str, Made]) -> str:
    """The run or file of a part of AlphaGo's search."""
    if name not in made:
        return str(Path(name).absolute())
    stage = made[name]
    return str(stage.folder / "rollout.npz") if part == "rollout" else stage.player


class Stage:
    """A stage of a recipe.

    settings: the fields of ``Options``, or of a training. earlier: name → earlier stage. where: the place in the
    recipe, for error messages.
    """

    kind: ClassVar[str]

    def __init__(self, name: str, game: str, settings: Mapping[str, Any], earlier: dict[str, Stage],
                 where: str) -> None:
        self.name, self.earlier, self.where = name, earlier, where
        settings = dict(settings)
        self.game: str = settings.pop("game", game)
        self.settings = settings
        self.check()

    def check(self) -> None:
        """Raise UserError if a setting is wrong or names a missing stage."""
        raise NotImplementedError

    def run(self, folder: Path, made: dict[str, Made], tell: Tell) -> Figures | None:
        """Run or resume the stage. Returns None if the user interrupted it."""
        raise NotImplementedError

    def described(self) -> dict[str, Any]:
        """The settings as JSON, to recognise them later; without ``jobs``, which does not affect the result."""
        settings = {name: value for name, value in self.settings.items() if name != "jobs"}
        return json.loads(json.dumps({"stage": self.kind, "game": self.game, **settings}))

    def check_names(self, setting: str, names: Any, kinds: tuple[str, ...], what: str) -> None:
        """Raise UserError unless each of ``names`` is an earlier stage of one of ``kinds`` with the same rules, or an
        existing path."""
        for name in names:
            if name in self.earlier:
                if (kind := self.earlier[name].kind) not in kinds:
                    raise UserError(f"{self.where}: {setting} = {name!r} is a {kind} stage; {what} must "
                                    f"come from a {' or '.join(kinds)} stage.")
                if (game := self.earlier[name].game) != self.game:
                    own, other = load_environment(self.game).rules, load_environment(game).rules
                    if own.step is not other.step or own.num_actions != other.num_actions:
                        raise UserError(f"{self.where}: {setting} = {name!r} is for {game}, not for {self.game}.")
            elif not Path(name).exists():
                raise UserError(f"{self.where}: {setting} = {name!r} is neither an earlier stage of this recipe nor a "
                                f"folder. Earlier stages: {', '.join(self.earlier) or 'none'}.")

    def check_players(self, players: Any) -> None:
        for text in players:
            if text.startswith("apv:"):
                try:
                    files = files_of(text)
                except UserError as error:
                    raise UserError(f"{self.where}: {error}") from None
                for part, name in files.items():
                    self.check_names(f"{part} of a player", [name], PARTS_OF_APV[part], "it")
            elif "/" in text or text in self.earlier or Path(text).exists():
                self.check_names("player", [text], ("supervise", "reinforce"), "a player")
            else:
                try:
                    make_opponent(text, load_environment(self.game).rules).close()
                except UserError as error:
                    raise UserError(f"{self.where}: {error}") from None

    def players(self, texts: Any, made: dict[str, Made]) -> tuple[str, ...]:
        return tuple(with_files(text, lambda part, name: _part(part, name, made)) if text.startswith("apv:") else
                     made[text].player if text in made else text for text in texts)

    def folders(self, names: Any, made: dict[str, Made]) -> tuple[str, ...]:
        return tuple(str(made[name].folder) if name in made else str(Path(name).absolute()) for name in names)


@dataclass(frozen=True)
class RecordOptions:
    """See ``evaluation.recording.Settings`` and ``record_games``."""

    players: tuple[str, ...]
    games: int
    opening_plies: int = 0
    random_moves: float = 0.0
    temperature: float = 0.0
    seed: int = 0
    jobs: int | None = None


class Record(Stage):
    """Records games, as ``myosu record`` does."""

    kind = "record"

    def check(self) -> None:
        self.options: RecordOptions = parse(RecordOptions, self.settings, self.where, WRONG)
        self.check_players(self.options.players)

    def run(self, folder: Path, made: dict[str, Made], tell: Tell) -> Figures | None:
        options = self.options
        settings = Settings(self.players(options.players, made), options.opening_plies, options.random_moves,
                            options.temperature, options.seed)
        recorded = record_games(folder, self.game, settings, options.games, options.jobs,
                                tell=every(options.games, tell))
        records = list(recorded_lines(folder))
        return {"games": recorded.games, "games_per_second": recorded.new / max(recorded.seconds, 1e-9),
                "played_again": recorded.duplicates, "moves": float(np.mean([record.length for record in records])),
                "first_seat_wins": float(np.mean([record.returns[0] > 0 for record in records]))}


def every(games: int, tell: Tell) -> Callable[[int, list[str]], None]:
    """A progress callback that reports after every tenth of the ``games``, with an estimate of the time left."""
    told, first, begin = 0, None, time.monotonic()

    def progress(done: int, notices: list[str]) -> None:
        nonlocal told, first
        for notice in notices:
            tell(notice)
        first = done if first is None else first  # a resumed stage has already played some games
        if done - told >= max(1, games // 10):
            told = done
            left = (time.monotonic() - begin) * (games - done) / max(1, done - first) / 60
            tell(f"  {done} of {games} games{f', about {left:.1f} minutes left' * (first < done < games)}")

    return progress


class Training(Stage):
    """Trains ``algorithm`` as ``myosu train`` does. The settings are those of the algorithm and of ``TrainConfig``."""

    algorithm: ClassVar[str]

    def check(self) -> None:
        names = self.names()
        try:
            configure(self.game, self.algorithm, {**self.settings, **names})
        except UserError as error:
            raise UserError(f"{self.where}: {error}") from None

    def names(self) -> dict[str, Any]:
        """The settings that name other stages, after checking them."""
        recordings = self.settings.get("recordings", ())
        if not recordings:
            raise UserError(f"{self.where}: recordings is missing: name the stage that recorded the games.")
        self.check_names("recordings", recordings, ("record",), "games")
        return {"recordings": tuple(recordings)}

    def resolved(self, made: dict[str, Made]) -> dict[str, Any]:
        return {"recordings": self.folders(self.settings["recordings"], made)}

    def run(self, folder: Path, made: dict[str, Made], tell: Tell) -> Figures | None:
        if not (folder / "trained").exists():
            if (folder / "config.json").is_file():
                run = open_run(folder)
                if Checkpoints(run.checkpoints).latest() is None:
                    tell("  It was stopped before its first checkpoint and starts again.")
            else:
                self.check_games(made)
                run = create_run(configure(self.game, self.algorithm, {**self.settings, **self.resolved(made)}), folder)
            ended = trainer.train(run, handle_signals=True)
            if ended.reason == "interrupted":
                return None
            (folder / "trained").touch()
        return self.figures(folder, made)

    def check_games(self, made: dict[str, Made]) -> None:
        """Raise UserError if the recordings lack games to train on or held-out games. Trainings without recordings
        pass."""
        if "recordings" not in (resolved := self.resolved(made)):
            return
        environment = load_environment(self.game)
        share = load_settings(configure(self.game, self.algorithm, {**self.settings, **resolved})).held_out
        held_out = []
        for name in resolved["recordings"]:
            recording = open_recording(name)
            recording.require(environment, self.game, {})
            held_out += [is_held_out(record.actions or [], environment.spec.num_players, share)
                         for record in recording.records() if len(record.unchosen) < record.length]
        if all(held_out) or not any(held_out):
            raise UserError(f"{self.where}: of {len(held_out)} games with moves that a player chose, {sum(held_out)} "
                            "are held out for testing "
                            f"(held_out = {share:g}; games with the same opening are together), and there must be some "
                            "to learn from and some to test on. Record more games, or with more random opening plies.")

    def figures(self, folder: Path, made: dict[str, Made]) -> Figures:
        raise NotImplementedError

    def predict(self, folder: Path, made: dict[str, Made], held_out: bool) -> Figures:
        agent, environment, config = load_agent(folder)
        return asdict(predict_recordings(agent, environment, config, self.resolved(made)["recordings"], held_out))


class Supervise(Training):
    """Trains the supervised policy (algorithm cloning)."""

    kind, algorithm = "supervise", "cloning"

    def figures(self, folder: Path, made: dict[str, Made]) -> Figures:
        found = self.predict(folder, made, held_out=True)
        return {name: found[name] for name in ("games", "positions", "top1", "top1_ci95", "top5", "top5_ci95")}


class Value(Training):
    """Trains the value network."""

    kind, algorithm = "value", "value"

    def figures(self, folder: Path, made: dict[str, Made]) -> Figures:
        train, test = (self.predict(folder, made, held_out) for held_out in (False, True))
        return {"test_games": test["games"],
                "train_error": train["value_error"], "train_error_ci95": train["value_error_ci95"],
                "test_error": test["value_error"], "test_error_ci95": test["value_error_ci95"],
                "test_error_from_ply": test["by_stage"]}


class Reinforce(Training):
    """Trains the reinforced policy.

    Every evaluation plays against the initial policy. At the end the best checkpoint plays ``games_against_start``
    games against it. With ``engine``, a player, both also play ``games_against_engine`` games against this engine: a
    policy can beat its own earlier versions and yet play worse against others.
    """

    kind, algorithm = "reinforce", "reinforce"

    def check(self) -> None:
        self.games: int = self.settings.pop("games_against_start", 400)
        self.engine: str = self.settings.pop("engine", "")
        self.engine_games: int = self.settings.pop("games_against_engine", 100)
        self.check_players([self.engine] if self.engine else [])
        super().check()

    def described(self) -> dict[str, Any]:
        against = {"engine": self.engine, "games_against_engine": self.engine_games} if self.engine else {}
        return super().described() | {"games_against_start": self.games, **against}

    def names(self) -> dict[str, Any]:
        if "start" not in self.settings:
            raise UserError(f"{self.where}: start is missing: name the stage that made the supervised policy.")
        self.check_names("start", [self.settings["start"]], ("supervise",), "a policy to start from")
        return {"start": self.settings["start"]}

    def resolved(self, made: dict[str, Made]) -> dict[str, Any]:
        start = self.folders([self.settings["start"]], made)[0]
        return {"start": start, "evaluation_opponent": start}

    def figures(self, folder: Path, made: dict[str, Made]) -> Figures:
        start = self.resolved(made)["start"]
        best = folder / "checkpoints" / "best"
        found = match_figures(self.game, str(best), start, self.games, None, 1)
        better = found["win_rate_ci95"][0] > 0.5
        if self.engine:
            now, before = (match_figures(self.game, player, self.engine, self.engine_games, None, 1)
                           for player in (str(best), start))
            better = better and now["win_rate_ci95"][1] >= before["win_rate"]
            found |= {f"{name}_{figure}": match[figure] for name, match in (("engine", now), ("start_engine", before))
                      for figure in ("win_rate", "win_rate_ci95")}
        return {"update": find_checkpoint(best).update, **found, "player": str(best) if better else start}


@dataclass(frozen=True)
class RolloutOptions:
    recordings: tuple[str, ...]
    epochs: int = 8


class Rollout(Stage):
    """Fits the rollout policy for Go, ``rollout.npz`` in the stage's folder."""

    kind = "rollout"

    def check(self) -> None:
        self.options: RolloutOptions = parse(RolloutOptions, self.settings, self.where, WRONG)
        self.check_names("recordings", self.options.recordings, ("record",), "games")
        if not is_go(load_environment(self.game).game):
            raise UserError(f"{self.where}: a rollout policy is trained only for Go, not for {self.game}.")

    def run(self, folder: Path, made: dict[str, Made], tell: Tell) -> Figures | None:
        from myosu.games.go.rollout_learning import fit_with_intervals, learn_rollout_policy
        from myosu.games.go.sgf import read_folder

        rules = load_environment(self.game).rules
        records = []
        for name in self.folders(self.options.recordings, made):
            open_recording(name).require(load_environment(self.game), self.game, {})
            records += [record for record in read_folder(Path(name))[0]
                        if record.size == rules.observation_shape[-1] and record.chosen().any()]
        held_out = [is_held_out(record.actions, 2, 0.1) for record in records]
        policy = learn_rollout_policy([r for r, out in zip(records, held_out, strict=True) if not out],
                                      self.options.epochs)
        folder.mkdir(exist_ok=True)
        policy.save(folder / "rollout.npz")
        return fit_with_intervals(policy, [r for r, out in zip(records, held_out, strict=True) if out])


def match_figures(game: str, player: str, opponent: str, games: int, opening_plies: int | None, seed: int) -> Figures:
    """Win rate of ``player`` with its interval."""
    rules = load_environment(game).rules
    with closing(make_opponent(player, rules, seed=seed)) as first, \
            closing(make_opponent(opponent, rules, seed=seed + 1)) as second:
        result = play_match(rules, first, second, games, opening_plies, seed)
    return {"games": result.overall.games, "win_rate": result.overall.win_rate,
            "win_rate_ci95": list(result.overall.win_rate_ci95)}
