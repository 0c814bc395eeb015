"""HTTP and WebSocket: the page, the run, the games. For one person on one machine, yet it trusts nobody.

    GET  /, /game/ID             the page            POST /api/games           a new game: {"id": …}
    GET  /static/…               its files           GET  /api/games/ID.json   a game as docs/play.md says
    GET  /api/run                the run             GET  /api/games/ID.sgf    a game of Othello
    GET  /api/stored             recorded games      WS   /api/games/ID        play and watch it
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import json
import socket
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import uvicorn
import uvicorn.protocols.websockets.websockets_sansio_impl  # so that a missing package is named at once
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocket, WebSocketDisconnect

from myosu.errors import UserError
from myosu.web.messages import MAX_BYTES, check_strength, parse, parse_message
from myosu.web.room import Busy, Missing, Room
from myosu.web.table import Table

STATIC = Path(__file__).with_name("static")
#: Messages a second that one connection may send for long, and at once; refusals after which it is closed.
RATE, BURST, PATIENCE = 40, 80, 40
#: Messages that may wait for a slow reader; connections to one game; connections to the server.
BACKLOG, GUESTS, CONNECTIONS = 200, 16, 600

HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
                               "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "cache-control": "no-cache",
}


def make_app(room: Room, host: str = "127.0.0.1") -> ASGIApp:
    """The server's application. host: what it is bound to, and may be called by."""

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        warming = asyncio.create_task(room.warm_up())
        yield
        warming.cancel()
        room.close()

    app = Starlette(lifespan=lifespan, routes=[
        Route("/", _page), Route("/game/{id}", _page),
        Route("/api/run", _run), Route("/api/stored", _stored), Route("/api/games", _new_game, methods=["POST"]),
        Route("/api/games/{id}.{form}", _export), WebSocketRoute("/api/games/{id}", _sit),
        Mount("/static", StaticFiles(directory=STATIC)),
    ], exception_handlers={UserError: _refuse})
    app.state.room = room
    return Guard(app, host)


def listen(host: str, port: int) -> socket.socket:
    """A socket at ``port``, or where that is taken and 0 was asked for, at any. Raises UserError."""
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family, backlog=1024)
    except (OSError, OverflowError) as error:
        raise UserError(f"--host {host} --port {port}: {error}.") from None


def make_server(app: ASGIApp) -> uvicorn.Server:
    """Its ``run(sockets=[listen(...)])`` serves until somebody presses Ctrl-C."""
    return uvicorn.Server(uvicorn.Config(
        app, log_level="error", access_log=False, lifespan="on", server_header=False, limit_concurrency=CONNECTIONS,
        ws="websockets-sansio", ws_max_size=MAX_BYTES, ws_per_message_deflate=False,
        h11_max_incomplete_event_size=16384, timeout_keep_alive=5, timeout_graceful_shutdown=1))


class Guard:
    """Before everything else: who may ask at all, and how much they may send.

    A page of a stranger may not read or play here: its ``Origin`` is another. Nor may it come by a name of its own that
    it points at this machine: a ``Host`` must be an address, localhost or the name that the server was bound to.
    """

    def __init__(self, app: ASGIApp, host: str) -> None:
        self._app = app
        self._names = {"localhost", host.lower(), socket.gethostname().lower()}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            return await self._app(scope, receive, send)
        problem = self._problem(scope)
        if scope["type"] == "websocket":
            if problem:
                await receive()
                return await send({"type": "websocket.close", "code": 1008, "reason": problem[1]})
            return await self._app(scope, receive, send)

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                known = {name.lower() for name, _ in message["headers"]}
                message["headers"] = [*message["headers"], *((name.encode(), value.encode())
                                      for name, value in HEADERS.items() if name.encode() not in known)]
            await send(message)

        if problem:
            return await JSONResponse({"error": problem[1]}, problem[0])(scope, receive, send_with_headers)
        await self._app(scope, receive, send_with_headers)

    def _problem(self, scope: Scope) -> tuple[int, str] | None:
        headers = dict(scope["headers"])  # of a repeated header the last one
        host = headers.get(b"host", b"").decode("latin-1").lower()
        if not self._known(host):
            return 421, "This server is not known by that name."
        origin = headers.get(b"origin")
        if origin is not None and origin.decode("latin-1").lower() not in (f"http://{host}", f"https://{host}"):
            return 403, "Pages of other origins may not speak with this server."
        if len(scope["path"]) > 200:
            return 414, "That address is too long."
        return None

    def _known(self, host: str) -> bool:
        try:
            name = urlsplit(f"//{host}").hostname or ""
        except ValueError:
            return False
        with contextlib.suppress(ValueError):
            return bool(ipaddress.ip_address(name))
        return name in self._names


async def _page(request: Request) -> Response:
    return FileResponse(STATIC / "index.html")


