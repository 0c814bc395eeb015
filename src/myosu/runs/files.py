"""Files that are whole or not there."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
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
    with writing_to(folder):
        descriptor = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise UserError(f"{folder} is being {used} by another process.") from None
    return descriptor


@contextmanager
def writing_to(path: Path) -> Iterator[None]:
    """While something is written at ``path``: UserError where the system does not let us."""
    try:
        yield
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error.strerror or error}. Choose a place where you may write, or "
                        "make room there.") from error


#: Seconds after which a file that is not whole yet belongs to nobody, where no lock says so.
ABANDONED = 60.0


def clear_parts(folder: Path, pattern: str, age: float = 0.0) -> None:
    """Remove what killed processes left half-written in ``folder``: files and folders of such names, last changed more
    than ``age`` seconds ago."""
    for part in folder.glob(pattern):
        with suppress(FileNotFoundError):  # somebody else did it
            if time.time() - part.stat().st_mtime >= age:
                remove(part)


def remove(path: Path) -> None:
    """A file, a folder with all that is in it, or what is not there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
