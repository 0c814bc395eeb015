"""Actors on a Ray cluster: one node on this machine, started with scripts/cluster.sh."""

import importlib.util
import json
import multiprocessing
import os
import pickle
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from myosu.algorithms import load_algorithm, load_settings
from myosu.errors import UserError
from myosu.runs.run import open_run
from myosu.sources import relay
from myosu.sources.node_actor import NodeActor
from myosu.sources.ray import ClusterActors, require_cluster
from myosu.sources.relay import Delivery, _Crew, _Node, _Remote, _versions
from myosu.training.start import configure
from myosu.training.trainer import Trainer, train
from toy_runs import TOY, toy_run

SCRIPT = Path(__file__).parents[2] / "scripts" / "cluster.sh"
needs_ray = pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="Ray is not installed (myosu[ray])")
PATIENCE = 120.0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def processes_named(name: str) -> list[int]:
    """Ids of the processes of this test's Ray cluster whose command begins with ``name``."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if (path.read_bytes().startswith(name.encode())
                    and os.environ["RAY_AUTH_TOKEN_PATH"].encode() in path.with_name("environ").read_bytes()):
                found.append(int(path.parent.name))
        except OSError:
            pass
    return found


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """HOST:PORT of a cluster's head with two cores, for two actors."""
    folder, port = tmp_path_factory.mktemp("ray"), free_port()
    # Ray's sockets are in this folder, and their paths are limited to 107 characters.
    temporary = Path(f"/tmp/myosu-ray-{os.getpid()}")
    before = dict(os.environ)
    os.environ |= {"RAY_AUTH_TOKEN_PATH": str(folder / "token"), "RAY_AUTH_MODE": "token", "PORT": str(port),
                   "CORES": "2", "RAY_TMP": str(temporary), "RAY": str(Path(sys.executable).with_name("ray"))}
    head = subprocess.Popen(["sh", str(SCRIPT), "head", "127.0.0.1", "--block"], start_new_session=True,
                            stdout=(folder / "head.log").open("w"), stderr=subprocess.STDOUT)
    deadline = time.monotonic() + PATIENCE
    while "Ray runtime started" not in (folder / "head.log").read_text():
        assert head.poll() is None and time.monotonic() < deadline, (folder / "head.log").read_text()
        time.sleep(0.2)
    yield f"127.0.0.1:{port}"
    head.terminate()  # this ends all of its node's processes
    head.wait(60)
    subprocess.run(["rm", "-rf", str(temporary)], check=True)
    os.environ.clear()
    os.environ |= before


def slow_run(folder: Path):
    """A run whose actors leave the cores to other tests."""
    return toy_run(folder / "run", {"pause": 0.02}, updates=1, deterministic=False)


def published(run, cluster: str, count: int | None = 2) -> ClusterActors:
    actors = ClusterActors(run.config, cluster, count)
    settings, spec = load_settings(run.config), run.config.environment.spec
    actors.publish(load_algorithm(TOY).make_learner(settings, spec, None, 0).weights(), 3)
    return actors


def collect_until(actors: ClusterActors, enough) -> list:
    found, deadline = [], time.monotonic() + PATIENCE
    while not enough(found):
        assert time.monotonic() < deadline, actors.notices()
        found += actors.collect(wait=True)
    return found


@needs_ray
def test_run_trains_on_the_cluster_and_is_resumed(tmp_path, cluster):
    run = toy_run(tmp_path / "run", games=2000, deterministic=False, actors=2)
    first = train(run, quiet=True, cluster=cluster)
    assert first.games >= 2000
    second = train(open_run(run.folder, games=first.games + 1500), quiet=True, cluster=cluster)
    assert second.games >= first.games + 1500 and second.updates >= first.updates
    games = [json.loads(line) for line in (run.folder / "games.jsonl").read_text().splitlines()]
    assert [game["index"] for game in games] == list(range(second.games))
    assert len({game["seed"] for game in games}) == len(games)  # no duplicates: actors play different games
    last = json.loads((run.folder / "metrics.jsonl").read_text().splitlines()[-1])
    assert [value for name, value in last.items() if name.startswith("node/") and name.endswith("/actors")] == [2]
    third = train(open_run(run.folder, games=second.games + 100), quiet=True)  # resume without the cluster
    assert third.games >= second.games + 100 and third.updates > 0


