"""Reading a run that is watched, in every state of its files."""

from __future__ import annotations

import json
import os

import httpx
import numpy as np
import pytest

from myosu import cli
from myosu.doctor.run import examine_run
from myosu.doctor.run_view import RunView
from myosu.runs.curves import LiveMetrics, smooth, thin
from myosu.runs.run import open_run
from myosu.web.room import Room
from myosu.web.watching import Shown, Watched
from web_runs import serving, untrained_run


def record(k, phase="training", **more):
    return {"kind": "training", "update": 10 * k, "phase": phase, "seconds": 6.0 * k, "env_steps": 100 * k, "games": k,
            "env_steps_per_second": 16.0, "updates_per_second": 1.5, "memory_mib": None, "loss/loss": 1.0 / (1 + k),
            **more}


def evaluation(update, reward, **more):
    return {"kind": "evaluation", "update": update, "games": 20, "training_seconds": 0.6 * update,
            "env_steps": 10 * update, "mean_reward": reward, "mean_reward_ci95": [reward - 1, reward + 1], **more}


def write(file, *lines, mode="w"):
    with open(file, mode, encoding="utf-8") as out:
        out.writelines(json.dumps(line) + "\n" for line in lines)


@pytest.fixture
def metrics(tmp_path):
    return LiveMetrics(tmp_path / "metrics.jsonl")


def hints(metrics):
    return [finding.message for finding in examine_run(RunView("muzero", {}, metrics))]


def updates(metrics):
    return metrics.at("loss/loss", "updates").tolist()


def test_growing_metrics_file_is_read(metrics, tmp_path):
    file = tmp_path / "metrics.jsonl"
    metrics.read()
    assert metrics.names == [] and metrics.latest == {}
    write(file, record(0), record(1))
    line = json.dumps(record(2, **{"new": 7})).encode() + b"\n"
    with open(file, "ab") as out:
        out.write(line[:50])
    metrics.read()
    assert updates(metrics) == [0, 10] and metrics.damaged == 0
    seen = metrics.version
    metrics.read()
    assert metrics.version == seen
    with open(file, "ab") as out:
        out.write(line[50:])
    metrics.read()
    assert metrics.version != seen and updates(metrics) == [0, 10, 20]
    assert metrics.points("new", "env_steps").tolist() == [[200, 7]]
    assert "memory_mib" not in metrics.names


def test_truncated_replaced_or_deleted_metrics_file(metrics, tmp_path):
    file = tmp_path / "metrics.jsonl"
    write(file, *map(record, range(5)))
    metrics.read()
    write(tmp_path / "shorter", *map(record, range(3)))
    write(tmp_path / "shorter", *(record(k, **{"loss/loss": 9.0}) for k in range(3, 20)), mode="a")
    os.replace(tmp_path / "shorter", file)  # as a resumed training does: same beginning, longer than what was read
    metrics.read()
    assert len(updates(metrics)) == 20 and metrics.values("loss/loss")[3:5].tolist() == [9, 9] and metrics.damaged == 0
    write(file, record(7), record(8))  # started again
    metrics.read()
    assert updates(metrics) == [70, 80]
    file.unlink()
    metrics.read()
    assert metrics.names == [] and metrics.evaluations == []
    write(file, record(1))
    metrics.read()
    assert updates(metrics) == [10]


def test_damaged_lines_and_nan_are_skipped_with_hints(metrics, tmp_path):
    file = tmp_path / "metrics.jsonl"
    file.write_text('nonsense\n[]\n{"kind": "other"}\n{"kind": "training"}\n')
    write(file, record(1), record(2, **{"loss/loss": float("nan")}), evaluation(20, 3.0), mode="a")
    metrics.read()
    assert metrics.damaged == 4
    assert metrics.points("loss/loss", "updates").tolist() == [[10, 0.5]]
    assert metrics.points("evaluation/mean_reward_low", "minutes").tolist() == [[0.2, 2]]
    first, second = hints(metrics)
    assert "loss/loss has not been finite since update 20" in first and "4 lines" in second


