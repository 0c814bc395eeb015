"""The server against malicious clients, and the isolation of its games."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import socket
from dataclasses import replace

import httpx
import pytest
import websockets

from myosu.envs.game_history import replay
from myosu.errors import UserError
from myosu.games import load_game
from myosu.runs.games import GameRecord
from myosu.runs.recordings import open_recording
from myosu.web import server
from myosu.web.messages import MAX_BYTES
from myosu.web.room import Room
from web_runs import serving, untrained_run

PERSON = {"kind": "person"}
AGENT = {"kind": "agent", "checkpoint": "update-00000001", "simulations": 4, "temperature": 0}


@pytest.fixture(scope="module")
def room(tmp_path_factory):
    return Room(untrained_run(tmp_path_factory.mktemp("web") / "run", "tictactoe", (1, 2)))


@pytest.fixture(scope="module")
def address(room):
    with serving(room) as address:
        yield address


@pytest.fixture(scope="module")
def client(address):
    with httpx.Client(base_url=address, timeout=30) as client:
        yield client


def new_game(client, *seats, **order) -> str:
    answer = client.post("/api/games", json={"seats": seats or [PERSON, AGENT], **order})
    assert answer.status_code == 201, answer.text
    return answer.json()["id"]


def talk(address, game_id, conversation):
    """Run ``conversation(socket)`` on a connection to the game, after its first message. Returns its result."""

    async def run():
        async with websockets.connect(f"ws{address.removeprefix('http')}/api/games/{game_id}") as socket:
            first = await hear(socket)
            assert first["type"] == "game"
            return await conversation(socket)

    return asyncio.run(run())


async def hear(socket, *types):
    """Receive the next message, of one of these types if any are given."""
    while True:
        message = json.loads(await asyncio.wait_for(socket.recv(), 30))
        if not types or message["type"] in types:
            return message


async def say(socket, **message):
    await socket.send(json.dumps(message))


async def play_to_the_end(socket, seed=0) -> list[int]:
    """Play a person's moves against the agent from the start. Returns the actions."""
    choice, actions = random.Random(seed), []
    legal = list(range(9))
    while True:
        await say(socket, type="play", ply=len(actions), action=choice.choice(legal))
        for _ in range(2):
            position = (await hear(socket, "position"))["position"]
            actions.append(position["last"])
            if position["over"]:
                return actions
        legal = position["legal"]


def test_game_is_played_saved_and_replayed(client, address, room):
    game_id = new_game(client)
    actions = talk(address, game_id, play_to_the_end)
    answer = client.get(f"/api/games/{game_id}.json")
    exported = GameRecord.from_json(answer.json())
    assert exported.actions == actions and exported.terminated and "attachment" in answer.headers["content-disposition"]
    assert list(exported.history().now.returns) == exported.returns
    assert exported in [replace(game, index=0) for game in open_recording(room.folder / "played").records()]
    stored = client.get("/api/stored").json()["played"]
    again = client.post("/api/games", json={"played": stored[0]["played"]}).json()["id"]
    assert client.get(f"/api/games/{again}.json").json()["actions"] == list(
        open_recording(room.folder / "played").records())[-1].actions


def test_analysis_undo_looking_back_and_branching(client, address):
    game_id = new_game(client)

    async def conversation(socket):
        await say(socket, type="analyze", ply=0, checkpoint="update-00000002", simulations=8)
        analysis = await hear(socket, "analysis")
        assert sum(analysis["visits"]) == 8 and analysis["line"][0] == analysis["action"]
        assert sum(share for _, share in analysis["shares"]) == pytest.approx(1, abs=1e-2)
        await say(socket, type="play", ply=0, action=4)
        for _ in range(2):
            position = (await hear(socket, "position"))["position"]
        assert position["ply"] == 2 and position["board"]["cells"][4] == 1 and 4 not in position["legal"]
        await say(socket, type="look", ply=1)
        assert (await hear(socket, "look"))["position"]["board"]["cells"].count(0) == 8
        await say(socket, type="undo", ply=2)
        game = await hear(socket, "game")
        assert game["actions"] == [] and game["position"]["ply"] == 0
        await say(socket, type="undo", ply=0)
        assert "nothing to take back" in (await hear(socket, "error"))["message"]
        await say(socket, type="play", ply=0, action=0)
        await hear(socket, "position")

    talk(address, game_id, conversation)
    branch = new_game(client, PERSON, PERSON, **{"from": {"game": game_id, "ply": 1}})
    assert client.get(f"/api/games/{branch}.json").json()["actions"] == [0]