@needs_ray
def test_killed_actors_and_relay_are_replaced(tmp_path, cluster):
    actors = published(slow_run(tmp_path), cluster)
    try:
        found = collect_until(actors, bool)
        assert found[0].weights_version == 3 and found[0].steps > 0
        assert (actors.starts, actors.restarts) == (2, 0)

        os.kill(processes_named("ray::_NodeActor")[0], signal.SIGKILL)
        collect_until(actors, lambda found: actors.starts == 3)
        assert actors.restarts == 1
        assert any("was replaced" in notice for notice in actors.notices())

        (process,) = actors._processes.values()
        os.kill(process.pid, signal.SIGKILL)
        collect_until(actors, lambda found: actors.starts == 5)
        collect_until(actors, bool)
        assert actors.restarts == 2
    finally:
        actors.close()
    deadline = time.monotonic() + PATIENCE
    while processes_named("ray::_NodeActor"):
        assert time.monotonic() < deadline
        time.sleep(0.2)


@needs_ray
def test_new_weights_reach_all_actors_and_held_actors_wait(tmp_path, cluster):
    run = slow_run(tmp_path)
    actors = published(run, cluster)
    try:
        collect_until(actors, bool)
        settings, spec = load_settings(run.config), run.config.environment.spec
        actors.publish(load_algorithm(TOY).make_learner(settings, spec, None, 1).weights(), 4)
        late = collect_until(actors, lambda found: sum(each.weights_version == 4 for each in found) > 6)
        assert {each.weights_version for each in late} == {3, 4} and late[-1].weights_version == 4
        actors.set_paused(True)
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:  # reports in flight still arrive
            time.sleep(2.5)
            if not actors.collect(wait=False):
                break
        else:
            pytest.fail("held actors go on")
        actors.set_paused(False)
        collect_until(actors, bool)
    finally:
        actors.close()


@needs_ray
def test_user_error_on_a_node_ends_training(tmp_path, cluster):
    run = toy_run(tmp_path / "run", updates=1, deterministic=False)
    actors = ClusterActors(run.config, cluster, 1)
    object.__setattr__(run.config, "game", "not_there")  # an environment that this node lacks
    with pytest.raises(UserError, match=r"On the node [\d.]+: .*not_there"):
        try:
            actors.publish({}, 0)
            collect_until(actors, bool)
        finally:
            actors.close()


@needs_ray
def test_wrong_token_is_refused(tmp_path, cluster, monkeypatch):
    wrong = tmp_path / "token"
    wrong.write_text("0" * 64)
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(wrong))
    actors = published(slow_run(tmp_path), cluster)
    try:
        with pytest.raises(UserError, match=f"cluster = {cluster}.*token"):
            collect_until(actors, bool)
    finally:
        actors.close()


# --- without a cluster


@pytest.mark.parametrize("address, what", [("nowhere", "give HOST:PORT"), ("127.0.0.1:x", "give HOST:PORT"),
                                           ("127.0.0.1:{free}", "nothing answers there")])
def test_invalid_or_unreachable_address_is_reported(monkeypatch, address, what):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: True)
    with pytest.raises(UserError, match=what):
        require_cluster(configure("tictactoe"), address.replace("{free}", str(free_port())))