def test_thinning_keeps_end_points_and_extremes():
    values = np.random.default_rng(0).normal(size=10_001)
    values[[4321, 8765]] = 50, -50
    points = np.stack([np.arange(10_001.0), values], axis=1)
    few = thin(points)
    assert 200 < len(few) <= 400
    kept = [tuple(point) for point in few]
    assert kept == sorted(kept) and {tuple(points[k]) for k in (0, 4321, 8765, -1)} <= set(kept)
    assert thin(points[:400]).tolist() == points[:400].tolist()


@pytest.mark.parametrize(("lines", "words"), [
    ([record(k, **{"selfplay/policy_entropy": 2.0 if k < 8 else 0.001}) for k in range(40)], "entropy fell from 2 to"),
    ([record(k, **{"loss/explained_variance": -0.1}) for k in range(30)], "hardly better than their mean"),
    ([record(k, **{"loss/explained_variance": 0.004}) for k in range(30)], "explained variance is 0.004"),
    ([record(10 * k, **{"selfplay/value_error": 2.0, "selfplay/reward_first_std": 1.5, "selfplay/reward_first_mean": 0})
      for k in range(30)], "values miss"),
    ([record(1, actor_restarts=2, env_restarts=1)], "2 actor processes and 1 environment process had"),
    ([evaluation(k, 5.0 - 0.1 * k) for k in range(7)], "show no improvement"),
    ([evaluation(k, reward) for k, reward in enumerate([0, 7, 9, 8, 2, 3, 2])], "clearly below the best"),
    ([evaluation(k, 0.9, win_rate=0.95) for k in range(7)], None),
    ([evaluation(k, 9.0, opponent="random") for k in range(6)]
     + [evaluation(6 + k, k - 5.0, opponent="alphabeta:4") for k in range(6)], None),
    ([evaluation(k, reward) for k, reward in enumerate([0, 3, 9, 8.5, 7.5, 3])], None),
    ([record(k, **{"selfplay/policy_entropy": 2.0 / (k + 1), "loss/explained_variance": 0.1,
                   "selfplay/value_error": 1.0, "selfplay/reward_first_std": 1.5}) for k in range(40)], None),
])
def test_hints_about_training_problems(metrics, tmp_path, lines, words):
    write(tmp_path / "metrics.jsonl", *lines)
    metrics.read()
    found = hints(metrics)
    assert found == [] if words is None else len(found) == 1 and words in found[0]


def test_states_of_a_watched_run(tmp_path):
    folder = untrained_run(tmp_path / "run", "tictactoe")
    watched = Watched(folder)
    minutes = Shown("minutes")
    tag, data = watched.look(minutes)
    assert data["state"] == "waiting" and data["curves"] == {} and watched.look(minutes)[0] == tag
    lock = open_run(folder).lock()
    assert watched.look(minutes)[1]["state"] == "starting"
    os.close(lock)
    write(folder / "metrics.jsonl", record(1), evaluation(10, 0.5))
    new, data = watched.look(minutes)
    assert new != tag and data["state"] == "running" and data["curves"]["loss/loss"] == [[0.1, 0.5]]
    assert data["evaluations"][0]["minutes"] == 0.1 and data["done"]["updates"] == 10
    os.utime(folder / "metrics.jsonl", (1, 1))
    assert watched.look(minutes)[1]["state"] == "stopped"
    lock = open_run(folder).lock()
    assert watched.look(minutes)[1]["state"] == "running"
    os.close(lock)
    write(folder / "metrics.jsonl", record(2, "finished"), mode="a")
    assert watched.look(Shown("updates"))[1]["state"] == "finished"
    for file in sorted(folder.rglob("*"), reverse=True):
        file.rmdir() if file.is_dir() else file.unlink()
    folder.rmdir()
    assert watched.look(minutes)[1]["state"] == "gone"


