"""Cards, and agents on a stand-in of the Hub: what arrives is what was sent, or nothing."""

import json
import shutil

import pytest

import myosu
from hub_stand_in import hub
from myosu.errors import UserError
from myosu.runs.checkpoint import Checkpoints, _digest, _write_manifest, find_checkpoint
from myosu.sharing.card import train_command, without_folders, write_card
from myosu.training.start import configure
from web_runs import untrained_run

pytest.importorskip("huggingface_hub")
from myosu.sharing.hub import pull, push


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return untrained_run(tmp_path_factory.mktemp("sharing") / "mine", "tictactoe")


@pytest.fixture
def server(monkeypatch, tmp_path):
    monkeypatch.setenv("HF_HUB_DISABLE_TELEMETRY", "1")
    with hub() as running:
        yield running


def pulled(server, folder, **more):
    return pull("me/mine", folder, endpoint=server.endpoint, **more)


def rewrite(server, change):
    """Change the manifest of what was pushed; its own sum is made to hold again."""
    files = server.repos["me/mine"]
    manifest = json.loads(files["manifest.json"])
    manifest.pop("sha256")
    change(manifest)
    files["manifest.json"] = json.dumps({**manifest, "sha256": _digest(manifest)}).encode()


def test_a_pushed_and_pulled_agent_has_equal_weights(run, server, tmp_path):
    address = push(run, "me/mine", "mit", endpoint=server.endpoint)
    assert address.endswith("me/mine")
    assert set(server.repos["me/mine"]) == {"manifest.json", "weights.safetensors", "README.md"}
    place = pulled(server, tmp_path / "got")
    assert place == tmp_path / "got/checkpoints/update-00000001"
    sent, came = find_checkpoint(run).weights(), find_checkpoint(tmp_path / "got").weights()
    assert sent.keys() == came.keys() and all(sent[name].equal(came[name]) for name in sent)
    assert "license: \"mit\"" in (tmp_path / "got/README.md").read_text()
    assert not [path for path in tmp_path.iterdir() if path.name != "got"], "no partial download is left"
    assert myosu.evaluate(tmp_path / "got", games=4)["games"] == 4


def test_only_needed_files_are_fetched(run, server, tmp_path):
    push(run, "me/mine", endpoint=server.endpoint)
    server.repos["me/mine"] |= {"evil.py": b"raise SystemExit('ran')", "model.pkl": b"x", "sub/x.bin": b"y"}
    told = []
    pulled(server, tmp_path / "got", say=told.append)
    assert {path.name for path in (tmp_path / "got").rglob("*") if path.is_file()} == {
        "README.md", "manifest.json", "weights.safetensors"}
    assert "evil.py" in told[0] and "model.pkl" in told[0]
    assert not any("evil" in path for path in server.asked if "resolve" in path)


def flip_a_weight(server):
    content = bytearray(server.repos["me/mine"]["weights.safetensors"])
    content[-1] ^= 1
    server.repos["me/mine"]["weights.safetensors"] = bytes(content)


def name_a_file(manifest):
    manifest["config"]["game"] = "/tmp/evil.py"


def name_an_algorithm(manifest):
    manifest["config"]["algorithm"] = "evil:Algorithm"


def another_format(manifest):
    manifest["format"] = 2


def other_shapes(manifest):
    manifest["config"]["algorithm_config"]["channels"] = 8


@pytest.mark.parametrize(("damage", "message"), [
    (flip_a_weight, "weights.safetensors was changed after it was written"),
    (lambda server: server.repos["me/mine"].update({"weights.safetensors": b"short"}), "has 5 bytes instead of"),
    (lambda server: server.repos["me/mine"].pop("weights.safetensors"), "weights.safetensors is missing"),
    (lambda server: server.repos["me/mine"].update({"manifest.json": b"{}"}), "manifest.json"),
    (lambda server: server.repos["me/mine"].update({"manifest.json": b"{" + b" " * 2_000_000}), "not a Myosu manifest"),
    (lambda server: rewrite(server, name_a_file), "names code in files (/tmp/evil.py)"),
    (lambda server: rewrite(server, name_an_algorithm), "names code"),
    (lambda server: rewrite(server, another_format), "Install a newer one"),
    (lambda server: rewrite(server, other_shapes), "use that version"),
    (lambda server: setattr(server, "refuse", 401), "Log in first"),
    (lambda server: server.repos.clear(), "Is the name right?"),
], ids=["a flipped bit", "short weights", "no weights", "an empty manifest", "a huge manifest", "a game in a file",
        "a strange algorithm", "another format", "other shapes", "no login", "no repository"])
