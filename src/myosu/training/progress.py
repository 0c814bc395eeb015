"""Shows the progress of training: a live table in a terminal or a notebook, otherwise a line from time to time."""

from __future__ import annotations

import html
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.markup import escape
from rich.table import Table

from myosu.algorithms import plays
from myosu.runs.run import Run
from myosu.trust import OBJECT

LIVE_SECONDS, LINE_SECONDS = 0.5, 30.0
BARS = "▁▂▃▄▅▆▇█"
#: Width of a row's name in a notebook, in characters.
NAME_WIDTH = 18


@dataclass(frozen=True)
class Status:
    """The state that is shown. limits: name -> (done, limit). rates: counters per second over a recent window."""

    phase: str
    seconds: float
    limits: dict[str, tuple[float, float]]
    rates: dict[str, float]
    evaluations: list[dict[str, Any]]


class Progress:
    """Displays the progress of a run. losses, played (statistics of the episodes), record: the latest values of the
    metrics. stoppable: whether Ctrl-C saves and stops."""

    def __init__(self, run: Run, two_players: bool, quiet: bool = False) -> None:
        self._two_players = two_players
        self._games = "games" if two_players else "episodes"
        self.losses: dict[str, float] = {}
        self.played: dict[str, float] = {}
        self.record: dict[str, Any] = {}
        self.stoppable = False
        self._run, self._quiet = run, quiet
        self._console = Console(quiet=quiet, highlight=False, force_jupyter=False)
        self._live = Live(console=self._console, auto_refresh=False) if sys.stdout.isatty() and not quiet else None
        self._notebook = _notebook() if not quiet else None
        self._cell: Any = None
        self._shown = -LINE_SECONDS

    def __enter__(self) -> Progress:
        self.say(f"Training in {self._run.folder}{' (Ctrl-C saves and stops)' * self.stoppable}")
        if self._live:
            self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        with self._unless_closed():
            if self._live:
                self._live.stop()

    def say(self, text: str) -> None:
        with self._unless_closed():
            self._console.print(text, soft_wrap=True, markup=False)

    @contextmanager
    def _unless_closed(self) -> Iterator[None]:
        """Context of output: if the terminal or pipe was closed, training continues without output."""
        try:
            yield
        except (OSError, SystemExit):  # rich exits if the reader of a pipe has ended
            self._quiet = self._console.quiet = True
            self._live = None

    def refresh(self, status: Callable[[], Status]) -> None:
        """Show ``status()`` if the last refresh was long enough ago."""
        now = time.monotonic()
        if self._quiet or now - self._shown < (LIVE_SECONDS if self._live or self._notebook else LINE_SECONDS):
            return
        self._shown = now
        if self._notebook:
            self._show_in_cell(self._notebook, status())
        elif self._live:
            with self._unless_closed():
                self._live.update(self._table(status()), refresh=True)
        else:
            self.say(self._line(status()))

    def _show_in_cell(self, display: Callable[..., Any], status: Status) -> None:
        """Write or update the text below the notebook's cell."""
        text = "\n".join(f"{name:<{NAME_WIDTH}} {value}" for name, value in self._rows(status))
        page = {"text/plain": text, "text/html": f"<pre>{html.escape(text)}</pre>"}
        if self._cell is None:
            self._cell = display(page, raw=True, display_id=True)
        else:
            self._cell.update(page, raw=True)

    def summary(self, result: Any) -> None:
        self.say(f"\nStopped after {_clock(result.seconds)}: {result.reason}. {result.updates:,} updates, "
                 f"{result.games:,} {self._games}, {result.env_steps:,} steps.")
        if result.evaluation:
            what = _evaluated(result.evaluation)
            self.say(f"{what[0].upper()}{what[1:]}: {_evaluation(result.evaluation)}")
        self.say(f"The run is in {self._run.folder}\n" + self._next_steps(interrupted=result.reason == "interrupted"))

    def _next_steps(self, interrupted: bool) -> str:
        folder = self._run.folder
        if self._run.config.game.startswith(OBJECT):  # a Python object, which a command cannot name
            return (f'  myosu.evaluate("{folder}")\n'
                    f'  myosu.train(env, resume="{folder}"{"" if interrupted else ", minutes=M"})')
        then = f" --opponent greedy --games 200\n  myosu play {folder}" if self._two_players else " --games 100"
        if not plays(self._run.config):
            then = ""  # a value network is evaluated on held-out games
        return (f"  myosu evaluate {folder}{then}\n"
                f"  myosu train --resume {folder}{'' if interrupted else ' --minutes M'}")

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
                           f"{record['replay_ratio']:.2f} samples per position"),
            ]
            if "learner_wait_share" in record:
                acts = f" and plays {record['learner_act_share']:.0%}" if record["learner_act_share"] else ""
                rows.append(("waiting", f"the learner {record['learner_wait_share']:.0%} of the time{acts}, actors "
                                        f"{record['actor_wait_share']:.0%}"))
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
            last = status.evaluations[-1]
            history = [entry["mean_reward"] for entry in status.evaluations if _evaluated(entry) == _evaluated(last)]
            rows.append((_evaluated(last), f"{_evaluation(last)} {sparkline(history)}"))
        return rows


def _notebook() -> Any:
    """IPython's ``display`` if the output goes to a notebook; otherwise None."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    return ipython.display.display if ipython and getattr(shell, "kernel", None) is not None else None


def time_left(seconds: float, limits: dict[str, tuple[float, float]]) -> str:
    """The estimated time until the first limit is reached, at the average speed so far."""
    remaining = [seconds * (limit - done) / done for done, limit in limits.values() if done > 0]
    return f"about {_clock(max(0.0, min(remaining)))} left" if remaining else "time left unknown yet"


def sparkline(values: list[float], width: int = 40) -> str:
    """The last ``width`` values as bars, scaled from their minimum to their maximum."""
    values = values[-width:]
    low, high = min(values), max(values)
    scale = (len(BARS) - 1) / (high - low) if high > low else 0.0
    return "".join(BARS[round((value - low) * scale)] for value in values)


def _evaluated(entry: dict[str, Any]) -> str:
    return f"against {entry['opponent']}" if "opponent" in entry else "evaluation"


def _evaluation(entry: dict[str, Any]) -> str:
    low, high = entry["mean_reward_ci95"]
    of = (f"{100 * entry['win_rate']:.0f} % won of {entry['games']} games" if "win_rate" in entry
          else f"{entry['games']} episodes of {entry['mean_length']:.4g} steps")
    return f"reward {entry['mean_reward']:+.2f} [{low:+.2f}, {high:+.2f}], {of} at update {entry['update']:,}"


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
