"""The index of a run's episodes, and their videos: made again from seed and actions, or beside the training."""

import json
import subprocess
import sys
from contextlib import closing
from dataclasses import replace

import imageio.v2 as imageio
import numpy as np
import pytest

from myosu import cli, trust
from myosu.algorithms import load_algorithm
from myosu.algorithms.recorder import EpisodeRecorder
from myosu.envs.playback import Playback, actions_of
from myosu.envs.registry import load_environment
from myosu.errors import UserError
from myosu.games import load_game
from myosu.runs.config import RunConfig, TrainConfig
from myosu.runs.games import GameRecord
from myosu.runs.metrics import Metrics
from myosu.runs.run import open_run
from myosu.runs.videos import find_videos, video_path
from myosu.training.start import create_run
from myosu.training.trainer import train
from myosu.training.videos import VideoProcess
from toy_runs import toy_run


def played(environment, count, seed=0):
    """``count`` episodes of random actions."""
    rng, episodes = np.random.default_rng(seed), []
    with closing(environment.make(2, seed)) as env:
        recorder = EpisodeRecorder(environment.spec, 2)
        env.reset()
        step = env.recv()
        recorder.start(step)
        while len(episodes) < count:
            if environment.spec.action_low:
                actions = rng.uniform(-3, 3, (2, *environment.spec.action_shape)).astype(np.float32)  # beyond bounds
            else:
                actions = np.array([rng.choice(np.flatnonzero(mask)) for mask in step.legal_actions])
            env.send(actions, np.arange(2))
            step = env.recv()
            episodes += recorder.record(step, actions, 0)
    return episodes[:count]


def random_run(folder, name, count=15, **kwargs):
    """A run whose episodes are random; nothing learns."""
    run = create_run(RunConfig(name, "ppo", load_algorithm("ppo").Config(), TrainConfig(updates=1), env_kwargs=kwargs),
                     folder)
    metrics = Metrics(run, 0, 0, 0)
    steps = 0
    for index, episode in enumerate(played(run.config.environment, count)):
        steps += episode.length
        metrics.add_episode(episode, index, steps)
    metrics.close()
    return folder


def lines(folder):
    return [json.loads(line) for line in (folder / "games.jsonl").read_text().splitlines()]


def frames(path):
    with imageio.get_reader(path) as reader:
        return [picture for picture in reader]  # list(reader) would ask it for its length, which is infinite


def episodes(*arguments):
    try:
        return cli.run(["episodes", *map(str, arguments)])
    except SystemExit as end:
        return end.code