def test_unusable_repositories_are_reported_and_not_kept(run, server, tmp_path, damage, message):
    push(run, "me/mine", endpoint=server.endpoint)
    damage(server)
    with pytest.raises(UserError) as error:
        pulled(server, tmp_path / "got")
    assert message in str(error.value) and "\n" not in str(error.value)
    assert "earlier checkpoint" not in str(error.value) and str(tmp_path) not in str(error.value)
    assert list(tmp_path.iterdir()) == []


def test_pulling_into_an_existing_folder_is_refused(run, server, tmp_path):
    push(run, "me/mine", endpoint=server.endpoint)
    (tmp_path / "got").mkdir()
    with pytest.raises(UserError, match="exists already"):
        pulled(server, tmp_path / "got")


@pytest.mark.parametrize("name", ["mine", "me/../mine", "me/mine/more", "", "me/ mine"])
def test_invalid_repository_names_are_refused(run, name, tmp_path):
    with pytest.raises(UserError, match="USER/NAME"):
        push(run, name)
    with pytest.raises(UserError, match="USER/NAME"):
        pull(name, tmp_path / "got")


def test_own_code_and_local_folders_are_not_pushed(run, server, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(run, copy)
    checkpoint = find_checkpoint(copy)
    secret = {**checkpoint.manifest["config"]["train"], "evaluation_opponent": "/home/someone/runs/rival"}
    _write_manifest(checkpoint.path, {**checkpoint.manifest, "config": {
        **checkpoint.manifest["config"], "train": secret}})
    push(copy, "me/mine", endpoint=server.endpoint)
    assert b"/home/someone" not in b"".join(server.repos["me/mine"].values())
    own = tmp_path / "mygame.py"
    own.write_text("raise SystemExit('ran')")
    _write_manifest(checkpoint.path, {**checkpoint.manifest, "config": {
        **checkpoint.manifest["config"], "game": str(own)}})
    with pytest.raises(UserError, match="code that nobody else has"):
        push(copy, "me/other", endpoint=server.endpoint)
    assert "me/other" not in server.repos


def test_card_states_the_training_and_the_results(run, tmp_path):
    lines = [{"kind": "evaluation", "update": 1, "game": "tictactoe", "opponent": "greedy", "games": 40,
              "mean_reward": 0.5, "mean_reward_ci95": [0.25, 0.75], "win_rate": 0.7, "win_rate_ci95": [0.55, 0.85],
              "draw_rate": 0.1, "training_seconds": 60.0, "env_steps": 500}]
    copy = tmp_path / "run"
    shutil.copytree(run, copy)
    (copy / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    card = write_card(copy, tmp_path / "card", "mit").read_text()
    assert "| greedy, update 1 | 40 | 0.5 (0.25 to 0.75) | 70% (55% to 85%) | 10% |" in card
    assert "myosu train tictactoe --algorithm muzero --channels 4 --blocks 0 --simulations 4" in card
    assert 'license: "mit"' in card and "## Licence\n\nmit" in card
    assert "![" in card and (tmp_path / "card/curve.png").stat().st_size > 1000
    assert str(tmp_path) not in card
    assert "None was given" in write_card(copy, tmp_path / "second").read_text()


def test_absolute_folders_in_settings_are_shortened():
    settings = {"recordings": ["/home/someone/runs/a", "runs/b"], "hidden": [8, 8], "activation": "tanh",
                "device": None}
    assert without_folders(settings) == {"recordings": ["a", "runs/b"], "hidden": [8, 8], "activation": "tanh",
                                         "device": None}


def test_card_command_reproduces_the_settings():
    given = {"minutes": 3.0, "seed": 5, "learning_rate": 0.0123, "anneal_learning_rate": False, "hidden": (32, 16)}
    config = configure("CartPole-v1", "ppo", given)
    command = train_command(config).split()
    assert command[:5] == ["myosu", "train", "CartPole-v1", "--algorithm", "ppo"]
    assert "--no-anneal-learning-rate" in command
    assert command[command.index("--hidden"):][:3] == ["--hidden", "32", "16"]
    assert "--epochs" not in command, "values of the preset are omitted"
    assert command[command.index("--seed") + 1] == "5" and command[command.index("--minutes") + 1] == "3.0"


def test_card_of_an_agent_without_evaluations(run, tmp_path):
    folder = Checkpoints(run / "checkpoints").latest()
    assert "It was not evaluated." in write_card(folder, tmp_path / "card").read_text()