async def _run(request: Request) -> Response:
    return JSONResponse(_room(request).describe())


async def _stored(request: Request) -> Response:
    return JSONResponse(await _room(request).stored())


async def _new_game(request: Request) -> Response:
    if request.headers.get("content-type", "").partition(";")[0] != "application/json":
        raise UserError("A new game is ordered with content-type: application/json.")
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > MAX_BYTES:
            return JSONResponse({"error": f"An order may have {MAX_BYTES} bytes."}, 413)
    table = await _room(request).open(parse(body))
    return JSONResponse({"id": table.id}, 201)


async def _export(request: Request) -> Response:
    room, form = _room(request), request.path_params["form"]
    table = room.table(request.path_params["id"])
    disposition = {"content-disposition": f'attachment; filename="{room.game.name}-{table.id}.{form}"'}
    if form == "json":
        return JSONResponse(room.demonstration(table).to_json(), headers=disposition)
    return PlainTextResponse(room.export(table, form), headers=disposition, media_type="application/x-othello-sgf")


async def _refuse(request: Request, error: Exception) -> Response:
    status = 404 if isinstance(error, Missing) else 503 if isinstance(error, Busy) else 400
    return JSONResponse({"error": str(error)}, status)


def _room(connection: Request | WebSocket) -> Room:
    return connection.app.state.room


async def _sit(websocket: WebSocket) -> None:
    """One connection to one game, until either side has had enough."""
    await websocket.accept()
    room = _room(websocket)
    try:
        table = room.table(websocket.path_params["id"])
        if len(table.guests) >= GUESTS:
            raise Busy(f"{GUESTS} look at this game already.")
    except UserError as error:
        await websocket.send_json({"type": "error", "message": str(error)})
        return await websocket.close(4404, str(error)[:120])
    visitor = Visitor(websocket, room, table)
    table.enter(visitor)
    try:
        await visitor.listen()
    finally:
        visitor.close()


class Visitor:
    """A connected browser. What it is told waits in a queue of its own, so that a slow reader delays nobody."""

    def __init__(self, websocket: WebSocket, room: Room, table: Table) -> None:
        self._websocket, self._room, self._table = websocket, room, table
        self._outgoing: asyncio.Queue[dict[str, Any]] = asyncio.Queue(BACKLOG)
        self._writer = asyncio.create_task(self._write())
        self._thinking: asyncio.Task[None] | None = None
        self._allowance, self._seen, self._refused = float(BURST), time.monotonic(), 0

    def send(self, message: dict[str, Any]) -> None:
        try:
            self._outgoing.put_nowait(message)
        except asyncio.QueueFull:
            self._writer.cancel()
            self._table.leave(self)

    async def listen(self) -> None:
        while True:
            message = await self._websocket.receive()
            if message["type"] == "websocket.disconnect" or self._writer.done():
                return
            try:
                self._spend()
                text = message.get("text")
                if text is None:
                    raise UserError("Messages are text, not bytes.")
                self._do(parse_message(text))
            except UserError as error:
                self._refused += 1
                self.send({"type": "error", "message": str(error)})
                if self._refused >= PATIENCE:
                    await asyncio.sleep(0)  # what was said goes out first
                    return await self._websocket.close(1008, "Too many messages that could not be accepted.")
            else:
                self._refused = 0

    def close(self) -> None:
        self._table.leave(self)
        self._writer.cancel()
        if self._thinking is not None:
            self._thinking.cancel()

    def _do(self, message: dict[str, Any]) -> None:
        table = self._table
        match message["type"]:
            case "play":
                table.play(message["ply"], message["action"])
            case "undo":
                table.undo(message["ply"])
            case "look":
                self.send(table.look(message["ply"]))
            case "think":
                self._think(message["ply"], message["checkpoint"], message["simulations"])
            case "pause":
                table.set_pause(message["paused"])
            case "pace":
                table.set_pace(message["seconds"])

    def _think(self, ply: int, checkpoint: str, simulations: int) -> None:
        check_strength(checkpoint, simulations, self._room.checkpoints, self._room.searches)
        if self._thinking is not None and not self._thinking.done():
            raise UserError("The agent still thinks about your last question.")

        async def think() -> None:
            try:
                self.send(await self._table.think(ply, checkpoint, simulations))
            except Exception as error:
                self.send({"type": "error", "message": str(error)})

        self._thinking = asyncio.create_task(think())

    def _spend(self) -> None:
        now = time.monotonic()
        self._allowance = min(BURST, self._allowance + (now - self._seen) * RATE)
        self._seen = now
        if self._allowance < 1:
            raise UserError(f"Too many messages: {RATE} a second at most.")
        self._allowance -= 1

    async def _write(self) -> None:
        with contextlib.suppress(WebSocketDisconnect, RuntimeError):
            while True:
                await self._websocket.send_text(json.dumps(await self._outgoing.get(), separators=(",", ":")))
