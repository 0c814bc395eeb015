"""MuZero's signs, targets and bookkeeping, and that it learns; with what a broken part would do."""

import dataclasses

import numpy as np
import pytest
import torch

from myosu.algorithms import muzero
from myosu.envs.native import NativeVectorEnv, game_spec
from myosu.errors import NonFiniteLoss, UserError
from myosu.games import load_game
from myosu.losses.categorical import WIDEST
from myosu.replay.replay import Replay
from myosu.replay.unroll import UnrollSettings, lambda_returns, sample_unrolled

TINY = muzero.Config(channels=16, blocks=1, atoms=11, simulations=8, num_envs=16, batch_size=32, unroll_steps=3,
                     learning_starts=100, replay_capacity=5000, precision="float32", device="cpu")


def play(config, game_name="tictactoe", games=40, seed=0):
    game = load_game(game_name)
    actor = muzero.make_actor(config, NativeVectorEnv(game, config.num_envs, seed), seed)
    played = []
    while len(played) < games:
        experience = actor.step()
        played += zip(experience.sequences, experience.episodes, strict=True)
    return game, actor, played


def test_int8_search_is_close_to_float32():
    """The same network and noise; the Q of a random network are so alike that they must not decide. Agents that play
    as strongly as they can are in float32 either way."""
    config = dataclasses.replace(TINY, c_scale=0.02)
    actors = [play(dataclasses.replace(config, precision=precision))[1] for precision in ("float32", "int8")]
    if actors[1].planner.precision != "int8":
        pytest.skip("this processor does not multiply bytes")
    net = actors[0].planner.net
    for head in (net.policy, net.value, net.reward):
        torch.nn.init.normal_(head.out.weight, std=0.3)
    now, noise, policies = actors[0].current, actors[0].planner.search.state_dict(), []
    for actor in actors:
        actor.load_weights(net.state_dict(), version=1)
        actor.planner.search.load_state_dict(noise)
        policies.append(actor.planner.plan(now.observation, now.legal_actions)[0].policy)
    assert policies[0].max(axis=1).mean() > 0.3, "the policies must not be nearly uniform"
    assert np.abs(policies[0] - policies[1]).sum(axis=1).mean() < 0.2
    agent = muzero.make_agent(dataclasses.replace(TINY, precision="int8"), actors[0].spec, net.state_dict())
    assert agent.planner.precision == "float32"


def filled(config, game_name="tictactoe", games=40):
    game, actor, played = play(config, game_name, games)
    replay = muzero.make_replay(config, actor.spec)
    for rows, _ in played:
        replay.add(rows, version=0)
    return game, actor, replay


def returns_of(rows, discount=-1.0):
    """What a learner makes of the rows of one game."""
    columns = {name: (column.shape[1:], column.dtype) for name, column in rows.items()}
    replay = Replay(columns, 1000)
    return lambda_returns(replay.columns, replay.add(rows, version=0), discount)


@pytest.mark.parametrize(("search", "precision"), [("gumbel", "float32"), ("puct", "float32"), ("gumbel", "int8")])
def test_stored_rows_match_a_replay_of_the_actions(search, precision):
    """Every stored position is the game's own, and its return is the final reward in the mover's eyes."""
    game, _, played = play(dataclasses.replace(TINY, search=search, precision=precision))
    for rows, episode in played:
        states = game.new_states(1)
        observation = np.zeros((1, *game.observation_shape), game.observation_dtype)
        legal = np.zeros((1, game.num_actions), np.bool_)
        reward, terminated = np.zeros(1, np.float32), np.zeros(1, np.bool_)
        for t, action in enumerate(episode.actions):
            game.batch.observe(states, observation)
            game.batch.legal_actions(states, legal)
            assert np.array_equal(observation[0], rows["observation"][t])
            assert np.array_equal(legal[0], rows["legal_actions"][t])
            assert rows["policy"][t][~legal[0]].sum() == 0 and legal[0, action]
            assert abs(float(rows["policy"][t].sum()) - 1) < 1e-2
            game.batch.step(states, np.array([action]), reward, terminated)
            assert reward[0] == rows["reward"][t]
            assert terminated[0] == (t == episode.length - 1)
        last_mover = (episode.length - 1) % 2
        expected = [reward[0] if t % 2 == last_mover else -reward[0] for t in range(episode.length)]
        assert returns_of(rows).tolist() == expected
        assert episode.returns[last_mover] == reward[0] and sum(episode.returns) == 0


