"""HTTP and WebSocket server of the pages, the runs and the games.

It serves one person on one machine, but it does not trust its clients.

    GET  /, /game/ID             the page to play    POST /api/games           a new game: {"id": …}
    GET  /static/…               its files           GET  /api/games/ID.json   a game as docs/play.md says
    GET  /api/run                the run             GET  /api/games/ID.sgf    a game of Othello
    GET  /api/stored             recorded games      WS   /api/games/ID        play and watch it

    GET  /                       or the page of a Gymnasium environment
    WS   /api/screen             play and watch one

    GET  /watch                  the page to watch   GET  /api/watch/N/games       recorded games of run N
    GET  /api/watch              the runs            GET  /api/watch/N/games/E     positions of one, ?from=PLY on
    POST /api/watch              one more: {"add": NAME}
    GET  /api/watch/curve.csv    ?name=CURVE&name=…&runs=0,2
    GET  /api/watch/N            curves, ?x=AXIS&from=…&to=…&smoothing=SHARE
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import json
import socket
import time
import webbrowser
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocket, WebSocketDisconnect

from myosu.errors import UserError
from myosu.web.connections import HttpConnection, SocketConnection  # a missing websockets package shows here
from myosu.web.messages import MAX_BYTES, TooLong, check_strength, parse_message, read_order
from myosu.web.recordings import Missing
from myosu.web.room import Busy, Room
from myosu.web.screen import SESSIONS, Screen, Show
from myosu.web.table import Table
from myosu.web.watch_routes import WATCH_ROUTES
from myosu.web.watching import Gallery

STATIC = Path(__file__).with_name("static")
#: Rate limit of a connection: messages per second, size of a burst; number of refused messages before it is closed.
RATE, BURST, PATIENCE = 40, 80, 40
#: Limits: queued messages for a slow reader, connections per game, connections to the server.
BACKLOG, GUESTS, CONNECTIONS = 200, 16, 600

HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
                               "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "cache-control": "no-cache",
}


def make_app(room: Room | Screen | None, gallery: Gallery, host: str = "127.0.0.1", warm: bool = True) -> ASGIApp:
    """The server's application.

    room: the games, or a Gymnasium environment; None if there is nothing to play. gallery: the runs to watch. host: the
    name that the server is bound to, which requests may use. warm: load and compile before the first game.
    """

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        if isinstance(room, Room) and warm:
            room.warm_up()
        yield
        if room:
            room.close()

    app = Starlette(lifespan=lifespan, routes=[
        Route("/", _page), Route("/game/{id}", _page),
        Route("/api/run", _run), Route("/api/stored", _stored), Route("/api/games", _new_game, methods=["POST"]),
        Route("/api/games/{id}.{form}", _export), WebSocketRoute("/api/games/{id}", _sit),
        WebSocketRoute("/api/screen", _show),
        Route("/watch", _watch_page), *WATCH_ROUTES,
        Mount("/static", StaticFiles(directory=STATIC)),
    ], exception_handlers={UserError: _refuse})
    app.state.room, app.state.gallery = room, gallery
    return Guard(app, host)


def listen(host: str, port: int, usual: int = 0) -> socket.socket:
    """A socket listening at ``port``. Raises UserError.

    If ``port`` is 0, it listens at the ``usual`` port, or at any free one if that is taken.
    """
    if not 0 <= port <= 65535:
        raise UserError(f"--port {port}: it must be from 0 to 65535.")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    if port == 0 and usual:
        with contextlib.suppress(OSError):
            return socket.create_server((host, usual), family=family, backlog=1024)
    try:
        return socket.create_server((host, port), family=family, backlog=1024)
    except OSError as error:
        raise UserError(f"--host {host} --port {port}: {error}.") from None


def make_server(app: ASGIApp) -> uvicorn.Server:
    """The server. Its ``run(sockets=[listen(...)])`` serves until Ctrl-C is pressed."""
    return uvicorn.Server(uvicorn.Config(
        app, log_level="error", access_log=False, lifespan="on", server_header=False, limit_concurrency=CONNECTIONS,
        http=HttpConnection, ws=SocketConnection, ws_max_size=MAX_BYTES, ws_per_message_deflate=False,
        h11_max_incomplete_event_size=16384, timeout_keep_alive=5, timeout_graceful_shutdown=1))


def serve(app: ASGIApp, host: str, port: int, words: str, browser: bool, page: str = "", usual: int = 0) -> None:
    """Serve until Ctrl-C is pressed.

    port, usual: as for ``listen``. words: text to print, with {} for the address of ``page``. browser: whether to open
    the page in a browser.
    """
    with listen(host, port, usual) as at:
        name = f"[{host}]" if ":" in host else host
        address = f"http://{name}:{at.getsockname()[1]}/{page}"
        print(f"{words.format(address)}   (Ctrl-C ends it)", flush=True)
        if browser:
            webbrowser.open(address)  # the socket already listens, and the page waits for its answer
        make_server(app).run(sockets=[at])


class Guard:
    """Middleware that limits who may send requests, and how much.

    A page from another site may not read or play here, so its ``Origin`` is refused. Nor may it use a domain of its own
    that points at this machine (DNS rebinding), so the ``Host`` must be an address, localhost or the name that the
    server was bound to.
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
        headers = dict(scope["headers"])  # the last one of a repeated header
        host = headers.get(b"host", b"").decode("latin-1").lower()
        if not self._known(host):
            return 421, "This server does not accept that host name."
        origin = headers.get(b"origin")
        if origin is not None and origin.decode("latin-1").lower() not in (f"http://{host}", f"https://{host}"):
            return 403, "Pages of other origins may not send requests to this server."
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
    if request.app.state.room is None:
        return RedirectResponse("/watch")
    is_screen = isinstance(request.app.state.room, Screen)
    return FileResponse(STATIC / ("screen.html" if is_screen else "index.html"))


