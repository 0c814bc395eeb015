"""The server plays AlphaGo's search, and sends the numbers of each of its parts."""

import httpx
import numpy as np
import pytest
from test_web_server import hear, new_game, say, talk

from myosu.errors import UserError
from myosu.runs.recordings import open_recording
from myosu.web.room import Room


def test_analysis_contains_the_parts_of_the_search(alphago):
    room, address = alphago
    with httpx.Client(base_url=address, timeout=60) as client:
        about = client.get("/api/run").json()
        assert about["checkpoints"] == [room.default] and (about["searches"], about["simulations"]) == (True, 24)
        agent = {"kind": "agent", "checkpoint": room.default, "simulations": 24, "temperature": 0}
        game = new_game(client, {"kind": "person"}, agent)

    async def conversation(socket):
        await say(socket, type="analyze", ply=0, checkpoint=room.default, simulations=24)
        analysis = await hear(socket, "analysis")
        await say(socket, type="play", ply=0, action=40)
        answered = await hear(socket, "position")
        while answered["position"]["ply"] < 2:
            answered = await hear(socket, "position")
        return analysis, answered["position"]

    analysis, position = talk(address, game, conversation)
    parts = analysis["parts"]
    assert set(parts) == {"prior", "value", "rollouts", "visits"} and {len(part) for part in parts.values()} == {82}
    for name in ("prior", "visits"):
        assert sum(filter(None, parts[name])) == pytest.approx(1, abs=0.05), name
    tried = [action for action, visits in enumerate(parts["visits"]) if visits]
    for name in ("value", "rollouts"):
        known = [number for number in parts[name] if number is not None]
        assert known and -1 <= min(known) <= max(known) <= 1, name
        assert [action for action, number in enumerate(parts[name]) if number is not None] == tried
    assert len(analysis["owners"]) == 81 and -1 <= min(analysis["owners"]) <= max(analysis["owners"]) <= 1
    assert position["board"]["cells"][40] == 1 and sum(cell == 2 for cell in position["board"]["cells"]) == 1
    assert position["board"]["komi"] == 7.5


def test_finished_game_names_its_search(alphago):
    room, address = alphago
    with httpx.Client(base_url=address, timeout=60) as client:
        agent = {"kind": "agent", "checkpoint": room.default, "simulations": 1, "temperature": 0}
        game = new_game(client, {"kind": "person"}, agent)

        async def pass_until_it_is_over(socket):
            ply = 0
            while True:
                await say(socket, type="play", ply=ply, action=81)
                position = {"ply": ply, "over": False}
                while position["ply"] < ply + 2 and not position["over"]:
                    position = (await hear(socket, "position"))["position"]
                ply = position["ply"]
                if position["over"]:
                    return position

        assert talk(address, game, pass_until_it_is_over)["over"]
        kept = client.get(f"/api/games/{game}.json").json()
    assert kept["players"][1]["checkpoint"] == room.default
    assert [played.actions for played in open_recording(room.folder / "played").records()] == [kept["actions"]]
    assert np.isfinite(kept["returns"]).all()


def test_search_without_a_run_is_refused():
    with pytest.raises(UserError, match="names no run as its network, prior or value"):
        Room("apv:rollout=uniform")
