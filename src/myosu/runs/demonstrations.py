"""Games that people played, one JSON file each (``docs/play.md``): what later training can learn from."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from myosu.envs.course import Course, replay
from myosu.envs.registry import load_environment
from myosu.errors import UserError
from myosu.runs.files import write_json

FORMAT = 1


@dataclass(frozen=True)
class Demonstration:
    """One game. The same seed and actions give it again, move for move.

    game, kwargs, rewards: as ``load_environment`` takes them. seed: below 2**53, which every reader of JSON can hold.
    players: of each seat; ``kind`` is "person", "agent" (with ``run``, ``checkpoint``, ``simulations``,
        ``temperature``) or "recorded".
    returns: of each seat, so far where the game is not over. terminated, truncated: how it ended, if it did.
    taken_back: how often somebody took moves back; ``actions`` holds what was played in the end.
    started, ended: seconds since 1970.
    """

    game: str
    seed: int
    actions: list[int]
    players: list[dict[str, Any]]
    returns: list[float]
    terminated: bool
    truncated: bool
    kwargs: dict[str, Any] = field(default_factory=dict)
    rewards: str = "score"
    taken_back: int = 0
    started: float = 0.0
    ended: float = 0.0

    def course(self) -> Course:
        """The game played again. Raises UserError where the rules give another game."""
        course = replay(load_environment(self.game, self.kwargs, self.rewards).rules, self.seed, self.actions)
        now = course.now
        if (list(now.returns), now.terminated, now.truncated) != (self.returns, self.terminated, self.truncated):
            raise UserError(f"This game of {self.game} was written with the returns {self.returns}; played again it "
                            f"has {list(now.returns)}. The rules have changed since, or the file has.")
        return course

    def to_json(self) -> dict[str, Any]:
        return {"format": FORMAT, **dataclasses.asdict(self)}


def from_json(data: Any) -> Demonstration:
    """Raises UserError where ``data`` is no demonstration."""
    kinds = {"game": str, "seed": int, "actions": list, "players": list, "returns": list, "terminated": bool,
             "truncated": bool, "kwargs": dict, "rewards": str, "taken_back": int, "started": (int, float),
             "ended": (int, float)}
    if not isinstance(data, dict) or data.get("format") != FORMAT:
        raise UserError(f"This is no game in the format {FORMAT} of docs/play.md.")
    for name, kind in kinds.items():
        if not isinstance(data.get(name), kind):  # type: ignore[arg-type]
            raise UserError(f"The game's {name!r} is {data.get(name)!r}; docs/play.md says what it must be.")
    if not all(type(action) is int for action in data["actions"]):
        raise UserError("The game's 'actions' must be whole numbers.")
    return Demonstration(**{name: data[name] for name in kinds})


def write_demonstration(path: Path, demonstration: Demonstration) -> None:
    """Write ``path`` at once, and for Othello beside it the same game as SGF."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, demonstration.to_json())
    if demonstration.game == "othello":
        path.with_suffix(".sgf").write_text(othello_sgf(demonstration))


def read_demonstration(path: Path) -> Demonstration:
    try:
        return from_json(json.loads(path.read_text()))
    except (OSError, ValueError, UserError) as error:
        raise UserError(f"{path} cannot be read as a game: {error}") from error


def read_demonstrations(folder: Path) -> Iterator[Demonstration]:
    """The games in ``folder`` (``RUN/played``), oldest first."""
    for path in sorted(folder.glob("*.json")):
        yield read_demonstration(path)


def othello_sgf(demonstration: Demonstration) -> str:
    """The game in the Smart Game Format (FF[4], GM[2]): squares are column and row as letters, a pass is empty."""
    names = [_player_name(player) for player in demonstration.players]
    lead = round(2 * demonstration.returns[0])
    result = "0" if lead == 0 else f"{'B' if lead > 0 else 'W'}+{abs(lead)}"
    ended = demonstration.terminated or demonstration.truncated
    root = (f"(;FF[4]GM[2]SZ[8]CA[UTF-8]AP[Myosu]PB[{names[0]}]PW[{names[1]}]" + (f"RE[{result}]" if ended else ""))
    letters = "abcdefgh"
    moves = [f";{'BW'[ply % 2]}[{'' if action == 64 else letters[action % 8] + letters[action // 8]}]"
             for ply, action in enumerate(demonstration.actions)]
    lines = ["".join(moves[k:k + 12]) for k in range(0, len(moves), 12)]
    return "\n".join([root, *lines]) + ")\n"


def _player_name(player: dict[str, Any]) -> str:
    name = player["kind"] if player["kind"] != "agent" else f"{player['run']} {player['checkpoint']}"
    return name.replace("\\", "\\\\").replace("]", "\\]")
