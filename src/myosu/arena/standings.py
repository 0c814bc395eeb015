"""The standings of a league: ratings with intervals, and the results of every pairing."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from rich import box
from rich.table import Table

from myosu.arena.entrants import Entrant
from myosu.arena.league import League
from myosu.evaluation.ratings import ELO, Results, connected, fit, intervals
from myosu.evaluation.statistics import Z95


@dataclass(frozen=True)
class Standings:
    """Players sorted by rating, the best first; all arrays are in this order.

    not_rated: players that are not connected with random by games.

    elo: float64 [n], random = 0. interval: float64 [n, 2], 95 % interval of the difference from random. half_width:
    float64 [n], half of the 95 % interval of the difference from the league's mean, which is much smaller if only the
    weakest players have played random. above_next: float64 [n], probability that the player is stronger than the next
    one; 1 for the last. expected: float64 [n, n], the expected score of a game according to the ratings.
    """

    game: str
    opening_plies: int
    entrants: list[Entrant]
    not_rated: list[Entrant]
    elo: np.ndarray
    interval: np.ndarray
    half_width: np.ndarray
    above_next: np.ndarray
    results: Results
    expected: np.ndarray

    @classmethod
    def of(cls, league: League) -> Standings:
        results, random = league.results(), league.names.index("random")
        joined = connected(results, random)
        entrants = [entrant for entrant, rated in zip(league.entrants, joined, strict=True) if rated]
        anchor = int(joined[:random].sum())
        results = Results(results.wins[joined][:, joined], results.draws[joined][:, joined])
        best = fit(results)
        elo, ends = best.elo(anchor), intervals(results, best, anchor)
        order = np.argsort(-elo, kind="stable")
        square = np.ix_(order, order)
        deviations = np.sqrt(best.variances()[order[:-1], order[1:]])
        above = [(1 + math.erf(x / math.sqrt(2))) / 2 for x in -np.diff(best.strengths[order]) / deviations]
        return cls(
            game=league.game.name, opening_plies=league.settings["opening_plies"],
            entrants=[entrants[i] for i in order],
            not_rated=[entrant for entrant, rated in zip(league.entrants, joined, strict=True) if not rated],
            elo=elo[order], interval=ends[order],
            half_width=ELO * Z95 * best.deviations_from_mean()[order], above_next=np.array([*above, 1.0]),
            results=Results(results.wins[square], results.draws[square]), expected=best.expected_scores()[square])

    def why_not(self) -> str:
        """Explains why the players in ``not_rated`` have no rating."""
        names = [entrant.name for entrant in self.entrants]
        return f"no games with {', '.join(names[:3])}" + (f" and {len(names) - 3} more" if len(names) > 3 else "")

    def surprises(self) -> list[tuple[int, int, float]]:
        """Pairings (i, j) in which i scored significantly more than the ratings predict, with the number of standard
        deviations. If the model fits the players, fewer than one league in twenty has any."""
        games, scores = self.results.games, self.results.scores
        win_or_draw = np.maximum(self.expected * (1 - self.expected), 1e-3)
        deviations = (scores - games * self.expected) / np.sqrt(np.maximum(games, 1) * win_or_draw)
        pairings = max(1, int((games > 0).sum()) // 2)
        limit = math.sqrt(2 * math.log(40 * pairings))
        found = np.argwhere(deviations > limit).tolist()
        return sorted(((i, j, float(deviations[i, j])) for i, j in found), key=lambda surprise: -surprise[2])

    def to_json(self) -> dict[str, Any]:
        """The output of ``myosu arena --json``. cross_table: results of the row's player against the column's."""
        wins, draws = self.results.wins, self.results.draws
        players = []
        for i, entrant in enumerate(self.entrants):
            of_run = {} if entrant.update is None else {
                "run": entrant.run, "update": entrant.update, "simulations": entrant.simulations}
            players.append({
                "name": entrant.name, "rating": round(float(self.elo[i]), 1),
                "rating_ci95": [round(float(end), 1) for end in self.interval[i]],
                "half_width_ci95_to_mean": round(float(self.half_width[i]), 1),
                "above_next": round(float(self.above_next[i]), 4), "games": int(self.results.games[i].sum()),
                "wins": int(wins[i].sum()), "draws": int(draws[i].sum()), "losses": int(wins[:, i].sum()), **of_run})
        return {"game": self.game, "opening_plies": self.opening_plies, "games": int(self.results.games.sum()) // 2,
                "players": players,
                "not_rated": [{"name": entrant.name, "why": self.why_not()} for entrant in self.not_rated],
                "cross_table": {"wins": wins.astype(int).tolist(), "draws": draws.astype(int).tolist(),
                                "expected_scores": self.expected.round(3).tolist()}}


def ratings_table(standings: Standings) -> Table:
    table = Table("", "player", "rating", "95 %", "above next", "games", "score", "draws", box=box.SIMPLE,
                  title=standings.game)
    for column in table.columns[2:]:
        column.justify = "right"
    games, scores = standings.results.games.sum(axis=1), standings.results.scores.sum(axis=1)
    draws = standings.results.draws.sum(axis=1)
    for i, entrant in enumerate(standings.entrants):
        low, high = standings.interval[i]
        span = "the zero" if entrant.name == "random" else f"{low:.0f} to {high:.0f}"
        table.add_row(str(i + 1), entrant.name, f"{standings.elo[i]:.0f}", span,
                      f"{standings.above_next[i]:.0%}" if i < len(games) - 1 else "", f"{games[i]:.0f}",
                      *([f"{scores[i] / games[i]:.0%}", f"{draws[i] / games[i]:.0%}"] if games[i] else []))
    for entrant in standings.not_rated:
        table.add_row("", entrant.name, "–", "not rated yet")
    return table


def cross_table(standings: Standings) -> Table:
    """A table of the row's player's score against the column's, in per cent, and the number of games."""
    n = len(standings.entrants)
    table = Table("", "player", *(str(i + 1) for i in range(n)), box=box.SIMPLE, padding=(0, 0, 0, 1))
    table.columns[1].no_wrap = True
    for column in table.columns[2:]:
        column.justify = "right"
    games, scores = standings.results.games, standings.results.scores
    for i, entrant in enumerate(standings.entrants):
        cells = ["·" if i == j else f"{scores[i, j] / games[i, j]:.0%}"[:-1] + f"\n[dim]{games[i, j]:.0f}[/dim]"
                 if games[i, j] else "" for j in range(n)]
        table.add_row(str(i + 1), entrant.name, *cells)
    return table
