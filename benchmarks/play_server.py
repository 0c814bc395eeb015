"""Load test of the web server: start-up and response times, 100 concurrent games, 10,000 invalid messages.

    .venv/bin/python benchmarks/play_server.py RUN [--simulations 64] [--games 100] [--messages 10000]

RUN: a trained agent of a two-player game; the games are recorded in RUN/played, like games of people. The server runs
on one core, the clients on the others. All figures are only reported; the benchmark fails only if a game does.
"""

from __future__ import annotations

import argparse
import asyncio
import collections
import json
import os
import random
import statistics
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import websockets

from myosu.web import server


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run")
    parser.add_argument("--simulations", type=int, default=64)
    parser.add_argument("--games", type=int, default=100)
    parser.add_argument("--messages", type=int, default=10_000)
    options = parser.parse_args()
    size = sum(path.stat().st_size for path in server.STATIC.rglob("*") if path.is_file())
    before = os.times()
    modules = "myosu.web.server, myosu.web.room, myosu.algorithms.muzero"
    subprocess.run([sys.executable, "-c", f"import {modules}"], check=True)
    begin = os.times()
    imports = begin.elapsed - before.elapsed
    used = sum(begin[2:4]) - sum(before[2:4])
    process = subprocess.Popen([sys.executable, "-m", "myosu.cli", "play", options.run, "--no-browser",
                                "--simulations", str(options.simulations)],
                               stdout=subprocess.PIPE, text=True, preexec_fn=lambda: os.sched_setaffinity(0, {0}))
    try:
        assert process.stdout is not None
        address = process.stdout.readline().split()[2].rstrip("/")
        get(address, "/")
        run = json.loads(get(address, "/api/run"))
        ready, used = os.times().elapsed - begin.elapsed, processor_seconds(process.pid) - used
        print(f"page: {size / 1000:.0f} kB; ready {ready - imports:.1f} s after imports of {imports:.1f} s; of the "
              f"processor, {used:.1f} s")
        asyncio.run(load(address, run, process.pid, options))
        alive = process.poll() is None
        print("the server is alive" if alive else "THE SERVER IS DEAD")
        sys.exit(not alive)
    finally:
        process.terminate()


async def load(address: str, run: dict[str, Any], pid: int, options: argparse.Namespace) -> None:
    await play(address, run, 0)  # warm-up: compilation and loading
    before = processor_seconds(pid)
    games = [await play(address, run, seed) for seed in range(1, 4)]
    medians = [1000 * statistics.median(game) for game in games]
    used = (processor_seconds(pid) - before) / sum(map(len, games))
    print(f"alone: {options.simulations} simulations answer in {statistics.median(medians):.0f} ms, the median of a "
          f"game ({', '.join(f'{median:.0f}' for median in medians)}); {1000 * used:.0f} processor ms per answer")
    begin, before = time.perf_counter(), processor_seconds(pid)
    results = await asyncio.gather(*(play(address, run, seed) for seed in range(options.games)), return_exceptions=True)
    seconds = time.perf_counter() - begin
    good = [result for result in results if isinstance(result, list)]
    waits = sorted(1000 * wait for game in good for wait in game)
    used = (processor_seconds(pid) - before) / len(waits)
    print(f"{options.games} parallel games: {len(results) - len(good)} failed; {len(waits)} answers in {seconds:.1f} "
          f"s, the median in {statistics.median(waits):.0f} ms, 99 % within {waits[int(0.99 * len(waits))]:.0f} ms; "
          f"{1000 * used:.0f} processor ms per answer")
    for problem in {repr(result) for result in results if not isinstance(result, list)}:
        print("  ", problem)
    hostile = asyncio.create_task(attack(address, run, options.messages))
    undisturbed, games = [], 0
    while not hostile.done():
        undisturbed += await play(address, run, 1000 + games)
        games += 1
    answers = hostile.result()
    print(f"{sum(answers.values())} hostile messages: "
          + ", ".join(f"{number} {what}" for what, number in answers.most_common()))
    print(f"meanwhile {games} games were played to their end; the median answer took "
          f"{1000 * statistics.median(undisturbed):.0f} ms")


async def play(address: str, run: dict[str, Any], seed: int) -> list[float]:
    """Response times in seconds of the agent's moves in a game against random moves."""
    agent = {"kind": "agent", "checkpoint": run["default"], "simulations": run["simulations"], "temperature": 0}
    game = await asyncio.to_thread(order, address, {"seats": [{"kind": "person"}, agent]})
    rng, waits = random.Random(seed), []
    async with websockets.connect(f"ws{address.removeprefix('http')}/api/games/{game}") as socket:
        position = json.loads(await socket.recv())["position"]
        while not position["over"]:
            begin = time.perf_counter()
            action = rng.choice(position["legal"])
            await socket.send(json.dumps({"type": "play", "ply": position["ply"], "action": action}))
            while not position["over"]:
                message = json.loads(await asyncio.wait_for(socket.recv(), 120))
                if message["type"] == "error":
                    raise RuntimeError(message["message"])
                position = message.get("position", position)
                if message["type"] == "position" and position["to_play"] == 0:
                    waits.append(time.perf_counter() - begin)
                    break
    return waits


