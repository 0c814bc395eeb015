"""The server's routes for the runs that are watched."""

from __future__ import annotations

import asyncio
import re

from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from myosu.errors import UserError
from myosu.web.messages import check_fields, read_order
from myosu.web.watching import Gallery, Watched, parse_shown


async def _watched(request: Request) -> Response:
    gallery = _gallery(request)
    return JSONResponse({"runs": [{"name": run.name, "settings": run.settings()} for run in gallery.runs],
                         "others": await asyncio.to_thread(gallery.others),
                         "play": request.app.state.room is not None})


async def _watch_more(request: Request) -> Response:
    order = await read_order(request)
    check_fields(order, {"add": str}, "A request")
    gallery = _gallery(request)
    return JSONResponse({"number": gallery.add(order["add"])}, 201)


async def _csv(request: Request) -> Response:
    gallery = _gallery(request)
    names, runs = request.query_params.getlist("name"), request.query_params.get("runs", "").split(",")
    if not names or not all(run.isdecimal() and run.isascii() and len(run) < 5 for run in runs):
        raise UserError("name must be a curve's name, and runs a list of run numbers such as 0,2.")
    text = await asyncio.to_thread(gallery.csv, names, [int(run) for run in runs])
    return PlainTextResponse(text, media_type="text/csv", headers={
        "content-disposition": f'attachment; filename="{re.sub("[^A-Za-z0-9_-]+", "-", names[0])}.csv"'})


async def _curves(request: Request) -> Response:
    asked = request.query_params
    shown = parse_shown(asked.get("x", "minutes"), asked.get("from", "0"), asked.get("to", "inf"),
                        asked.get("smoothing", "0"))
    tag, data = await asyncio.to_thread(_watched_run(request).look, shown)
    if request.headers.get("if-none-match") == tag:
        return Response(status_code=304, headers={"etag": tag})
    return JSONResponse(data, headers={"etag": tag})


async def _watched_games(request: Request) -> Response:
    return JSONResponse(await asyncio.to_thread(_watched_run(request).games))


async def _watched_game(request: Request) -> Response:
    start = request.query_params.get("from", "0")
    if not (start.isdecimal() and start.isascii() and len(start) < 10):
        raise UserError("from must be a number.")
    return JSONResponse(await asyncio.to_thread(_watched_run(request).positions, request.path_params["episode"],
                                                int(start)))


def _watched_run(request: Request) -> Watched:
    return _gallery(request).run(request.path_params["run"])


def _gallery(request: Request) -> Gallery:
    gallery: Gallery = request.app.state.gallery
    return gallery


WATCH_ROUTES = [
    Route("/api/watch", _watched), Route("/api/watch", _watch_more, methods=["POST"]),
    Route("/api/watch/curve.csv", _csv), Route("/api/watch/{run:int}", _curves),
    Route("/api/watch/{run:int}/games", _watched_games),
    Route("/api/watch/{run:int}/games/{episode:int}", _watched_game),
]
