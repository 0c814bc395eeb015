"""Strict validation of messages from browsers. A message that is not exactly as expected is refused with a reason."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Literal

from starlette.requests import Request

from myosu.errors import UserError

#: Maximum number of bytes per message, of simulations, and maximum temperature.
MAX_BYTES, MAX_SIMULATIONS, MAX_TEMPERATURE = 4096, 1000, 10.0
#: Minimum and maximum seconds between two moves of agents that are watched.
PACE = (0.02, 10.0)

#: Fields of each type of message on a WebSocket.
FIELDS: dict[str, dict[str, type]] = {
    "play": {"ply": int, "action": int},
    "undo": {"ply": int},
    "look": {"ply": int},
    "analyze": {"ply": int, "checkpoint": str, "simulations": int},
    "pause": {"paused": bool},
    "pace": {"seconds": float},
}


@dataclass(frozen=True)
class Seat:
    """Who plays: a person, the agent of a checkpoint, or nobody if the game is a recorded one."""

    kind: Literal["person", "agent", "recorded"]
    checkpoint: str = ""
    simulations: int = 0
    temperature: float = 0.0

    def to_json(self) -> dict[str, Any]:
        return vars(self) if self.kind == "agent" else {"kind": self.kind}


def parse(text: str | bytes) -> dict[str, Any]:
    """Parse a JSON object of at most ``MAX_BYTES``. Raises UserError."""
    if len(text) > MAX_BYTES:
        raise UserError(f"A message may have at most {MAX_BYTES} bytes; this one has {len(text)}.")
    try:
        data = json.loads(text)
    except (ValueError, RecursionError):
        raise UserError("This message is not JSON.") from None
    if not isinstance(data, dict):
        raise UserError("A message must be a JSON object.")
    return data


class TooLong(UserError):
    """The request is longer than allowed."""


async def read_order(request: Request) -> dict[str, Any]:
    """The JSON object in the body of a request. Raises UserError."""
    if request.headers.get("content-type", "").partition(";")[0] != "application/json":
        raise UserError("A request must have content-type: application/json.")
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > MAX_BYTES:
            raise TooLong(f"A request may have at most {MAX_BYTES} bytes.")
    return parse(body)


def parse_message(text: str) -> dict[str, Any]:
    """Parse a message to a game, which must have exactly the fields of its type. Raises UserError."""
    data = parse(text)
    kind = data.pop("type", None)
    if not isinstance(kind, str) or kind not in FIELDS:
        raise UserError(f"There is no message type {_short(kind)}. Types: {', '.join(FIELDS)}.")
    check_fields(data, FIELDS[kind], f"A message of the type {kind!r}")
    return {"type": kind, **data}


def check_fields(data: dict[str, Any], fields: dict[str, type], what: str) -> None:
    """Raise UserError unless ``data`` has exactly these fields, of these types. An integer is accepted as a float."""
    if set(data) != set(fields):
        raise UserError(f"{what} has the fields {', '.join(fields) or 'none'}, not {_short(sorted(data))}.")
    for name, kind in fields.items():
        fits = type(data[name]) is kind or (kind is float and type(data[name]) is int)
        # NaN and infinity fail the later checks of ranges.
        if not fits or (kind is int and not -2**53 < data[name] < 2**53):
            raise UserError(f"{what}: {name} cannot be {_short(data[name])}.")


def parse_seats(data: Any, count: int, checkpoints: list[str], searches: bool) -> list[Seat]:
    """The seats of a game for ``count`` players. Raises UserError. searches: whether the agent uses simulations."""
    if not isinstance(data, list) or len(data) != count:
        raise UserError(f"seats must be a list of {count}.")
    return [_parse_seat(seat, checkpoints, searches) for seat in data]


def _parse_seat(data: Any, checkpoints: list[str], searches: bool) -> Seat:
    if data == {"kind": "person"}:
        return Seat("person")
    if not isinstance(data, dict) or data.get("kind") != "agent":
        raise UserError('A seat is {"kind": "person"}, or {"kind": "agent"} with a checkpoint, simulations and a '
                        "temperature.")
    check_fields(data, {"kind": str, "checkpoint": str, "simulations": int, "temperature": float}, "An agent's seat")
    check_strength(data["checkpoint"], data["simulations"], checkpoints, searches)
    if not 0 <= data["temperature"] <= MAX_TEMPERATURE:
        raise UserError(f"temperature = {data['temperature']}: it must be from 0 to {MAX_TEMPERATURE:g}.")
    return Seat("agent", data["checkpoint"], data["simulations"], float(data["temperature"]))


def check_strength(checkpoint: str, simulations: int, checkpoints: list[str], searches: bool) -> None:
    if checkpoint not in checkpoints:
        raise UserError(f"There is no checkpoint {_short(checkpoint)} in this run.")
    if not searches and simulations != 0:
        raise UserError("This agent does not search: simulations must be 0.")
    if searches and not 1 <= simulations <= MAX_SIMULATIONS:
        raise UserError(f"simulations = {simulations}: it must be from 1 to {MAX_SIMULATIONS}.")


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