async def attack(address: str, run: dict[str, Any], count: int) -> collections.Counter[str]:
    """Send ``count`` invalid messages; counts of the responses."""
    rng, answers = random.Random(0), collections.Counter[str]()
    game = await asyncio.to_thread(order, address, {"seats": [{"kind": "person"}, {"kind": "person"}]})
    host, port = address.removeprefix("http://").split(":")

    async def over_http(data: bytes) -> None:
        reader, writer = await asyncio.open_connection(host, int(port))
        try:
            writer.write(data)
            writer.write_eof()
            line = await asyncio.wait_for(reader.readline(), 30)
            answers[f"HTTP {line.split()[1].decode()}" if line else "connections closed"] += 1
        except OSError:
            answers["connections closed"] += 1
        finally:
            writer.close()

    async def over_websocket(messages: list[str | bytes]) -> None:
        async with websockets.connect(f"ws{address.removeprefix('http')}/api/games/{game}") as socket:
            await socket.recv()
            for message in messages:
                try:
                    await socket.send(message)
                    answer = json.loads(await asyncio.wait_for(socket.recv(), 30))
                    answers[f"WebSocket {answer['type']}"] += 1
                except websockets.ConnectionClosed as closed:
                    answers[f"WebSocket closed with {closed.rcvd.code if closed.rcvd else 'nothing'}"] += 1
                    return

    while (sent := sum(answers.values())) < count:
        if rng.random() < 0.3:
            await over_http(strange_request(rng, host))
        else:
            await over_websocket([strange_message(rng) for _ in range(min(count - sent, rng.randrange(1, 60)))])
    return answers


def strange_message(rng: random.Random) -> str | bytes:
    def value() -> Any:
        return rng.choice([None, True, -1, 10**18, 0.5, 1e308, 3, 0, "x", "\u0000", "../../passwd", [], {}, [[]] * 9])

    kind = rng.choice(["play", "undo", "look", "analyze", "pause", "pace", "nothing"])
    match rng.randrange(6):
        case 0:
            return rng.randbytes(rng.randrange(200))
        case 1:
            return "".join(chr(rng.randrange(32, 0x2000)) for _ in range(rng.randrange(200)))
        case 2:
            return "[" * rng.randrange(1, 4000)
        case 3:
            return "x" * rng.choice([4095, 4097, 100_000])
        case 4:
            return json.dumps({"type": kind, "ply": value(), "action": value()})
    fields = ["ply", "action", "checkpoint", "simulations", "paused", "seconds"]
    return json.dumps({"type": kind, **{name: value() for name in rng.sample(fields, rng.randrange(4))}})


def strange_request(rng: random.Random, host: str) -> bytes:
    path = rng.choice(["/static/../../../etc/passwd", "/static/%2e%2e/server.py", "/static//etc/passwd", "*",
                       "/api/games/%00.json", "/api/games/none.sgf", "/api/games", "/api/run?x=" + "y" * 100,
                       "/game/" + "x" * 5000])
    match rng.randrange(5):
        case 0:
            return rng.randbytes(rng.randrange(1, 300))
        case 1:
            return f"GET {path} HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n".encode()
        case 2:
            body = json.dumps({"seats": rng.choice([[], 3, [{"kind": "agent"}] * 2, "x" * 5000]), "from": None})
            return (f"POST /api/games HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\nContent-Length: "
                    f"{len(body)}\r\nConnection: close\r\n\r\n{body}").encode()
        case 3:
            return (f"POST /api/games HTTP/1.1\r\nHost: {host}\r\nOrigin: http://evil.example\r\nContent-Length: 2\r\n"
                    "Connection: close\r\n\r\n{}").encode()
    return f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode()


def order(address: str, what: dict[str, Any]) -> str:
    request = urllib.request.Request(f"{address}/api/games", json.dumps(what).encode(),
                                     {"content-type": "application/json"})
    return json.loads(urllib.request.urlopen(request, timeout=60).read())["id"]


def get(address: str, path: str) -> bytes:
    """Retry until the server responds."""
    while True:
        try:
            return urllib.request.urlopen(address + path, timeout=60).read()
        except urllib.error.URLError:
            time.sleep(0.02)


def processor_seconds(pid: int) -> float:
    """CPU seconds of the process, which other programs do not affect."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    main()
