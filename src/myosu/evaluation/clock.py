"""Time control: the clocks of a game, and the cost of a simulation."""

from __future__ import annotations

import math

#: Seconds of a clock that are never used, as a margin for the latency of messages and processes.
RESERVE_SECONDS = 0.1
#: A move may use this fraction of the remaining time divided by the remaining moves.
CAUTION = 0.7


class Clocks:
    """The clocks of two seats under GTP's time settings: main time, then Canadian byo-yomi (moves per period)."""

    def __init__(self, main: float = 0.0, period: float = 1.0, stones: int = 0) -> None:
        """main, period: seconds. stones: moves per period. A period without stones means no limit. All zeros also mean
        no limit, because controllers without a clock send them."""
        self._main, self._period, self._stones = main, period, stones
        self.restart()

    def restart(self) -> None:
        self._left = [self._main] * 2
        self._stones_left = [0] * 2  # 0: in main time

    @property
    def limited(self) -> bool:
        return self._stones > 0 or (self._main > 0 and self._period <= 0)

    def set_left(self, seat: int, seconds: float, stones: int) -> None:
        """Set the time left to what the controller reports, for ``stones`` moves; 0 stones: main time."""
        self._left[seat], self._stones_left[seat] = seconds, stones

    def spend(self, seat: int, seconds: float) -> None:
        """Subtract a move's ``seconds``. When the main time is used up, periods begin."""
        self._left[seat] -= seconds
        if not self.limited:
            return
        if self._stones_left[seat] > 0:
            self._stones_left[seat] -= 1
            if self._stones_left[seat] == 0:
                self._begin_period(seat)
        elif self._left[seat] <= 0 and self._stones > 0:
            self._begin_period(seat)

    def budget(self, seat: int, moves: int) -> float:
        """Seconds for the next move if the seat has at most ``moves`` moves left to make; infinite without a limit."""
        if not self.limited:
            return math.inf
        if self._stones_left[seat] == 0 and self._left[seat] <= 0 and self._stones > 0:
            self._begin_period(seat)
        stones = self._stones_left[seat]
        return CAUTION * max(0.0, self._left[seat] - RESERVE_SECONDS) / max(1, min(stones, moves) if stones else moves)

    def _begin_period(self, seat: int) -> None:
        self._left[seat], self._stones_left[seat] = self._period, self._stones


class Pace:
    """Estimates the cost of a simulation on this machine as the greatest cost in the last ``moves`` moves."""

    def __init__(self, moves: int = 5) -> None:
        self._moves = moves
        self._costs: list[float] = []

    def observe(self, simulations: int, seconds: float) -> None:
        self._costs = [*self._costs[1 - self._moves:], seconds / simulations]

    def simulations(self, budget: float, wanted: int) -> int:
        """The number of simulations that fit into ``budget`` seconds, at most ``wanted``; 0 if not even one fits."""
        cost = max(self._costs, default=0.0)
        return wanted if budget >= wanted * cost else int(budget / cost)
