"""Files that are whole or not there."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from myosu.errors import UserError


def sync(path: Path) -> None:
    """Make a file's contents, or a folder's entries, survive a loss of power."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_json(path: Path, value: Any, durable: bool = True) -> None:
    """Replace ``path`` at once: a reader sees the old file or the new one. durable: also after a loss of power, which
    takes milliseconds to make sure."""
    temporary = path.with_name(f".{path.name}.part")
    try:
        temporary.write_text(json.dumps(value, indent=1) + "\n")
        if durable:
            sync(temporary)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    if durable:
        sync(path.parent)


def hold_folder(folder: Path, used: str) -> int:
    """Hold ``folder`` until this process ends or closes the descriptor. Raises UserError where another process holds
    it: it "is being ``used`` by" that one."""
    descriptor = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise UserError(f"{folder} is being {used} by another process.") from None
    return descriptor


def sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_lines(file: Path, last: int | None = None) -> Iterator[dict[str, Any]]:
    """The whole lines of a file of JSON lines, or the ``last`` so many of them; none where there is no file."""
    if not file.exists():
        return
    with open(file, encoding="utf-8") as lines:
        whole = (line for line in lines if line.endswith("\n"))
        try:
            yield from map(json.loads, whole if last is None else deque(whole, last))
        except ValueError as error:
            raise UserError(f"{file} is damaged, for a line of it is no JSON: {error}.") from error


def truncate_lines(path: Path, keep: Any) -> None:
    """Drop the lines of a file of JSON lines for which ``keep(record)`` is false, and a last line cut short."""
    if not path.exists():
        return
    temporary = path.with_name(f".{path.name}.part")
    with open(path, encoding="utf-8") as old, open(temporary, "w", encoding="utf-8") as new:
        for line in old:
            if line.endswith("\n") and keep(json.loads(line)):
                new.write(line)
    os.replace(temporary, path)
