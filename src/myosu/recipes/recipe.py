"""Reads a recipe and runs its stages one after another.

A recipe is a TOML file: ``game``, followed by one table per stage, in the order in which they run. ``stage`` is the
kind of stage (``stages.py``), and the other fields are its settings. A table ``quick`` in it overrides settings in a
quick run, and ``about_minutes`` estimates the stage's duration. A setting that expects games, a run or a player can
name an earlier stage instead.

A recipe runs in a folder, in which every stage has its own. ``recipe.json`` there lists the finished stages with their
settings and figures; the same command resumes an interrupted recipe.
"""

from __future__ import annotations

import difflib
import os
import time
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from myosu.errors import UserError
from myosu.recipes.comparisons import League, Rate, ValueErrors
from myosu.recipes.stages import Made, Record, Reinforce, Rollout, Stage, Supervise, Value
from myosu.runs.files import hold_own_folder, write_json
from myosu.runs.reading import read_json

QUICK = "quick"
#: Estimated minutes of a stage on two idle cores, for the time left; the default for a training is its own limit.
ABOUT = "about_minutes"
KINDS: dict[str, type[Stage]] = {kind.kind: kind for kind in (
    Record, Supervise, Rollout, Reinforce, Value, Rate, League, ValueErrors)}


@dataclass(frozen=True)
class Recipe:
    """A recipe that was read and checked.

    name: the file's name without its ending. stages: by name, in order. minutes: the estimated duration of each stage,
    if given.
    """

    name: str
    game: str
    stages: dict[str, Stage]
    minutes: dict[str, float]


def recipe_names() -> list[str]:
    """Names of the recipes that come with Myosu."""
    names = [file.name for file in files(__package__).iterdir()]
    return sorted(name.removesuffix(".toml") for name in names if name.endswith(".toml"))


def read_recipe(text: str, quick: bool = False) -> Recipe:
    """Read and check the recipe with this name, or in this .toml file.

    Everything is checked that can be checked before the first stage runs. Raises UserError naming the file, the stage
    and the setting.
    """
    if text.endswith(".toml"):
        if not Path(text).is_file():
            raise UserError(f"There is no recipe {text}.")
        content = Path(text).read_text(encoding="utf-8")
    elif text in recipe_names():
        content = (files(__package__) / f"{text}.toml").read_text(encoding="utf-8")
    else:
        raise UserError(f"There is no recipe {text!r}. Recipes: {', '.join(recipe_names())}; or give the "
                        "path of your own .toml file.")
    try:
        data = tomllib.loads(content)
    except tomllib.TOMLDecodeError as error:
        raise UserError(f"{text} is not valid TOML: {error}.") from None
    game = data.pop("game", None)
    if not isinstance(game, str):
        raise UserError(f"{text} does not say which game: it must begin with a line such as game = \"go9\".")
    stages: dict[str, Stage] = {}
    minutes: dict[str, float] = {}
    for name, table in data.items():
        where = f"{text}, stage {name}"
        if not isinstance(table, dict) or "stage" not in table:
            raise UserError(f"{where}: it must be a table with a field stage, one of {', '.join(KINDS)}.")
        settings = {**table, **(table.get(QUICK, {}) if quick else {})}
        settings.pop(QUICK, None)
        kind = settings.pop("stage")
        about = settings.pop(ABOUT, settings.get("minutes"))
        if about is not None:
            if isinstance(about, bool) or not isinstance(about, (int, float)) or about < 0:
                raise UserError(f"{where}: {ABOUT} = {about!r} must be a number of minutes.")
            minutes[name] = about
        if kind not in KINDS:
            near = difflib.get_close_matches(str(kind), KINDS, n=1)
            raise UserError(f"{where}: there is no stage {kind!r}. "
                            f"{f'Did you mean {near[0]!r}?' if near else 'There are: ' + ', '.join(KINDS) + '.'}")
        stages[name] = KINDS[kind](name, game, settings, dict(stages), where)
    if not stages:
        raise UserError(f"{text} has no stages.")
    return Recipe(Path(text).stem, game, stages, minutes)


def run_recipe(recipe: Recipe, folder: Path, until: str | None = None,
               tell: Callable[[str], None] = print) -> dict[str, Made] | None:
    """Run the unfinished stages, up to ``until`` or to the last.

    Returns the results of the stages in order, or None if the user interrupted a training, which is saved. Raises
    UserError if a stage fails, or was run with other settings.
    """
    if until is not None and until not in recipe.stages:
        raise UserError(f"There is no stage {until!r} in {recipe.name}: {', '.join(recipe.stages)}.")
    lock = hold_own_folder(folder, "recipe.json", "cooked", f"{folder} exists and holds no recipe. Choose another "
                           "--folder.")
    try:
        log: dict[str, dict[str, Any]] = {}
        if (folder / "recipe.json").is_file():
            log = read_json(folder / "recipe.json", dict[str, dict[str, Any]])
        made: dict[str, Made] = {}
        for number, (name, stage) in enumerate(recipe.stages.items(), 1):
            known = log.get(name)
            if known is not None and known["settings"] != stage.described():
                raise UserError(f"The stage {name} in {folder} was started with other settings: "
                                f"{_difference(known['settings'], stage.described())}. To run it again, remove "
                                f"{folder / name} and its entry in recipe.json; or choose another --folder.")
            if known is None or known["figures"] is None:
                tell(f"Stage {number} of {len(recipe.stages)}: {name} ({stage.kind}){_progress(recipe, made, until)}")
                log[name] = {"settings": stage.described(), "figures": None, "seconds": 0.0}
                write_json(folder / "recipe.json", log)
                begin = time.monotonic()
                try:
                    figures = stage.run(folder / name, made, tell)
                except UserError:
                    if not (folder / name).exists():  # refused, so it may begin with other settings
                        write_json(folder / "recipe.json", {key: log[key] for key in log if key != name})
                    raise
                if figures is None:
                    return None
                log[name] |= {"figures": figures, "seconds": round(time.monotonic() - begin, 1)}
                write_json(folder / "recipe.json", log)
            made[name] = Made(folder / name, stage.kind, log[name]["figures"], log[name]["seconds"])
            if name == until:
                break
        return made
    finally:
        os.close(lock)


def _progress(recipe: Recipe, made: dict[str, Made], until: str | None) -> str:
    """Minutes spent so far, and an estimate of the minutes left up to ``until``, scaled by the speed of the finished
    stages; "" if any estimate is missing."""
    names = list(recipe.stages)[:None if until is None else list(recipe.stages).index(until) + 1]
    if not all(name in recipe.minutes for name in names):
        return ""
    spent = sum(one.seconds for one in made.values()) / 60
    # A training with a time limit takes the same time on every machine.
    free = [name for name in made if "minutes" not in recipe.stages[name].settings]
    expected = sum(recipe.minutes[name] for name in free)
    pace = sum(made[name].seconds for name in free) / 60 / expected if expected else 1.0
    left = sum(recipe.minutes[name] * (1.0 if "minutes" in recipe.stages[name].settings else pace)
               for name in names if name not in made)
    return f", {spent:.0f} minutes so far, about {left:.0f} left"


def _difference(before: dict[str, Any], now: dict[str, Any]) -> str:
    name = next(name for name in {**before, **now} if before.get(name) != now.get(name))
    return f"{name} = {before.get(name)!r}, now {now.get(name)!r}"