def test_two_agents_play_a_watched_game_to_the_end(client, address):
    game_id = new_game(client, AGENT, {**AGENT, "checkpoint": "update-00000002", "temperature": 1})

    async def conversation(socket):
        await say(socket, type="pause", paused=True)
        await hear(socket, "pace")
        await say(socket, type="pace", seconds=0.02)
        await hear(socket, "pace")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(socket.recv(), 0.3)
        await say(socket, type="pause", paused=False)
        while not (position := (await hear(socket, "position"))["position"])["over"]:
            pass
        return position

    assert talk(address, game_id, conversation)["ply"] >= 5
    assert client.get(f"/api/games/{game_id}.json").json()["terminated"]


BAD_MESSAGES = [
    "", "null", "[]", "{}", "nonsense", "\x00", "[" * 4000, '{"type": "play"', '{"type": []}', '{"type": "fly"}',
    '{"type": "play", "ply": 0}', '{"type": "play", "ply": 0, "action": "4"}',
    '{"type": "play", "ply": 0, "action": 9}', '{"type": "play", "ply": 0, "action": -1}',
    '{"type": "play", "ply": 3, "action": 4}',
    '{"type": "play", "ply": 0, "action": true}', '{"type": "play", "ply": 0, "action": 1e400}',
    '{"type": "play", "ply": 0, "action": ' + "9" * 4000 + "}", '{"type": "play", "ply": 0, "action": 4, "more": 1}',
    '{"type": "undo", "ply": 0}', '{"type": "look", "ply": 1}', '{"type": "look", "ply": -1}',
    '{"type": "analyze", "ply": 0, "checkpoint": "../../../etc", "simulations": 4}',
    '{"type": "analyze", "ply": 0, "checkpoint": "update-00000001", "simulations": 100000}',
    '{"type": "analyze", "ply": 0, "checkpoint": "update-00000001", "simulations": 0}',
    '{"type": "pace", "seconds": NaN}', '{"type": "pace", "seconds": -1}', '{"type": "pause", "paused": 1}',
    b"\xff\xfe",
]


def test_every_bad_message_is_answered_and_the_game_is_unchanged(client, address):
    game_id = new_game(client, PERSON, PERSON)

    async def conversation(socket):
        for k, message in enumerate(BAD_MESSAGES):
            await socket.send(message)
            answer = await hear(socket)
            assert answer["type"] == "error" and 10 < len(answer["message"]) < 300, message
            if k % 10 == 9:  # a client that sends a valid message now and then is not disconnected
                await say(socket, type="look", ply=0)
                await hear(socket, "look")
        await say(socket, type="play", ply=0, action=4)
        assert (await hear(socket))["position"]["board"]["cells"][4] == 1

    talk(address, game_id, conversation)


def test_flooding_client_is_disconnected_without_other_effects(client, address):
    flooded, other = new_game(client, PERSON, PERSON), new_game(client)

    async def conversation(socket):
        async def flood():
            with contextlib.suppress(websockets.ConnectionClosed):
                async with websockets.connect(f"ws{address.removeprefix('http')}/api/games/{flooded}") as bad:
                    for _ in range(3000):
                        await bad.send('{"type": "look", "ply": 0}')
                    async for _ in bad:
                        pass
            return bad.close_code

        flooding = asyncio.create_task(flood())
        await play_to_the_end(socket)
        return await flooding

    assert talk(address, other, conversation) == 1008
    assert len(client.get(f"/api/games/{flooded}.json").json()["actions"]) == 0


def test_too_long_messages_close_the_connection(client, address):
    game_id = new_game(client, PERSON, PERSON)

    async def conversation(socket):
        await socket.send(" " * (MAX_BYTES + 1))
        with pytest.raises(websockets.ConnectionClosed):
            await hear(socket)
        return socket.close_code

    assert talk(address, game_id, conversation) == 1009
    assert client.post("/api/games", content=b"x" * (MAX_BYTES + 1),
                       headers={"content-type": "application/json"}).status_code == 413


@pytest.mark.parametrize("path", [
    "/static/../server.py", "/static/%2e%2e/server.py", "/static/..%2fserver.py", "/static/....//server.py",
    "/static//etc/passwd", "/static/%00", "/api/games/..%2f..%2fconfig.json", "/game/../../config.json.txt",
    "/api/games/nobody.json", "/%2e%2e/config.json",
])
def test_paths_outside_the_served_folders_are_refused(address, path):
    host, port = address.removeprefix("http://").split(":")

    async def get() -> bytes:
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
        answer = await reader.read()
        writer.close()
        return answer

    answer = asyncio.run(get())  # not by httpx, which would normalise the path
    assert int(answer.split()[1]) in (400, 404) and b"def " not in answer and b"root:" not in answer


