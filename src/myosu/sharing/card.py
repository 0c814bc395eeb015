"""A model card: what an agent plays, how it was trained, how good it is, and how to use it."""

from __future__ import annotations

import dataclasses
import json
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from myosu.algorithms import load_algorithm
from myosu.errors import UserError
from myosu.players.trained import TrainedAgent
from myosu.plots.learning import plot_learning
from myosu.runs.checkpoint import Checkpoint, find_checkpoint
from myosu.runs.config import RunConfig, TrainConfig
from myosu.runs.files import writing_to
from myosu.runs.metrics import read_evaluations
from myosu.training.start import configure

CURVE = "curve.png"
#: Settings that describe the machine, not the training.
OF_THE_MACHINE = ("device", "precision")


def write_card(run: Path, folder: Path, license: str | None = None, games: int = 0, opponents: tuple[str, ...] = (),
               name: str = "") -> Path:
    """Write ``README.md`` into ``folder``, and ``curve.png`` if the run has evaluations and matplotlib is installed.

    Returns the path of the card. run: in any form that ``find_checkpoint`` accepts. license: a licence's identifier,
    such as mit or cc-by-4.0; without one the card says that none was given. games: evaluate the agent now, in this many
    games against each of ``opponents`` (or this many episodes in a single-player environment). name: of the repository,
    for the commands in the card. Raises UserError.
    """
    checkpoint = find_checkpoint(run)
    evaluations = [_evaluation_of(checkpoint)]
    if games:
        evaluations = _evaluate(run, games, opponents)
    with writing_to(folder):
        folder.mkdir(parents=True, exist_ok=True)
        picture = _draw(checkpoint, folder / CURVE)
        (folder / "README.md").write_text(
            describe_agent(checkpoint, [entry for entry in evaluations if entry], license, name, picture), "utf-8")
    return folder / "README.md"


def describe_agent(checkpoint: Checkpoint, evaluations: list[dict[str, Any]], license: str | None, name: str,
                   picture: bool) -> str:
    """The card's text."""
    config = checkpoint.config
    game, algorithm = named(config.game), named(config.algorithm)
    first = f"myosu pull {name}\n" if name else ""
    folder = name.rpartition("/")[2] or "RUN"
    plays = config.num_players == 2 or config.environment.game is not None
    use = f"{first}myosu evaluate {folder}\n" + (f"myosu play {folder}\n" if plays else "")
    sections = [
        _metadata(game, algorithm, evaluations, license),
        f"# {algorithm} plays {game}\n",
        f"An agent for {game}, trained by {algorithm} in Myosu {config.myosu}, after {checkpoint.update:,} updates.",
        "## How good it is\n\n" + _figures(evaluations),
        *([f"![Mean reward over training]({CURVE})"] if picture else []),
        f"## Use\n\n```\npip install \"myosu[hub]\"\n{use}```\n\n```python\nimport myosu\n\nagent = "
        f"myosu.load({folder!r})\naction = agent.act(observation)"
        + ("  # two players: agent.act(observation, legal_actions)" if config.num_players == 2 else "") + "\n```",
        f"## How it was trained\n\n```\n{train_command(config)}\n```\n\n" + _settings(config),
        f"## Licence\n\n{license}" if license else "## Licence\n\nNone was given: ask the author before you use it.",
        "Weights are safetensors with SHA-256 sums in `manifest.json`; nothing here runs when it is loaded.",
    ]
    return "\n\n".join(section.rstrip() for section in sections) + "\n"


def train_command(config: RunConfig) -> str:
    """The command to train such an agent, with a flag for each setting that differs from the presets and defaults."""
    words = ["myosu", "train", named(config.game), "--algorithm", named(config.algorithm)]
    if config.rewards != "score":
        words += ["--rewards", config.rewards]
    if config.opponent is not None:
        words += ["--opponent", named(config.opponent)]
    if config.env_kwargs:
        words += ["--env-kwargs", json.dumps(config.env_kwargs)]
    base = configure(config.game, config.algorithm, {}, config.rewards, config.env_kwargs, config.opponent)
    changed = {name: value for name, value in without_folders(config.algorithm_config).items()
               if name not in OF_THE_MACHINE and config.algorithm_config[name] != base.algorithm_config.get(name)
               and value is not None}
    for field in dataclasses.fields(TrainConfig):
        value = getattr(config.train, field.name)
        if value != field.default and value is not None:
            changed[field.name] = named(value) if field.name == "evaluation_opponent" else value
    return shlex.join(words + [word for name, value in changed.items() for word in _flag(name, value)])


