"""What a person sees while training runs: a live table in a terminal, else a line now and then."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.markup import escape
from rich.table import Table

from myosu.runs.run import Run

LIVE_SECONDS, LINE_SECONDS = 0.5, 30.0
BARS = "▁▂▃▄▅▆▇█"


@dataclass(frozen=True)
class Status:
    """limits: name -> (done, limit). rates: a second, over a recent window."""

    phase: str
    seconds: float
    limits: dict[str, tuple[float, float]]
    rates: dict[str, float]
    evaluations: list[dict[str, Any]]


class Progress:
    """``losses``, ``played`` (what the episodes were like) and ``record`` hold the latest that the metrics got."""

    def __init__(self, run: Run, two_players: bool, quiet: bool = False) -> None:
        self._two_players = two_players
        self._games, self._evaluated = ("games", "against random") if two_players else ("episodes", "evaluation")
        self.losses: dict[str, float] = {}
        self.played: dict[str, float] = {}
        self.record: dict[str, Any] = {}
        self._run, self._quiet = run, quiet
        self._console = Console(quiet=quiet, highlight=False)
        self._live = Live(console=self._console, auto_refresh=False) if sys.stdout.isatty() and not quiet else None
        self._shown = -LINE_SECONDS

    def __enter__(self) -> Progress:
        self.say(f"Training in {self._run.folder} (Ctrl-C saves and stops)")
        if self._live:
            self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        if self._live:
            self._live.stop()

    def say(self, text: str) -> None:
        self._console.print(text, soft_wrap=True, markup=False)

    def refresh(self, status: Callable[[], Status]) -> None:
        """Show ``status()`` if the last time is long enough ago."""
        now = time.monotonic()
        if self._quiet or now - self._shown < (LIVE_SECONDS if self._live else LINE_SECONDS):
            return
        self._shown = now
        if self._live:
            self._live.update(self._table(status()), refresh=True)
        else:
            self.say(self._line(status()))

    def summary(self, result: Any) -> None:
        folder = self._run.folder
        self.say(f"\nStopped after {_clock(result.seconds)}: {result.reason}. {result.updates:,} updates, "
                 f"{result.games:,} {self._games}, {result.env_steps:,} steps.")
        if result.evaluation:
            self.say(f"{self._evaluated.capitalize()}: {_evaluation(result.evaluation)}")
        then = (f"--opponent greedy --games 200\n  myosu play {folder}" if self._two_players else "--games 100")
        self.say(f"The run is in {folder}\n"
                 f"  myosu evaluate {folder} {then}\n"
                 f"  myosu train --resume {folder}" + ("" if result.reason == "interrupted" else " --minutes M"))

    def _table(self, status: Status) -> Table:
        table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
        for name, text in self._rows(status):
            table.add_row(f"[bold]{name}[/bold]", escape(text))
        return table

    def _line(self, status: Status) -> str:
        return " | ".join(f"{name} {text}" for name, text in self._rows(status))

    def _rows(self, status: Status) -> list[tuple[str, str]]:
        record, rates = self.record, status.rates
        rows = [(status.phase, f"{_clock(status.seconds)}, {time_left(status.seconds, status.limits)}")]
        if record:
            rows += [
                (self._games, f"{record['games']:,} ({rates['games']:.1f}/s)"),
                ("steps", f"{record['env_steps']:,} ({rates['env_steps']:.0f}/s)"),
                ("updates", f"{record['update']:,} ({rates['updates']:.1f}/s)"),
                ("replay", f"{record['replay_positions']:,} positions, {record['replay_games']:,} {self._games}, "
                           f"{record['replay_ratio']:.2f} samples a position"),
            ]
            if record["memory_mib"] is not None:
                rows.append(("memory", f"{record['memory_mib']:,.0f} MiB"))
        if "episodes/reward_mean" in self.played:
            rows.append(("reward", f"mean {self.played['episodes/reward_mean']:.4g}, from "
                                   f"{self.played['episodes/reward_min']:.4g} to "
                                   f"{self.played['episodes/reward_max']:.4g}, length "
                                   f"{self.played['episodes/length']:.4g}"))
        if self.losses:
            rows.append(("losses", ", ".join(
                f"{name.removesuffix('_loss').replace('_', '-')}={value:.3g}" for name, value in self.losses.items())))
        if status.evaluations:
            history = [entry["mean_reward"] for entry in status.evaluations]
            rows.append((self._evaluated, f"{_evaluation(status.evaluations[-1])} {sparkline(history)}"))
        return rows


def time_left(seconds: float, limits: dict[str, tuple[float, float]]) -> str:
    """The estimate for the limit that comes first at the pace so far."""
    remaining = [seconds * (limit - done) / done for done, limit in limits.values() if done > 0]
    return f"about {_clock(max(0.0, min(remaining)))} left" if remaining else "time left unknown yet"


def sparkline(values: list[float], width: int = 40) -> str:
    """The last ``width`` values as bars from their least to their greatest."""
    values = values[-width:]
    low, high = min(values), max(values)
    scale = (len(BARS) - 1) / (high - low) if high > low else 0.0
    return "".join(BARS[round((value - low) * scale)] for value in values)


def _evaluation(entry: dict[str, Any]) -> str:
    low, high = entry["mean_reward_ci95"]
    of = (f"{100 * entry['win_rate']:.0f} % won of {entry['games']} games" if "win_rate" in entry
          else f"{entry['games']} episodes of {entry['mean_length']:.4g} steps")
    return f"reward {entry['mean_reward']:+.2f} [{low:+.2f}, {high:+.2f}], {of} at update {entry['update']:,}"


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