@pytest.mark.parametrize("order", [
    {}, [], {"seats": [PERSON]}, {"seats": [PERSON, {**AGENT, "checkpoint": "../best"}]}, {"episode": "0"},
    {"seats": [PERSON, {**AGENT, "temperature": -1}]}, {"seats": [PERSON, {**AGENT, "extra": 1}]},
    {"played": "../../config"}, {"episode": 10**9}, {"seats": [PERSON, AGENT], "from": {"game": "x", "ply": 0}},
    {"seats": [PERSON, AGENT], "from": 3}, {"seats": [PERSON, {**AGENT, "kind": "recorded"}]},
])
def test_invalid_requests_for_games_are_refused(client, order):
    answer = client.post("/api/games", json=order)
    assert answer.status_code in (400, 404) and len(answer.json()["error"]) > 10


def test_foreign_origins_and_hosts_are_refused(client, address, room):
    assert client.get("/api/run").status_code == 200
    assert client.get("/api/run", headers={"origin": "http://evil.example"}).status_code == 403
    assert client.get("/api/run", headers={"host": "evil.example"}).status_code == 421
    assert client.get("/api/run", headers={"host": "evil.example", "origin": "http://evil.example"}).status_code == 421
    assert client.get("/api/run", headers={"origin": address}).status_code == 200
    assert client.post("/api/games", content='{"seats": []}', headers={"content-type": "text/plain"}).status_code == 400
    game_id = new_game(client)

    async def knock(**headers):
        async with websockets.connect(f"ws{address.removeprefix('http')}/api/games/{game_id}", **headers):
            pass

    asyncio.run(knock(origin=address))
    for origin in ("http://evil.example", "null"):
        with pytest.raises(websockets.InvalidStatus, match="403"):
            asyncio.run(knock(origin=origin))
    headers = client.get("/").headers
    assert "default-src 'none'" in headers["content-security-policy"] and headers["x-content-type-options"] == "nosniff"


def test_missing_game_is_reported(address):
    async def knock():
        async with websockets.connect(f"ws{address.removeprefix('http')}/api/games/nobody") as socket:
            message = await hear(socket)
            await socket.wait_closed()
            return message, socket.close_code

    message, code = asyncio.run(knock())
    assert message["type"] == "error" and "no such game" in message["message"] and code == 4404


def test_unloadable_agent_is_reported_and_the_server_continues(tmp_path):
    folder = untrained_run(tmp_path / "run", "tictactoe", (1, 2))
    (folder / "checkpoints" / "update-00000001" / "weights.safetensors").write_bytes(b"cut short")
    with serving(Room(folder)) as address, httpx.Client(base_url=address, timeout=30) as client:

        async def conversation(socket):
            await say(socket, type="play", ply=0, action=4)
            return (await hear(socket, "error"))["message"]

        assert "weights.safetensors has 9 bytes" in talk(address, new_game(client), conversation)
        whole = new_game(client, PERSON, {**AGENT, "checkpoint": "update-00000002"})
        assert len(talk(address, whole, play_to_the_end)) >= 5
    with pytest.raises(UserError, match="has 9 bytes"):  # a room needs readable weights
        Room(folder / "checkpoints" / "update-00000001")


def test_simultaneous_games_share_batched_searches(client, address, room):
    games = [new_game(client) for _ in range(30)]
    before = room.analyzer.batches, room.analyzer.positions

    async def one(game_id, number):
        async with websockets.connect(f"ws{address.removeprefix('http')}/api/games/{game_id}") as socket:
            await hear(socket, "game")
            return await play_to_the_end(socket, number)

    async def all_of_them():
        return await asyncio.gather(*(one(game_id, number) for number, game_id in enumerate(games)))

    played = asyncio.run(all_of_them())
    for game_id, actions in zip(games, played, strict=True):
        assert client.get(f"/api/games/{game_id}.json").json()["actions"] == actions
        assert replay(load_game("tictactoe"), 0, actions).now.over
    batches, analysis = room.analyzer.batches - before[0], room.analyzer.positions - before[1]
    assert batches < analysis / 3


@pytest.fixture
def folder(tmp_path):
    return untrained_run(tmp_path / "run", "tictactoe")


