"""Decides whether code that a run's folder, a game's record or a league names may run.

Code runs only if the user named it in this command, named it in an earlier command and it has not changed since, or
agreed to it (``--trust``, ``trust=True``).

A *source* is the absolute path of a ``.py`` file, the name of a module, ``gtp:COMMAND``, or ``godot:PATH`` or
``unity:PATH`` for a game in an engine. Code of Myosu, Gymnasium or PettingZoo, or behind an entry point of an installed
package, is not a source: by installing it, the user agreed to it.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Iterable, Mapping
from contextlib import suppress
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Any

from myosu.errors import UserError

EVERYTHING = "*"
#: Prefix of the names of objects that were passed from Python (``envs.python_objects``). Such names never load code.
OBJECT = "python:"
#: Prefixes of the names of games in engines, as in "godot:PROJECT": the engine runs the code of the project or build.
ENGINES = ("godot", "unity")
_WITH = " with arguments "
_agreed: set[str] = set()


def source_of(name: str, kwargs: Mapping[str, Any] | None = None) -> str | None:
    """The source of the code behind the name of a game, an algorithm, an environment (with its ``kwargs``) or an
    opponent; None if it has none."""
    if name.startswith(OBJECT):
        return None
    if name.startswith("gtp:"):
        return name
    if (engine := _engine_path(name)) is not None:
        given = (kwargs or {}).get("arguments")  # arguments can make an engine run scripts from outside its project
        source = f"{name.partition(':')[0]}:{engine.resolve()}"
        return source + (f"{_WITH}{json.dumps(given)}" if given else "")
    if name.endswith(".py"):
        return str(Path(name).resolve())
    if name in (f"{kind}:" for kind in ENGINES):  # the user starts the game by hand
        return None
    module, colon, _ = name.rpartition(":")
    if name.startswith("GymV"):  # Gymnasium's compatibility environments import the module that an argument names
        module, colon, _ = str((kwargs or {}).get("env_id", "gym")).rpartition(":")
        return module if colon else "gym"
    if module.endswith(".py"):
        return str(Path(module).resolve())
    return module if colon and module.partition(".")[0] not in ("myosu", "gymnasium", "pettingzoo") else None


def agree(*sources: str | None) -> None:
    """Allow these sources in this process and its children, because the user named or agreed to them. None is
    ignored."""
    _agreed.update(source for source in sources if source is not None)


def agreed() -> frozenset[str]:
    return frozenset(_agreed)


def remember(*sources: str | None) -> None:
    """Allow these sources here (``agree``) and in later commands, as long as their code does not change. If this cannot
    be saved, later commands will ask again."""
    agree(*sources)
    new = {source: digest(source) for source in sources if source is not None}
    known = _remembered()
    if all(known.get(source) == value for source, value in new.items()):
        return
    file = _memory()
    part = file.with_name(f".{file.name}.{os.getpid()}.part")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        part.write_text(json.dumps(known | new, indent=1) + "\n")
        os.replace(part, file)
    except OSError:
        with suppress(OSError):
            part.unlink()


def require(sources: Iterable[str | None], named_by: object, recorded: Mapping[str, str] | None = None) -> None:
    """Raises UserError unless all ``sources`` may run.

    named_by: the file that names them. recorded: SHA-256 of each source when that file was written.
    """
    for source in sources:
        if source is None or not _agreed.isdisjoint({source, EVERYTHING}) or not exists(source):
            continue
        now = digest(source)
        if now and _remembered().get(source) == now:
            continue
        before = (recorded or {}).get(source)
        changed = "" if before is None else (
            f", as it was then (SHA-256 {now[:12]}…)" if before == now else
            f", which has changed since (SHA-256 {now[:12]}…, then {before[:12]}…)")
        raise UserError(f"{named_by} names code that would run now, and that you have neither named nor agreed to: "
                        f"{source}{changed}. If you trust it, add --trust (in Python: trust=True).")


def exists(source: str) -> bool:
    """Whether the file, module or project of the source exists; always true for a command."""
    if source.startswith("gtp:"):
        return True
    if (engine := _engine_path(source)) is not None:
        return engine.exists()
    return Path(source).is_file() if source.endswith(".py") else _find(source) is not None


def digest(source: str) -> str:
    """SHA-256 of the file behind ``source``, of a command's text, or of the files of a game in an engine; "" if there
    is no such file."""
    if source.startswith("gtp:"):
        return hashlib.sha256(source.encode()).hexdigest()
    if (engine := _engine_path(source)) is not None:
        found = _digest_of_engine(engine)
        return found and hashlib.sha256(f"{found} {source.partition(_WITH)[2]}".encode()).hexdigest()
    file = source if source.endswith(".py") else getattr(_find(source), "origin", None)
    try:
        return hashlib.sha256(Path(file or "").read_bytes()).hexdigest()
    except OSError:
        return ""


def _engine_path(name: str) -> Path | None:
    """The path of the project or build of a game in an engine; None for other names and for games in an editor."""
    kind, colon, path = name.partition(_WITH)[0].partition(":")
    return Path(path) if colon and kind in ENGINES and path else None


def _digest_of_engine(path: Path) -> str:
    """SHA-256 of the files in a project's folder (without hidden ones, which are the editor's own), or of a build and
    the code beside it, such as in the folder ``NAME_Data``."""
    if path.is_dir():
        root = path
        files = [file for file in path.rglob("*") if not str(file.relative_to(path)).startswith(".")]
    else:
        data = path.with_name(f"{path.stem}_Data")
        root = path.parent
        files = [path, *data.rglob("*.dll"), *path.parent.glob("*.so"), *path.parent.glob("*.pck")]
    total = hashlib.sha256()
    try:
        for file in sorted(file for file in files if file.is_file()):
            with file.open("rb") as stream:
                total.update(f"{file.relative_to(root)} {hashlib.file_digest(stream, 'sha256').hexdigest()}\n".encode())
    except OSError:
        return ""
    return total.hexdigest() if path.exists() else ""


def _find(module: str) -> Any:
    """The spec of a module, found without importing its parent packages, because that would run them."""
    places, spec, name = None, None, ""
    for part in module.split("."):
        name = f"{name}.{part}" if name else part
        try:
            spec = next((found for finder in sys.meta_path
                         if (found := finder.find_spec(name, places)) is not None), None)
            if spec is None and places is None:  # modules in the current folder can be imported too
                spec = PathFinder.find_spec(name, [os.getcwd()])
        except (ImportError, ValueError, TypeError, AttributeError):
            return None
        if spec is None:
            return None
        places = spec.submodule_search_locations or []
    return spec


def _memory() -> Path:
    state = os.environ.get("XDG_STATE_HOME") or "~/.local/state"
    return Path(os.path.expanduser(state)) / "myosu" / "trusted.json"


def _remembered() -> dict[str, str]:
    try:
        known = json.loads(_memory().read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return known if isinstance(known, dict) else {}