async def _run(request: Request) -> Response:
    return JSONResponse(_room(request).describe())


async def _stored(request: Request) -> Response:
    return JSONResponse(await _room(request).stored())


async def _new_game(request: Request) -> Response:
    table = await _room(request).open(await read_order(request))
    return JSONResponse({"id": table.id}, 201)


async def _export(request: Request) -> Response:
    room, form = _room(request), request.path_params["form"]
    table = await room.table(request.path_params["id"])
    disposition = {"content-disposition": f'attachment; filename="{room.game.name}-{table.id}.{form}"'}
    if form == "json":
        return JSONResponse(room.record(table).to_json(), headers=disposition)
    return PlainTextResponse(room.export(table, form), headers=disposition, media_type="application/x-go-sgf")


async def _watch_page(request: Request) -> Response:
    return FileResponse(STATIC / "watch.html")


async def _refuse(request: Request, error: Exception) -> Response:
    statuses = {Missing: 404, Busy: 503, TooLong: 413}
    status = next((status for kind, status in statuses.items() if isinstance(error, kind)), 400)
    return JSONResponse({"error": str(error)}, status)


def _room(connection: Request | WebSocket) -> Room:
    room: Room | Screen | None = connection.app.state.room
    if not isinstance(room, Room):
        raise Missing("Nobody can play here: this server only shows runs, or an environment.")
    return room


async def _sit(websocket: WebSocket) -> None:
    """Serve one connection to one game until either side closes it."""
    await websocket.accept()
    try:
        room = _room(websocket)
        table = await room.table(websocket.path_params["id"])
        if len(table.guests) >= GUESTS:
            raise Busy(f"{GUESTS} viewers are watching this game already.")
    except UserError as error:
        await websocket.send_json({"type": "error", "message": str(error)})
        return await websocket.close(4404, str(error)[:120])
    visitor = Visitor(websocket, room, table)
    table.enter(visitor)
    try:
        await visitor.listen()
    finally:
        visitor.close()


async def _show(websocket: WebSocket) -> None:
    """Serve one page of a Gymnasium environment until it is closed."""
    await websocket.accept()
    screen = websocket.app.state.room
    if not isinstance(screen, Screen) or screen.sessions >= SESSIONS:
        why = f"{SESSIONS} pages are open already." if isinstance(screen, Screen) else "There is no environment here."
        return await websocket.close(4404, why)
    screen.sessions += 1
    try:
        await Show(screen, websocket).run()
    except UserError as error:  # of the environment, which cannot continue
        await websocket.close(4500, str(error)[:120])
    except (WebSocketDisconnect, RuntimeError):
        pass  # the page disconnected during an answer
    finally:
        screen.sessions -= 1


class Visitor:
    """A connected browser. It has its own message queue, so a slow reader does not delay others."""

    def __init__(self, websocket: WebSocket, room: Room, table: Table) -> None:
        self._websocket, self._room, self._table = websocket, room, table
        self._outgoing: asyncio.Queue[dict[str, Any]] = asyncio.Queue(BACKLOG)
        self._writer = asyncio.create_task(self._write())
        self._analysis: asyncio.Task[dict[str, Any]] | None = None
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
                    await asyncio.sleep(0)  # send queued messages first
                    return await self._websocket.close(1008, "Too many invalid messages.")
            else:
                self._refused = 0

    def close(self) -> None:
        self._table.leave(self)
        self._writer.cancel()
        if self._analysis is not None:
            self._analysis.cancel()

    def _do(self, message: dict[str, Any]) -> None:
        table = self._table
        match message["type"]:
            case "play":
                table.play(message["ply"], message["action"])
            case "undo":
                table.undo(message["ply"])
            case "look":
                self.send(table.look(message["ply"]))
            case "analyze":
                self._analyze(message["ply"], message["checkpoint"], message["simulations"])
            case "pause":
                table.set_pause(message["paused"])
            case "pace":
                table.set_pace(message["seconds"])

    def _analyze(self, ply: int, checkpoint: str, simulations: int) -> None:
        check_strength(checkpoint, simulations, self._room.checkpoints, self._room.searches)
        if self._analysis is not None and not self._analysis.done():
            raise UserError("The agent is still thinking about your last question.")
        self._analysis = asyncio.create_task(self._table.analyze(ply, checkpoint, simulations))
        self._analysis.add_done_callback(self._send_analysis)

    def _send_analysis(self, analysis: asyncio.Task[dict[str, Any]]) -> None:
        if not analysis.cancelled():
            error = analysis.exception()
            self.send(analysis.result() if error is None else {"type": "error", "message": str(error)})

    def _spend(self) -> None:
        now = time.monotonic()
        self._allowance = min(BURST, self._allowance + (now - self._seen) * RATE)
        self._seen = now
        if self._allowance < 1:
            raise UserError(f"Too many messages: at most {RATE} a second.")
        self._allowance -= 1

    async def _write(self) -> None:
        with contextlib.suppress(WebSocketDisconnect, RuntimeError):
            while True:
                await self._websocket.send_text(json.dumps(await self._outgoing.get(), separators=(",", ":")))