def named(text: str) -> str:
    """The name of a game, an algorithm or an opponent; of an absolute path only the last part."""
    return Path(text).name if Path(text).is_absolute() else text


def without_folders(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings with absolute paths (such as in ``recordings``) reduced to their last part."""
    return {name: [named(item) if isinstance(item, str) else item for item in value] if isinstance(value, list)
            else named(value) if isinstance(value, str) else value for name, value in settings.items()}


def _flag(name: str, value: Any) -> list[str]:
    flag = name.replace("_", "-")
    if isinstance(value, bool):
        return [f"--{flag}" if value else f"--no-{flag}"]
    return [f"--{flag}", *(map(str, value) if isinstance(value, list) else [str(value)])]


def _evaluation_of(checkpoint: Checkpoint) -> dict[str, Any]:
    """The latest evaluation during training at or before this checkpoint; empty if there is none."""
    file = checkpoint.path.parent.parent / "metrics.jsonl"
    if not file.is_file():
        return {}
    before = [entry for entry in read_evaluations(file) if entry["update"] <= checkpoint.update]
    return before[-1] if before else {}


def _evaluate(run: Path, games: int, opponents: tuple[str, ...]) -> list[dict[str, Any]]:
    from myosu.api import evaluate

    agent = TrainedAgent(run)
    if agent.spec.num_players == 1:
        return [evaluate(agent, games=games)]
    return [evaluate(agent, opponent, games) for opponent in opponents or ("random",)]


def _draw(checkpoint: Checkpoint, file: Path) -> bool:
    folder = checkpoint.path.parent.parent
    if not (folder / "metrics.jsonl").is_file() or not _evaluation_of(checkpoint):
        return False
    try:
        plot_learning([folder], file)
    except UserError:  # no matplotlib, or incomplete records of an older version: a card without a plot
        return False
    return True


def _figures(evaluations: list[dict[str, Any]]) -> str:
    if not evaluations:
        return "It was not evaluated."
    rows = ["| opponent | games | mean reward | won | drawn |", "|---|---|---|---|---|"]
    for entry in evaluations:
        won = f"{entry['win_rate']:.0%}{_interval(entry, 'win_rate', '.0%')}" if "win_rate" in entry else ""
        drawn = f"{entry['draw_rate']:.0%}" if "draw_rate" in entry else ""
        update = f", update {entry['update']}" if "update" in entry else ""
        rows.append(f"| {named(entry.get('opponent', 'none: it plays alone'))}{update} | {entry['games']} | "
                    f"{entry['mean_reward']:.4g}{_interval(entry, 'mean_reward', '.4g')} | {won} | {drawn} |")
    return "\n".join(rows) + "\n\n95 % intervals."


def _interval(entry: dict[str, Any], name: str, form: str) -> str:
    ends = entry.get(f"{name}_ci95")
    return f" ({format(ends[0], form)} to {format(ends[1], form)})" if ends else ""


def _settings(config: RunConfig) -> str:
    kind = load_algorithm(config.algorithm).Config if not config.algorithm.endswith(".py") else None
    names = [field.name for field in dataclasses.fields(kind)] if kind else list(config.algorithm_config)
    settings = without_folders(config.algorithm_config)
    rows = [f"| `{name}` | {settings[name]} |" for name in names if name in settings]
    return "\n".join(["| setting | value |", "|---|---|", *rows])


def _metadata(game: str, algorithm: str, evaluations: list[dict[str, Any]], license: str | None) -> str:
    """The header that the Hub reads: YAML, of which JSON is a subset."""
    data: dict[str, Any] = {"library_name": "myosu", "pipeline_tag": "reinforcement-learning",
                            "tags": ["myosu", "reinforcement-learning", algorithm, game]}
    if license:
        data["license"] = license
    if evaluations:
        metrics = [{"type": "mean_reward", "name": f"mean reward {entry.get('opponent', '')}".strip(),
                    "value": round(float(entry["mean_reward"]), 4)} for entry in evaluations]
        data["model-index"] = [{"name": f"{algorithm}-{game}", "results": [{
            "task": {"type": "reinforcement-learning"}, "dataset": {"name": game, "type": game}, "metrics": metrics}]}]
    return "---\n" + "\n".join(f"{name}: {json.dumps(value)}" for name, value in data.items()) + "\n---"