def test_progress_of_collecting_before_the_first_update(tmp_path):
    folder = untrained_run(tmp_path / "run", "tictactoe")
    needed = open_run(folder).config.algorithm_config["learning_starts"]
    watched = Watched(folder)
    for positions, update, share in ((0, 0, 0.0), (needed // 4, 0, 0.25), (2 * needed, 0, 1.0), (2 * needed, 3, None)):
        write(folder / "metrics.jsonl", record(1, "waiting for games", update=update, replay_positions=positions))
        assert watched.look(Shown("minutes"))[1]["collected"] == share


def test_zoomed_and_smoothed_curves(tmp_path):
    folder = untrained_run(tmp_path / "run", "tictactoe")
    write(folder / "metrics.jsonl", *(record(k, noise=float(k % 2)) for k in range(2000)))
    watched = Watched(folder)
    data = watched.look(Shown("updates", 100, 400, 0.1))[1]  # all of its 31 points; the whole curve shows 400 of 2,000
    assert data["curves"]["noise"] == [[10 * k, k % 2] for k in range(10, 41)]
    found = dict(data["smoothed"]["noise"])  # means within 15 updates: of three points, at the ends of two
    assert found[100] == found[400] == 0.5 and found[200] == pytest.approx(2 / 3, abs=1e-5)
    assert found[210] == pytest.approx(1 / 3, abs=1e-5)
    assert watched.look(Shown("updates"))[1]["smoothed"] == {}


def test_moving_mean_equals_hand_computed_values():
    points = np.array([[0, 1.0], [1, 3.0], [5, 8.0], [6, 0.0]])
    assert smooth(points, 2).tolist() == [[0, 2], [1, 2], [5, 4], [6, 4]]
    assert smooth(points, 100).tolist() == [[x, 3] for x in (0, 1, 5, 6)]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Two runs with metrics, the first with a recorded game."""
    folders = [untrained_run(tmp_path_factory.mktemp("watch") / name, "tictactoe") for name in ("first", "second")]
    for number, folder in enumerate(folders):
        write(folder / "metrics.jsonl", *map(record, range(number, 6)), evaluation(50, number))
    game = {"index": 3, "env_steps": 9, "weights_version": 1, "length": 5, "returns": [1.0, -1.0], "seed": 1,
            "truncated": False}
    write(folders[0] / "games.jsonl", {**game, "index": 2}, {**game, "actions": [0, 3, 1, 4, 2]})
    return folders


def test_watch_server_answers(runs):
    with serving(Room(runs[0]), *runs) as address, httpx.Client(base_url=address, timeout=30) as client:
        told = client.get("/api/watch").json()
        assert [run["name"] for run in told["runs"]] == ["first", "second"] and told["play"] and told["others"] == []
        assert told["runs"][0]["settings"]["seed"] == "0" and told["runs"][0]["settings"]["simulations"] == "4"
        rows = client.get("/api/watch/curve.csv?name=evaluation/mean_reward&runs=1,0").text.splitlines()
        assert rows == ["run,curve,minutes,env_steps,updates,value", "second,evaluation/mean_reward,0.5,500.0,50.0,1.0",
                        "first,evaluation/mean_reward,0.5,500.0,50.0,0.0"]
        assert "text/html" in client.get("/watch").headers["content-type"]
        for number in (0, 1):
            answer = client.get(f"/api/watch/{number}?x=updates")
            assert answer.json()["curves"]["evaluation/mean_reward"] == [[50, number]]
            assert client.get(f"/api/watch/{number}?x=updates",
                              headers={"if-none-match": answer.headers["etag"]}).status_code == 304
            assert client.get(f"/api/watch/{number}?x=minutes",
                              headers={"if-none-match": answer.headers["etag"]}).status_code == 200
        listed = client.get("/api/watch/0/games").json()
        assert [game["episode"] for game in listed["newest"]] == [3] and listed["rules"]["game"] == "tictactoe"
        game = client.get("/api/watch/0/games/3?from=4").json()
        assert game["length"] == 5 and [position["ply"] for position in game["positions"]] == [4, 5]
        assert game["positions"][1]["over"] and game["positions"][1]["board"]["line"] == [0, 1, 2]
        for wrong, status in (("2", 404), ("99999999999999999999", 404), ("-1", 404), ("first", 404), ("%2e%2e", 404),
                              ("0/../../etc", 404), ("0?x=seconds", 400), ("0?x=%00", 400),
                              ("0?from=nan", 400), ("0?from=5&to=1", 400), ("0?smoothing=2", 400), ("0?to=x", 400),
                              ("curve.csv", 400), ("curve.csv?name=a&runs=9", 404), ("curve.csv?name=a&runs=-1", 400),
                              ("0/games/2", 400),
                              ("0/games/9", 400), ("0/games/99999999999999999999", 400), ("0/games/3?from=6", 400),
                              ("0/games/3?from=-1", 400), ("0/games/3?from=²", 400), ("1/games/0", 400)):
            answer = client.get(f"/api/watch/{wrong}")
            assert answer.status_code == status, wrong
            assert "/" not in answer.text.replace(str(runs[0]), "").replace(str(runs[1]), ""), wrong
        assert client.get("/watch", headers={"host": "evil.example"}).status_code == 421
        assert client.get("/api/watch", headers={"origin": "http://evil.example"}).status_code == 403


def test_watch_server_without_play(runs):
    with serving(None, runs[1]) as address, httpx.Client(base_url=address, timeout=30) as client:
        told = client.get("/api/watch").json()
        assert [run["name"] for run in told["runs"]] == ["second"] and not told["play"]
        assert client.get("/").headers["location"] == "/watch"
        for path in ("/api/run", "/api/stored", "/api/games/x.json"):
            assert client.get(path).status_code == 404 and "Nobody can play here" in client.get(path).text
        assert client.post("/api/games", json={"seats": []}).status_code == 404


def test_run_is_added_to_the_watched_ones(tmp_path):
    shown, other = (untrained_run(tmp_path / "runs" / name, "tictactoe") for name in ("shown", "other"))
    untrained_run(tmp_path / "elsewhere", "tictactoe")
    with serving(None, shown) as address, httpx.Client(base_url=address, timeout=30) as client:
        assert client.get("/api/watch").json()["others"] == ["other"]
        for name in ("elsewhere", "../elsewhere", str(other), "", "."):
            assert client.post("/api/watch", json={"add": name}).status_code == 404, name
        assert client.post("/api/watch", json={"add": 1}).status_code == 400
        for _ in range(2):  # two pages may request it
            assert client.post("/api/watch", json={"add": "other"}).json() == {"number": 1}
        told = client.get("/api/watch").json()
        assert [run["name"] for run in told["runs"]] == ["shown", "other"] and told["others"] == []
        assert client.get("/api/watch/1").json()["name"] == "other"


def test_watching_a_gymnasium_run(tmp_path):
    """Its curves are shown; its episodes are shown by another command."""
    from myosu.algorithms import ppo
    from myosu.runs.config import RunConfig, TrainConfig
    from myosu.training.start import create_run

    config = RunConfig("CartPole-v1", "ppo", ppo.Config(), TrainConfig(env_steps=400))
    folder = create_run(config, tmp_path / "run").folder
    write(folder / "metrics.jsonl", record(1), record(2))
    watched = Watched(folder)
    data = watched.look(Shown("env_steps"))[1]
    assert data["share"] == 0.5 and data["left"] == "about 0:12 left" and data["players"] == 1
    assert "myosu episodes" in watched.games()["why"]


def test_watch_command_reports_a_missing_run(tmp_path, capsys):
    assert cli.run(["watch"]) == 2 and cli.run(["watch", str(tmp_path)]) == 2
    said = capsys.readouterr().err
    assert "Which run?" in said and "There is no run in" in said