def test_random_openings_are_played_and_not_recorded():
    config = dataclasses.replace(TINY, opening_plies=4)
    _, _, played = play(config, games=60)
    openings = [episode.length - len(rows["action"]) for rows, episode in played]
    assert set(openings) == {0, 1, 2, 3, 4}
    for opening, (rows, episode) in zip(openings, played, strict=True):
        assert np.array_equal(episode.actions[opening:], rows["action"])
        assert episode.returns[(episode.length - 1) % 2] == rows["reward"][-1]
    assert len({tuple(episode.actions[:3]) for opening, (_, episode) in zip(openings, played, strict=True)
                if opening >= 3}) > 5


def test_final_pieces_are_the_last_board_from_the_movers_view():
    config = dataclasses.replace(TINY, ownership_loss_weight=1.0)
    game, _, played = play(config, games=10)
    for rows, episode in played:
        states = game.new_states(1)
        for action in episode.actions:
            mover = int(states["player"][0])
            game.batch.step(states, np.array([action]), np.zeros(1, np.float32), np.zeros(1, np.bool_))
        board = states["board"][0].reshape(3, 3)
        for t in range(episode.length):
            assert np.array_equal(rows["final_pieces"][t], [board == t % 2, board == 1 - t % 2])
        assert mover == (episode.length - 1) % 2


def test_truncated_games_bootstrap_from_the_final_observation(monkeypatch):
    """Cut after 4 plies: the last return is 0 + (−1)·v(final), with v the network's value for the next player."""
    game = dataclasses.replace(load_game("tictactoe"), max_plies=4)
    actor = muzero.make_actor(TINY, NativeVectorEnv(game, 4, 0), 0)
    monkeypatch.setattr(actor.planner, "_scalar", lambda logits: np.full(len(logits), 0.25, np.float32))
    played = []
    while len(played) < 4:
        experience = actor.step()
        played += zip(experience.sequences, experience.episodes, strict=True)
    for rows, episode in played:
        assert episode.truncated and episode.length == 4
        assert returns_of(rows).tolist() == [0.25, -0.25, 0.25, -0.25]


def test_support_follows_the_reward_range():
    othello = game_spec(load_game("othello"))
    single = dataclasses.replace(othello, num_players=1)
    assert (muzero.value_support(TINY, othello).low, muzero.value_support(TINY, othello).high) == (-32, 32)
    lopsided = dataclasses.replace(othello, reward_range=(0.0, 5.0))
    assert muzero.value_support(TINY, lopsided).low == -5, "the other player sees the negative"
    assert muzero.value_support(TINY, dataclasses.replace(single, reward_range=(0.0, 5.0))).low == 0
    unknown = muzero.value_support(TINY, dataclasses.replace(single, reward_range=(-np.inf, np.inf)))
    assert unknown.high == WIDEST and unknown.squeezed
    net = muzero.make_net(TINY, dataclasses.replace(single, reward_range=(0.0, 1000.0)))
    _, value, _ = net.eval().initial(torch.zeros(1, *othello.observation_shape, dtype=torch.uint8))
    support = muzero.value_support(TINY, dataclasses.replace(single, reward_range=(0.0, 1000.0)))
    assert support.mean(value).item() < 30, "an untrained value must be near 0, not in the middle of the range"


def test_least_q_range_differs_between_play_and_self_play():
    config = dataclasses.replace(TINY, least_q_range=0.1, play_least_q_range=0.25)
    spec = game_spec(load_game("othello"))  # values in [-32, 32]
    agent = muzero.make_agent(config, spec, muzero.make_net(config, spec).state_dict())
    actor = muzero.make_actor(config, NativeVectorEnv(load_game("othello"), config.num_envs, 0), 0)
    assert agent.planner.search.config.least_q_range == pytest.approx(16.0)
    assert actor.planner.search.config.least_q_range == pytest.approx(6.4)


@pytest.mark.parametrize("field", [{"batch_size": 0}, {"discount": 1.5}, {"search_value_weight": -0.1},
                                   {"play_least_q_range": 1.5}, {"learning_starts": 10**6},
                                   {"td_lambda": -0.1}, {"td_lambda": 0.9, "td_steps": 3}])
def test_invalid_settings_are_refused_by_name(field):
    with pytest.raises(UserError, match=next(iter(field))):
        dataclasses.replace(TINY, **field)


def test_non_finite_loss_reports_its_batch():
    game, actor, replay = filled(TINY)
    learner = muzero.make_learner(TINY, actor.spec, game.symmetries, 0)
    before = learner.weights()
    replay.columns["reward"][:] = np.nan
    with pytest.raises(NonFiniteLoss) as caught:
        learner.update(replay, 0.0)
    assert np.isnan(caught.value.batch["value"]).any()
    for name, value in learner.weights().items():
        if "norm" not in name:
            assert torch.equal(value, before[name]), "the weights must be unchanged"