def test_missing_ray_says_what_to_install(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pip install 'myosu\[ray\]'"):
        require_cluster(configure("tictactoe"), "auto")


@pytest.mark.parametrize("config, what", [
    (configure("snake", "ppo"), "ppo acts and learns in turn"),
    (configure("tictactoe", settings={"deterministic": True, "updates": 1}), "deterministic"),
    (configure("tictactoe", settings={"actors": 0}), "actors = 0")])
def test_cluster_is_refused_for_runs_without_actors(config, what):
    with pytest.raises(UserError, match=what):
        require_cluster(config, "auto")


def test_command_reports_unreachable_cluster_and_makes_no_folder(tmp_path):
    pretend = ("import importlib.util as u, sys; found = u.find_spec; "
               "u.find_spec = lambda name, *rest: name == 'ray' or found(name, *rest); from myosu.cli import main; ")
    command = ["myosu", "train", "tictactoe", "--cluster", f"127.0.0.1:{free_port()}", "--run", str(tmp_path / "run")]
    ended = subprocess.run([sys.executable, "-c", f"{pretend} sys.argv = {command!r}; main()"], capture_output=True,
                           text=True)
    assert ended.returncode == 2 and "nothing answers there" in ended.stderr and "Traceback" not in ended.stderr
    assert not (tmp_path / "run").exists()


def test_the_relay_imports_neither_torch_nor_numba():
    code = "import sys, myosu.sources.relay; assert not {'torch', 'numba', 'ray'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_address_of_another_service_is_reported(monkeypatch):
    """Ray itself would try to connect for minutes."""
    ours, theirs = multiprocessing.Pipe()

    def never(address: str, patient: bool) -> bool:
        assert ours.poll(PATIENCE)  # the learner has received the error
        raise UserError("Ray gives up")

    monkeypatch.setattr(relay, "_connected", never)
    monkeypatch.setattr(relay, "JOIN_SECONDS", 0.1)
    monkeypatch.setattr(os, "_exit", lambda code: None)
    before = signal.getsignal(signal.SIGTERM)
    relay.run_relay(theirs, os.getppid(), {}, b"", "10.0.0.1:80", None, 0, False)
    signal.signal(signal.SIGTERM, before)
    told = ours.recv()
    assert told.fixable and "10.0.0.1:80: the server there" in told.error


def test_actor_plays_on_before_its_report_is_collected():
    crew = _Crew.__new__(_Crew)
    played = []
    handle = SimpleNamespace(play=SimpleNamespace(remote=lambda *call: played.append(call) or f"call {len(played)}"))
    crew.ray = SimpleNamespace(wait=lambda calls, **_: (calls, []), exceptions=SimpleNamespace(RayError=OSError),
                               get=lambda call: Delivery(call.encode(), 3, 10, "", False))
    crew.nodes, crew.calls, crew.version, crew.weights = {"a": _Node("10.0.0.1", 1, 1)}, {}, 3, "weights"
    crew.call(_Remote(handle, "a"))
    reports = crew.take_reports()
    assert next(reports) == b"call 1"
    assert list(crew.calls) == ["call 2"] and crew.nodes["a"].steps == 10
    assert played == [(3, "weights"), (3, None)]  # the same weights are sent once


def test_ray_is_not_imported_without_the_flag():
    code = "import sys, myosu.api, myosu.sources.ray; assert 'ray' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("there, what", [
    ({}, ""), ({"Myosu": "0.0.9"}, "has Myosu 0.0.9, here"), ({"Python": "3.9.1"}, "has Python 3.9.1, here"),
    ({"Myosu's code": "0"}, "has Myosu's code 0, here"), ({"Myosu": None}, "has no Myosu")])
def test_nodes_must_have_the_same_python_and_myosu(there, what):
    crew = _Crew.__new__(_Crew)
    crew.ask_versions = lambda node: _versions()() | there
    assert crew.misfit("node").startswith(what) and bool(crew.misfit("node")) == bool(what)


def test_an_actor_reports_after_enough_episodes_or_a_second(tmp_path):
    run = toy_run(tmp_path / "run", updates=1, deterministic=False)
    actor = NodeActor(run.config.to_json(), b"", frozenset({"*"}), 0)
    settings, spec = load_settings(run.config), run.config.environment.spec
    from safetensors.torch import save

    weights = save(load_algorithm(TOY).make_learner(settings, spec, None, 0).weights())
    delivery = actor.play(7, weights)
    report = pickle.loads(delivery.packed)
    assert delivery.version == report.version == 7 and not delivery.error
    assert len(report.experience.episodes) >= 32 and delivery.steps == report.experience.steps > 0


def test_waiting_learner_does_not_hold_its_source(tmp_path):
    """Regression: with a full replay buffer after resuming, and a source that did not know its number of actors yet,
    both waited for each other."""
    trainer = Trainer(toy_run(tmp_path / "run", updates=1, deterministic=False), quiet=True)
    trainer.source.slack = 0
    trainer.replay = SimpleNamespace(positions=10_000, total_positions=10_000)
    allowed = trainer.settings.replay_ratio * 10_000
    trainer.samples = int(allowed - trainer.settings.batch_size / 2)
    assert not trainer.can_learn() and not trainer.must_pause_source()
    trainer.samples = int(allowed - 2 * trainer.settings.batch_size)
    assert trainer.can_learn() and trainer.must_pause_source()
    trainer.close()
