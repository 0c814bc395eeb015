"""Writes the folder of a page, which any static file host can serve."""

from __future__ import annotations

import gzip
import hashlib
import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from myosu.errors import UserError
from myosu.players.agent import load_agent
from myosu.publish import description
from myosu.publish.compiler import compile_for_page
from myosu.publish.network import pack
from myosu.web.room import Room

OURS = Path(__file__).with_name("static")
WEB = Path(__file__).parent.parent / "web" / "static"
#: Files of the web application that the page uses.
TAKEN = ("style.css", "icon.svg", "js/*.js", "js/boards/*.js")
LEFT_OUT = ("js/watch*.js", "js/link.js", "js/chart.js", "js/get.js", "js/picture.js", "js/screen.js")

#: Size of a page, gzipped, up to which weights have their full precision; the service worker comes on top of it.
MOST_BYTES = 998_000

POLICY = ("default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; style-src 'self'; img-src 'self' data:; "
          "connect-src 'self'; worker-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'none'")


@dataclass(frozen=True)
class Published:
    """A published page. bytes: total size of all files, gzipped as a server would send them."""

    folder: Path
    game: str
    bytes: int


def publish(run: Path, folder: Path) -> Published:
    """Publish the agent of ``run`` (see ``find_checkpoint``) as a page in ``folder``, replacing an earlier page. If it
    raises UserError, ``folder`` is unchanged."""
    if folder.exists() and not (folder / "agent.wasm").is_file() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"{folder} exists already and holds something other than a published page: choose another "
                        "folder.")
    agent, environment, config = load_agent(run)
    game = environment.rules
    described, weights = description.of_agent(agent, game)
    module_code, module = compile_for_page(config.game, config.rewards)
    room = Room(run)
    about = {**room.describe(), "checkpoints": [room.default], "best": None, "rewards": config.rewards}
    room.close()
    files = {
        "agent.wasm": module_code,
        "agent.json": _json({"run": about, "module": module, "rules": description.of_rules(game), "agent": described}),
        "app.webmanifest": _json({"name": game.name, "start_url": "./", "display": "standalone",
                                  "icons": [{"src": "icon.svg", "sizes": "any", "type": "image/svg+xml"}]}),
        **{name: path.read_bytes() for name, path in _static()},
        "js/link.js": (OURS / "page" / "link.js").read_bytes(),
        "index.html": _index(game.name).encode(),
    }
    files["weights.bin"] = pack(weights, MOST_BYTES - _gzipped(files))
    version = hashlib.sha256(b"".join(name.encode() + files[name] for name in sorted(files))).hexdigest()[:16]
    worker = (OURS / "page" / "sw.js").read_text()
    worker = _replaced(worker, "{{version}}", version)
    files["sw.js"] = _replaced(worker, "{{files}}", json.dumps(["./", *sorted(set(files) - {"index.html"})])).encode()
    _write(files, folder)
    return Published(folder, game.name, _gzipped(files))


def _gzipped(files: dict[str, bytes]) -> int:
    """Total size of the files as a server sends them."""
    return sum(len(gzip.compress(content)) for content in files.values())


def _static() -> Iterator[tuple[str, Path]]:
    for pattern in TAKEN:
        for path in WEB.glob(pattern):
            name = path.relative_to(WEB)
            if not any(name.match(left_out) for left_out in LEFT_OUT):
                yield name.as_posix(), path
    for path in (OURS / "engine").glob("*.js"):
        yield f"engine/{path.name}", path


def _index(game: str) -> str:
    """The page of the web application with relative addresses, and without the features that need a server."""
    page = (WEB / "index.html").read_text()
    page = _replaced(page, '="/static/', '="')
    page = _replaced(page, 'class="brand" href="/"', 'class="brand" href="./"')
    page = _replaced(page, '    <a class="button" id="watch" href="/watch">Watch</a>\n', "")
    return _replaced(page, '<meta name="color-scheme"',
                     f'<meta http-equiv="content-security-policy" content="{POLICY}">\n'
                     f'<meta name="description" content="Play {game} against an agent that learnt it by itself.">\n'
                     '<link rel="manifest" href="app.webmanifest">\n<meta name="color-scheme"')


def _replaced(text: str, old: str, new: str) -> str:
    if old not in text:
        raise AssertionError(f"the page that is published has no {old!r} any more")
    return text.replace(old, new)


def _json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":"), allow_nan=False).encode()


def _write(files: dict[str, bytes], folder: Path) -> None:
    """Write the files to a temporary folder, then rename it to ``folder``."""
    temporary = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        for name, content in files.items():
            path = temporary / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        shutil.rmtree(folder, ignore_errors=True)
        temporary.rename(folder)
    except OSError as error:
        raise UserError(f"{folder} cannot be written: {error}") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