def test_settings_unfit_for_the_game_are_refused():
    config = dataclasses.replace(TINY, predict_rewards=False, reconstruction_loss_weight=1.0)
    game, actor, replay = filled(config)
    learner = muzero.make_learner(config, actor.spec, game.symmetries, 0)
    replay.columns["observation"][:] *= 3
    with pytest.raises(UserError, match="binary planes"):
        learner.update(replay, 0.0)
    with pytest.raises(UserError, match="came before the end of a game"):
        while True:
            actor.columns["reward"][:, 0] = 0.5
            actor.step()


@pytest.mark.parametrize("options", [{}, {"prioritized": True}, {"reanalyze_fraction": 0.5}, {"ssl_loss_weight": 1.0},
                                     {"reconstruction_loss_weight": 1.0, "ownership_loss_weight": 1.0},
                                     {"td_steps": 2}, {"td_lambda": 0.8}, {"search": "puct"},
                                     {"predict_rewards": False}])
def test_restored_learner_continues_exactly(options):
    config = dataclasses.replace(TINY, **options)
    game, actor, replay = filled(config)
    first = muzero.make_learner(config, actor.spec, game.symmetries, 3)
    for _ in range(3):
        metrics = first.update(replay, 0.1)
    assert all(np.isfinite(value) for value in metrics.values())
    second = muzero.make_learner(config, actor.spec, game.symmetries, 99)
    second.load_state_dict(first.state_dict())
    columns = {name: column.copy() for name, column in replay.columns.items()}
    expected = [first.update(replay, 0.2) for _ in range(2)]
    replay.columns.update(columns)  # reanalysis wrote into the replay
    assert [second.update(replay, 0.2) for _ in range(2)] == expected
    for name, value in first.weights().items():
        assert torch.equal(value, second.weights()[name])


def test_restored_actor_continues_exactly():
    config = dataclasses.replace(TINY, opening_plies=3, ownership_loss_weight=1.0)
    _, first, _ = play(config, games=3)
    second = muzero.make_actor(config, NativeVectorEnv(load_game("tictactoe"), config.num_envs, 5), 5)
    second.load_state_dict(first.state_dict())
    for _ in range(8):
        ours, theirs = first.step().episodes, second.step().episodes
        assert [e.actions for e in ours] == [e.actions for e in theirs]
        assert [e.stats for e in ours] == [e.stats for e in theirs]


def test_reanalysis_changes_policies_and_keeps_the_episode():
    config = dataclasses.replace(TINY, reanalyze_fraction=1.0)
    game, actor, replay = filled(config)
    happened = {name: replay.columns[name].copy() for name in ("action", "reward", "value_after", "remaining")}
    policy = replay.columns["policy"].copy()
    learner = muzero.make_learner(config, actor.spec, game.symmetries, 0)
    torch.nn.init.normal_(learner.net.policy.out.weight)  # no longer the network that played
    learner.update(replay, 0.0)
    for name, column in happened.items():
        assert np.array_equal(column, replay.columns[name]), name
    changed = (policy != replay.columns["policy"]).any(axis=1)
    assert 10 < changed.sum() <= config.batch_size
    legal = replay.columns["legal_actions"]
    assert (replay.columns["policy"][changed][~legal[changed]] == 0).all()


def test_model_fits_known_rewards_values_and_policies():
    """Fit one random game's data: rewards, values and policies along the unroll must come out as stored. A sign, a
    shift by one step or a mask past the end that is wrong cannot fit."""
    config = dataclasses.replace(TINY, search_value_weight=0.0, symmetries=False, learning_rate=5e-3)
    _, actor, replay = filled(config, games=1)
    learner = muzero.make_learner(config, actor.spec, None, 0)
    for _ in range(150):
        learner.update(replay, 0.0)
    rows = np.arange(replay.positions)
    batch = sample_unrolled(replay, rows, UnrollSettings(3, -1.0), np.random.default_rng(0))
    net, support = learner.net.eval(), learner.support
    with torch.no_grad():
        latent, value, policy = net.initial(torch.from_numpy(batch.observation))
        worst = [float((support.mean(value) - torch.from_numpy(batch.value[:, 0])).abs().max())]
        variation = 0.5 * np.abs(torch.softmax(policy, 1).numpy() - batch.policy[:, 0]).sum(1).mean()
        for k in range(3):
            out = net.recurrent(latent, torch.from_numpy(batch.action[:, k]))
            inside = batch.valid[:, k]
            for logits, target in ((out.reward_logits, batch.reward[:, k]), (out.value_logits, batch.value[:, k + 1])):
                error = (support.mean(logits) - torch.from_numpy(target)).abs().numpy()
                worst.append(float(error[inside].max()))
            latent = out.latent
    assert max(worst) < 0.1 and variation < 0.1, (worst, variation)