@pytest.fixture(scope="module")
def tictactoe(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "tictactoe"
    train(toy_run(folder, updates=40), quiet=True)
    return folder


@pytest.fixture(scope="module")
def cartpole(tmp_path_factory):
    pytest.importorskip("pygame")
    return random_run(tmp_path_factory.mktemp("runs") / "cartpole", "CartPole-v1")


def test_episodes_command_lists_the_last_episodes(tictactoe, capsys):
    games = lines(tictactoe)
    assert episodes(tictactoe, "--last", 12, "--json") == 0
    shown = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert shown == [{**game, "video": None} for game in games[-12:]]
    assert episodes(tictactoe) == 0
    table = capsys.readouterr().out.splitlines()
    assert len(table) == 21 and "raw" not in table[0]
    for row, game in zip(table[1:], games[-20:], strict=True):
        first, second = (f"{value + 0.0:g}" for value in game["returns"])
        assert row.split() == [str(game["index"]), str(game["env_steps"]), str(game["length"]), first, "/", second,
                               str(game["seed"]), str(game["weights_version"]), *["actions"] * ("actions" in game)]


def test_episodes_command_lists_the_best_episodes(cartpole, capsys):
    assert episodes(cartpole, "--best", 5, "--json") == 0
    shown = [json.loads(line)["returns"][0] for line in capsys.readouterr().out.splitlines()]
    assert shown == sorted((game["returns"][0] for game in lines(cartpole)), reverse=True)[:5]


def test_incomplete_last_line_is_not_read(tmp_path, capsys, caplog):
    folder = random_run(tmp_path / "run", "filmed_envs:Filmed-v0", 2)
    whole = (folder / "games.jsonl").read_text()
    (folder / "games.jsonl").write_text(whole + '{"index": 2, "env')
    assert episodes(folder, "--json") == 0 and len(capsys.readouterr().out.splitlines()) == 2
    first, second = whole.splitlines(keepends=True)
    (folder / "games.jsonl").write_text(first + "nonsense\n" + first.replace("5", '"5"', 1) + second)
    assert episodes(folder, "--json") == 0 and len(capsys.readouterr().out.splitlines()) == 2  # what is whole is used
    assert "games.jsonl, line 2, is damaged and left out: it is not JSON" in caplog.text
    (folder / "games.jsonl").unlink()
    assert episodes(folder) == 0 and "has ended yet" in capsys.readouterr().out


def test_video_of_a_game(tictactoe, capsys):
    game = next(game for game in lines(tictactoe) if game["index"] == 20)
    assert episodes(tictactoe, "--video", 20) == 0
    path = tictactoe / "videos" / "episode-000020.mp4"
    assert str(path) in capsys.readouterr().out
    pictures = frames(path)
    assert len(pictures) == game["length"] + 1
    rules, state = load_game("tictactoe"), load_game("tictactoe").new_states(1)[0]
    for action, picture in zip([None, *game["actions"]], pictures, strict=True):
        if action is not None:
            rules.step(state, action)
        assert np.abs(picture.astype(float) - rules.draw(state)).mean() < 4, "equal but for losses of compression"
    episodes(tictactoe, "--last", 10**6, "--json")
    shown = {line["index"]: line["video"] for line in map(json.loads, capsys.readouterr().out.splitlines())}
    assert {index for index, video in shown.items() if video} == {20} and shown[20] == str(path)
    assert [file.name for file in path.parent.iterdir()] == [path.name], "no temporary files of the video may stay"


def test_video_of_the_best_episode(cartpole, tmp_path, capsys):
    best = max((game for game in lines(cartpole) if "actions" in game), key=lambda game: game["returns"])
    assert episodes(cartpole, "--video", "best", "-o", tmp_path / "new" / "best.mp4", "--json") == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown == {**best, "video": str(tmp_path / "new" / "best.mp4")}
    with imageio.get_reader(shown["video"]) as reader:
        assert reader.get_meta_data()["fps"] == 50 and sum(1 for _ in reader) == best["length"] + 1


def test_gif_has_a_frame_for_every_position(tictactoe, tmp_path):
    game = lines(tictactoe)[0]
    assert episodes(tictactoe, "--video", 0, "-o", tmp_path / "a.gif") == 0
    assert len(frames(tmp_path / "a.gif")) == game["length"] + 1


def test_frames_of_odd_size_are_padded(tmp_path):
    folder = random_run(tmp_path / "run", "filmed_envs:Filmed-v0", 1)
    assert episodes(folder, "--video", 0) == 0
    pictures = frames(folder / "videos" / "episode-000000.mp4")
    assert len(pictures) == 6 and pictures[0].shape == (32, 46, 3)
    assert [int((picture[15, :, 0] > 128).sum()) for picture in pictures] == [0, 8, 16, 24, 32, 40]


@pytest.mark.parametrize("name, kwargs", [
    ("snake", {}), ("woodoku", {}), ("CartPole-v1", {}), ("filmed_envs:Filmed-v0", {"max_episode_steps": 3}),
    ("Pendulum-v1", {"max_episode_steps": 4}),
])
def test_same_seed_and_actions_replay_the_same_episode(name, kwargs):
    if name in ("CartPole-v1", "Pendulum-v1"):
        pytest.importorskip("pygame")
    environment = load_environment(name, kwargs)
    with closing(Playback(environment)) as playback:
        for episode in played(environment, 4, seed=7):
            images = list(playback.images(episode.seed, episode.actions))
            assert len(images) == episode.length + 1 == playback.length + 1
            assert playback.returns == pytest.approx(episode.returns, rel=1e-6)
            assert playback.terminated != episode.truncated
            assert all(image.shape == images[0].shape and image.dtype == np.uint8 for image in images)


@pytest.mark.parametrize("name", ["othello", "connect_four"])
def test_replay_gives_both_seats_their_returns(name):
    rules = load_game(name)
    state, mask, actions, totals = rules.new_states(1)[0], np.zeros(rules.num_actions, np.bool_), [], [0.0, 0.0]
    rng, ended = np.random.default_rng(1), False
    while not ended:
        rules.legal_actions(state, mask)
        actions.append(int(rng.choice(np.flatnonzero(mask))))
        seat = rules.to_play(state)
        reward, ended = rules.step(state, actions[-1])
        totals[seat] += reward
        totals[1 - seat] -= reward
    with closing(Playback(load_environment(name))) as playback:
        *_, last = playback.images(0, actions)
    assert playback.returns.tolist() == totals and playback.terminated
    assert np.array_equal(last, rules.draw(state))


def test_video_of_a_nondeterministic_environment_warns(tmp_path, capsys):
    folder = random_run(tmp_path / "run", "filmed_envs:Forgetful-v0", 1)
    assert episodes(folder, "--video", 0) == 1
    message = capsys.readouterr().err
    assert "episode 0 does not show what happened" in message and "does not do the same after the same seed" in message
    assert len(frames(folder / "videos" / "episode-000000.mp4")) == 6


@pytest.mark.parametrize("kind", ["mp4", "gif"])
@pytest.mark.parametrize("name, message", [
    ("filmed_envs:Counter-v0", "unexpected keyword argument 'render_mode'"),
    ("filmed_envs:Blind-v0", "render() gave NoneType"),
])
def test_environment_without_rendering_is_refused(tmp_path, capsys, name, message, kind):
    folder = random_run(tmp_path / "run", name, 1)
    assert episodes(folder, "--video", 0, "-o", folder / "videos" / f"episode-0.{kind}") == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and message in error and "It must take render_mode=\"rgb_array\"" in error
    assert not (folder / "videos").exists() or not list((folder / "videos").iterdir())


@pytest.mark.parametrize("arguments, message", [
    ("--video 3", "The actions of episode 3 were not recorded. The nearest that were: 0 and 10."),
    ("--video 99999", "There is no episode 99999"),
    ("--video=-1", "There is no episode -1"),
    ("--video 0 -o film.avi", "-o film.avi: a video is an .mp4 or .gif file."),
    ("-o film.mp4", "add --video INDEX"),
    ("--video first", "--video"),
    ("--video 0 -o /proc/film.gif", "/proc/film.gif cannot be written"),
    ("--video 0 -o /proc/film.mp4", "/proc/film.mp4 cannot be written"),
    ("--last 0", "--last 0: it must be 1 or more"),
    ("--best 0", "--best 0: it must be 1 or more"),
])
def test_invalid_arguments_are_refused(tictactoe, capsys, arguments, message):
    assert episodes(tictactoe, *arguments.split()) == 2
    out, err = capsys.readouterr()
    assert message in err and "Traceback" not in err and out == ""


def test_missing_run_is_reported(tmp_path, capsys):
    assert episodes(tmp_path / "nowhere") == 2
    assert "it is neither a run, nor a folder" in capsys.readouterr().err


def test_missing_imageio_is_reported(tictactoe, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    assert episodes(tictactoe, "--video", 0, "-o", tmp_path / "a.mp4") == 2
    assert capsys.readouterr().err == 'myosu: Videos need imageio: pip install "myosu[video]"\n'
    with pytest.raises(UserError, match="Videos need imageio"):
        train(toy_run(tmp_path / "run", updates=10, video_every=5), quiet=True)


# --- beside the training


def test_which_episodes_are_filmed(tmp_path):
    run = toy_run(tmp_path / "run", updates=1, video_every=4)
    metrics = Metrics(run, 0, 0, 0)
    returns = [5.0, 1.0, 7.0, 7.0, 3.0, 2.0, 9.0]
    filmed = [metrics.add_episode(GameRecord(index, [0, 0], [value], True, False), index, 0)
              for index, value in enumerate(returns)]
    metrics.close()
    assert [record.index for record in filmed if record] == [0, 2, 4, 6]
    assert [game["index"] for game in lines(run.folder) if "actions" in game] == [0, 2, 4, 6]
    with pytest.raises(UserError, match="video_every must be 0"):
        TrainConfig(updates=1, video_every=-1)


def test_reused_episode_index_deletes_its_old_video(tmp_path):
    folder = random_run(tmp_path / "run", "filmed_envs:Filmed-v0", 5)
    (folder / "videos").mkdir()
    for index in range(5):
        video_path(folder, index).touch()
    video_path(folder, 4).with_suffix(".gif").touch()
    Metrics(open_run(folder), 0, 0, 3).close()
    assert [index for index, _ in find_videos(folder)] == [0, 1, 2]


@pytest.fixture
def patience(monkeypatch):
    """However busy the machine is."""
    monkeypatch.setattr("myosu.training.trainer.VIDEO_SECONDS", 500)


def test_videos_are_made_during_training(tmp_path, patience):
    folder = tmp_path / "run"
    result = train(toy_run(folder, updates=100, video_every=7), quiet=True)
    videos = find_videos(folder)
    assert videos and result.reason == "100 updates"
    for index, path in videos:
        game = lines(folder)[index]
        assert index % 7 == 0 and len(game["actions"]) == game["length"] == len(frames(path)) - 1


@pytest.mark.parametrize("name, message", [
    ("Blind", "No more videos are made: filmed_envs:Blind-v0 renders no images"),
    ("Forgetful", "does not show what happened"),
])
def test_training_continues_if_videos_fail(tmp_path, capsys, name, message, patience):
    settings = load_algorithm("ppo").Config(num_envs=2, rollout_steps=16, batch_size=32)
    run = create_run(RunConfig(f"filmed_envs:{name}-v0", "ppo", settings,
                               TrainConfig(env_steps=500, evaluate_every=0, video_every=5)), tmp_path / "run")
    result = train(run)
    assert result.env_steps >= 500 and result.games >= 90
    assert capsys.readouterr().out.count(message) == 1


def test_video_process_does_not_import_torch():
    script = "import sys, myosu.training.videos; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


def test_dead_video_process_is_reported_once(tmp_path):
    run = toy_run(tmp_path / "run", updates=1, video_every=1)
    videos = VideoProcess(run)
    videos.submit({"index": 0})
    videos._process.kill()
    assert videos.notices(timeout=60) == ["No more videos are made: the process that makes them died (exit code -9)"]
    videos.submit({"index": 1})
    assert not videos.busy and videos.notices() == []
    videos.close()


@pytest.mark.parametrize("name", ["CartPole-v1", "filmed_envs:Filmed-v0", "tictactoe", "snake"])
def test_record_reproduces_every_move(tmp_path, name):
    """One record for native games and Gymnasium environments: what the player saw, did and earned."""
    environment = load_environment(name)
    for episode in played(environment, 3, seed=5):
        record = replace(episode, game=name)
        assert GameRecord.from_json(json.loads(json.dumps(record.to_json()))) == record
        trust.agree(trust.source_of(name))
        moves = list(record.moves())
        assert len(moves) == episode.length and moves[-1].terminated != episode.truncated
        assert [move.seat for move in moves] == [ply % len(episode.returns) for ply in range(episode.length)]
        assert np.sum([move.rewards for move in moves], axis=0) == pytest.approx(episode.returns)
        assert np.array_equal([move.action for move in moves], episode.actions)
        assert all(move.legal_actions[move.action] for move in moves)
        assert {move.observation.shape for move in moves} == {environment.spec.observation_shape}
        other = replace(record, returns=[value + 1 for value in record.returns])
        with pytest.raises(UserError, match="played again it has"):
            list(other.moves())
    with pytest.raises(UserError, match="recorded action must be"):
        list(replace(record, actions=["x"]).moves())
    with pytest.raises(UserError, match="so it cannot be replayed"):
        list(replace(record, actions=None).moves())


@pytest.mark.parametrize("actions", [[[0, 1]], [300.5], [10**30], [[0], [1, 2]], [float("nan")], ["0"], [None]])
def test_invalid_recorded_actions_are_refused(actions):
    with pytest.raises(UserError, match="recorded action must be"):
        actions_of(load_environment("CartPole-v1").spec, actions)
