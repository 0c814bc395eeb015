"""How long a player may think: the clocks of a game, and what its thinking costs."""

from __future__ import annotations

import math

#: Of a clock so much is never planned with: messages travel, processes are held up.
RESERVE_SECONDS = 0.1
#: A move may take so much of what its share of the time would allow.
CAUTION = 0.7


class Clocks:
    """The clocks of two seats as GTP sets them: some main time, then periods in which so many moves must be made."""

    def __init__(self, main: float = 0.0, period: float = 1.0, stones: int = 0) -> None:
        """Seconds. A period without stones means that there is no limit, and so does no time at all: a controller
        without a clock may say so by noughts, and nobody could play by one that is over before the game begins."""
        self._main, self._period, self._stones = main, period, stones
        self.restart()

    def restart(self) -> None:
        self._left = [self._main] * 2
        self._stones_left = [0] * 2  # 0: in main time

    @property
    def limited(self) -> bool:
        return self._stones > 0 or (self._main > 0 and self._period <= 0)

    def set_left(self, seat: int, seconds: float, stones: int) -> None:
        """What the controller says is left; ``stones`` moves are to be made in it, 0: it is main time."""
        self._left[seat], self._stones_left[seat] = seconds, stones

    def spend(self, seat: int, seconds: float) -> None:
        """A move took ``seconds``. Whoever has used up his main time goes on in periods."""
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
        """Seconds for the next of at most ``moves`` moves that the seat still has to make; infinite without a limit."""
        if not self.limited:
            return math.inf
        if self._stones_left[seat] == 0 and self._left[seat] <= 0 and self._stones > 0:
            self._begin_period(seat)
        stones = self._stones_left[seat]
        return CAUTION * max(0.0, self._left[seat] - RESERVE_SECONDS) / max(1, min(stones, moves) if stones else moves)

    def _begin_period(self, seat: int) -> None:
        self._left[seat], self._stones_left[seat] = self._period, self._stones


class Pace:
    """What a simulation costs on this machine now: the slowest of the last few moves tells."""

    def __init__(self, moves: int = 5) -> None:
        self._moves = moves
        self._costs: list[float] = []

    def observe(self, simulations: int, seconds: float) -> None:
        self._costs = [*self._costs[1 - self._moves:], seconds / simulations]

    def simulations(self, budget: float, wanted: int) -> int:
        """As many as fit into ``budget`` seconds, at most ``wanted``; 0 where there is no time for one."""
        cost = max(self._costs, default=0.0)
        return wanted if budget >= wanted * cost else int(budget / cost)
