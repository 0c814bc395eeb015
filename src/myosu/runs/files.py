"""Atomic writes, locks, and cleaning up after killed processes."""

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
    """Flush a file's contents, or a folder's entries, to the disk, so that they survive a power failure."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_json(path: Path, value: Any, durable: bool = True) -> None:
    """Replace ``path`` atomically: a reader sees either the old or the new file. durable: even after a power failure,
    which takes a few milliseconds."""
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
    """Lock ``folder`` until this process ends or closes the returned descriptor. Raises UserError if another process
    holds the lock. used: completes the message "is being ... by"."""
    with writing_to(folder):
        descriptor = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise UserError(f"{folder} is being {used} by another process.") from None
    return descriptor


def hold_own_folder(folder: Path, file: str, used: str, refusal: str) -> int:
    """``hold_folder`` of a folder that contains ``file``, or of a new one, which is created.

    Raises UserError with the text ``refusal``, and leaves the folder as it is, if it contains anything else instead.
    """
    with writing_to(folder):
        folder.mkdir(parents=True, exist_ok=True)
        others = {path.name for path in folder.iterdir()} - {".lock", f".{file}.part"}
    if others and file not in others:
        raise UserError(refusal)
    return hold_folder(folder, used)


@contextmanager
def writing_to(path: Path) -> Iterator[None]:
    """Context in which ``path`` is written. Turns an OSError into a UserError."""
    try:
        yield
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error.strerror or error}. Choose a folder where you may write, "
                        "or free some space there.") from error


#: Age in seconds at which a partly written file counts as abandoned, where no lock shows it.
ABANDONED = 60.0


def clear_parts(folder: Path, pattern: str, age: float = 0.0) -> None:
    """Remove partly written files and folders that killed processes left in ``folder``: those whose names match
    ``pattern`` and that were last changed at least ``age`` seconds ago."""
    for part in folder.glob(pattern):
        with suppress(FileNotFoundError):  # another process removed it
            if time.time() - part.stat().st_mtime >= age:
                remove(part)


def remove(path: Path) -> None:
    """Remove a file, or a folder with its contents, if it exists."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
