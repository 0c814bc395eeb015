"""ML-Agents' side channels: settings and parameters for the game, and statistics from it.

Messages are concatenated: 16 bytes of the channel's id (in .NET's Guid format), the length of the body as int32, and
the body. Numbers are little-endian; strings are preceded by their length in bytes as int32.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from uuid import UUID

from myosu.envs.engines.process import EngineLost

SETTINGS = UUID("e951342c-4f7e-11ea-b238-784f4387d1f7")
PARAMETERS = UUID("534c891e-810f-11ea-a9d0-822485860400")
STATISTICS = UUID("a1d8f7b7-cec8-50f9-b78b-d3e165a78520")

#: Type codes of settings, and of float parameters.
_TIME_SCALE, _TARGET_FRAME_RATE, _CAPTURE_FRAME_RATE = 2, 3, 4
_FLOAT = 0


def settings(time_scale: float) -> bytes:
    """Engine settings: ``time_scale`` times real time, no frame rate limit, 60 frames per second of game time."""
    bodies = (struct.pack("<if", _TIME_SCALE, time_scale), struct.pack("<ii", _TARGET_FRAME_RATE, -1),
              struct.pack("<ii", _CAPTURE_FRAME_RATE, 60))
    return b"".join(_message(SETTINGS, body) for body in bodies)


def parameters(values: Mapping[str, float]) -> bytes:
    return b"".join(_message(PARAMETERS, _text(name) + struct.pack("<if", _FLOAT, value))
                    for name, value in values.items())


def read_statistics(data: bytes) -> dict[str, float]:
    """The latest value of each statistic. Ignores messages of other channels. Raises EngineLost."""
    found = {}
    try:
        for channel, body in _messages(data):
            if channel == STATISTICS:
                (length,) = struct.unpack_from("<i", body)
                found[body[4:4 + length].decode()], _ = struct.unpack_from("<fi", body, 4 + length)
    except (struct.error, UnicodeDecodeError, ValueError) as error:
        raise EngineLost(f"the game sent side channels that cannot be read ({error})") from error
    return found


def _message(channel: UUID, body: bytes) -> bytes:
    return channel.bytes_le + struct.pack("<i", len(body)) + body


def _messages(data: bytes) -> Iterator[tuple[UUID, bytes]]:
    place = 0
    while place < len(data):
        channel = UUID(bytes_le=data[place:place + 16])
        (length,) = struct.unpack_from("<i", data, place + 16)
        place += 20 + length
        if length < 0 or place > len(data):
            raise ValueError(f"a message of {length} bytes where only {len(data)} were sent")
        yield channel, data[place - length:place]


def _text(text: str) -> bytes:
    data = text.encode()
    return struct.pack("<i", len(data)) + data