class Bystander:
    def __init__(self):
        self.heard = []

    def send(self, message):
        self.heard.append(message)


def opened(room, *seats, **order):
    return asyncio.run(room.open({"seats": list(seats or [PERSON, PERSON]), **order}))


def test_new_server_continues_the_open_games(folder):
    room = Room(folder)
    left = opened(room, PERSON, {**AGENT, "temperature": 0.5})
    left.history.play(3)
    left.history.play(1)
    left.play(2, 4)
    branch = opened(room, **{"from": {"game": left.id, "ply": 2}})  # saved before the first move
    other = opened(room)
    other.play(0, 8)
    other.play(1, 7)
    other.undo(2)
    untouched = opened(room)

    new = Room(folder)
    for table in (left, branch, other):
        again = asyncio.run(new.table(table.id))
        assert again.summary() == {**table.summary(), "outlook": []} and again.started == table.started
        assert again.taken_back == table.taken_back == (table is other)
    listed = asyncio.run(new.stored())["open"]
    assert [game["id"] for game in listed] == [other.id, branch.id, left.id]
    assert listed[2]["length"] == 3 and listed[2]["players"] == ["person", "agent"]
    for name in (untouched.id, "../20", "a/b", "", "nobody"):
        with pytest.raises(UserError, match="no such game"):
            asyncio.run(new.table(name))
    later = opened(Room(folder), **{"from": {"game": left.id, "ply": 3}})
    assert later.history.actions == [3, 1, 4]


def test_undone_finished_game_is_saved_to_the_same_file(folder):
    table = opened(Room(folder))
    for ply, action in enumerate((0, 3, 1, 4, 2)):
        table.play(ply, action)
    room = Room(folder)
    assert asyncio.run(room.stored())["open"] == []
    again = asyncio.run(room.table(table.id))
    again.undo(5)
    assert len(asyncio.run(room.stored())["open"]) == 1
    for ply, action in enumerate((8, 5), 4):
        again.play(ply, action)
    (kept,) = open_recording(folder / "played").records()
    assert kept.actions == [0, 3, 1, 4, 8, 5] and kept.taken_back == 1 and kept.returns == [-1, 1]


def test_failure_to_save_a_game_is_reported_once(folder):
    (folder / "played").write_text("not a folder")
    table, guest = opened(Room(folder)), Bystander()
    table.guests.add(guest)
    table.play(0, 0)
    table.play(1, 1)
    assert [message["type"] for message in guest.heard] == ["error", "position", "position"]
    assert "will end with the server" in guest.heard[0]["message"]


def test_oldest_of_too_many_open_games_is_deleted(folder, monkeypatch):
    monkeypatch.setattr("myosu.web.open_games.KEPT", 2)
    room = Room(folder)
    first, second, third = (opened(room) for _ in range(3))
    for table, at in ((first, 1), (second, 2)):
        table.play(0, 0)
        os.utime(folder / "played" / "open" / f"{table.id}.json", (at, at))
    first.play(1, 1)
    third.play(0, 0)
    assert {path.stem for path in (folder / "played" / "open").iterdir()} == {first.id, third.id}


def test_full_room_drops_a_game_that_nobody_watches(folder, monkeypatch):
    monkeypatch.setattr("myosu.web.room.TABLES", 3)
    room = Room(folder)
    watched, begun = opened(room), opened(room)
    watched.guests.add(Bystander())
    begun.play(0, 4)
    opened(room)
    begun.play(1, 3)
    newest = opened(room)
    assert set(room.tables) == {watched.id, begun.id, newest.id}
    opened(room)
    assert begun.id not in room.tables and asyncio.run(room.table(begun.id)).history.actions == [4, 3]
    for table in room.tables.values():
        table.guests.add(Bystander())
    with pytest.raises(UserError, match="holds 3 games"):
        opened(room)


def test_agent_is_warmed_up_when_a_game_begins(folder):
    """Before the first move, because compilation may take long."""
    room = Room(folder)
    with serving(room, folder) as address, httpx.Client(base_url=address, timeout=30) as client:
        assert client.get("/api/run").status_code == 200 and room._warming is None
        new_game(client)
        asyncio.run(eventually(lambda: room.analyzer.positions == 1))
        new_game(client)
    assert room.analyzer.positions == 1


async def eventually(condition):
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.01)


def test_usual_port_is_taken_if_free():
    with server.listen("127.0.0.1", 0) as free:
        usual = free.getsockname()[1]
    with server.listen("127.0.0.1", 0, usual) as first, server.listen("127.0.0.1", 0, usual) as second:
        assert first.getsockname()[1] == usual != second.getsockname()[1]
        with pytest.raises(UserError, match="in use"):
            server.listen("127.0.0.1", usual)
    with pytest.raises(UserError, match="0 to 65535"):
        server.listen("127.0.0.1", 65536)


def test_static_files_are_smaller_than_300_kb():
    assert sum(path.stat().st_size for path in server.STATIC.rglob("*") if path.is_file()) < 300_000


# --- connections

HANDSHAKE = ("GET {path} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
             "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n{more}\r\n")


def first_line(address, text: str) -> str:
    """The first line of the server's answer to ``text`` on a new connection."""
    host, port = address.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=20) as connection:
        connection.sendall(text.encode("latin-1"))
        return connection.makefile("rb").readline().decode()


@pytest.mark.parametrize(("change", "status"), [
    ({}, 101),
    ({"more": "Cookie: " + "a" * 9000 + "\r\n"}, 101),
    ({"more": "Cookie: " + "a" * 15000 + "\r\n"}, 101),
    ({"more": "".join(f"X-{k}: {k}\r\n" for k in range(200))}, 101),
    ({"more": "Content-Length: 0\r\n"}, 101),
    ({"more": "Cookie: " + "a" * 20000}, 400),
    ({"more": "Sec-WebSocket-Protocol: " + "a" * 9000 + "\r\n"}, 431),
    ({"more": "".join(f"Sec-WebSocket-Protocol: {k}\r\n" for k in range(200))}, 431),
    ({"path": "/" + "a" * 9000}, 414),
    ({"method": "POST"}, 405),
    ({"key": "short"}, 400),
], ids=["as usual", "a long cookie", "a longer one", "many headers", "no body", "without an end", "a long protocol",
        "many protocols", "a long path", "posted", "a wrong key"])
def test_every_handshake_is_answered(client, address, change, status):
    """With a WebSocket if only unnecessary headers are long or numerous; otherwise with an error."""
    path = change.get("path", f"/api/games/{new_game(client)}")
    text = HANDSHAKE.format(path=path, host=address.removeprefix("http://"), more=change.get("more", ""))
    text = text.replace("GET", change.get("method", "GET")).replace("A" * 22 + "==", change.get("key", "A" * 22 + "=="))
    assert first_line(address, text).split()[1] == str(status)


@contextlib.contextmanager
def idle_connections(address, count, sent=b""):
    host, port = address.removeprefix("http://").split(":")
    with contextlib.ExitStack() as stack:
        for _ in range(count):
            connection = stack.enter_context(socket.create_connection((host, int(port)), timeout=20))
            connection.sendall(sent)
        yield


@pytest.mark.parametrize("sent", [
    b"", b"GET /api/run HTTP/1.1\r\nHo", b"GET /api/run HTTP/1.1\r\nHost: localhost\r\n\r\n",
], ids=["nothing", "half a request", "a request, and nothing more"])
def test_idle_connections_do_not_block_the_server(room, monkeypatch, sent):
    """50 idle connections to a server with a limit of 30: its running games continue."""
    monkeypatch.setattr(server, "CONNECTIONS", 30)
    with serving(Room(room.folder)) as address, httpx.Client(base_url=address, timeout=20) as client:
        game_id = new_game(client)

        async def conversation(socket):
            with idle_connections(address, 50, sent):
                for _ in range(40):
                    assert (await asyncio.to_thread(httpx.get, f"{address}/api/run")).status_code == 200
                return await play_to_the_end(socket)

        assert 5 <= len(talk(address, game_id, conversation)) <= 9


def test_full_server_refuses_new_connections(room, monkeypatch):
    """Existing connections stay open."""
    monkeypatch.setattr(server, "CONNECTIONS", 8)
    with serving(Room(room.folder)) as address, httpx.Client(base_url=address, timeout=20) as client:
        game_id = new_game(client)

        async def crowd():
            async with contextlib.AsyncExitStack() as stack:
                uri = f"ws{address.removeprefix('http')}/api/games/{game_id}"
                inside = [await stack.enter_async_context(websockets.connect(uri)) for _ in range(7)]
                with pytest.raises(websockets.InvalidStatus) as refusal:
                    await websockets.connect(uri)
                assert refusal.value.response.status_code == 503
                assert (await asyncio.to_thread(httpx.get, f"{address}/api/run")).status_code == 503
                for guest in inside:
                    assert (await hear(guest))["type"] == "game"

        client.close()
        asyncio.run(crowd())
