"""AlphaGo's search: selection, backups and virtual loss by hand; endgames; tree reuse; optional parts; its names."""

import dataclasses
import io

import numpy as np
import pytest
import torch

from myosu.algorithms import muzero
from myosu.arena.entrants import find_entrants
from myosu.commands.gtp import main as gtp
from myosu.errors import UserError
from myosu.evaluation.gtp_engine import GtpEngine
from myosu.evaluation.match import play_match
from myosu.games.go.rollout import RolloutPolicy
from myosu.games.go.rules import make_game
from myosu.games.registry import load_game
from myosu.games.tictactoe import GAME as TICTACTOE
from myosu.players.apv import APVPlayer, GameTree
from myosu.players.apv_name import make_apv, named_apv
from myosu.players.mcts import MctsPlayer
from myosu.players.opponents import make_opponent
from myosu.players.player import RESIGNS, RandomPlayer, legal_mask
from myosu.players.rollouts import linear_rollouts, random_rollouts
from myosu.runs.config import RunConfig, TrainConfig
from myosu.search.apv import APVConfig, APVTree
from myosu.training.start import create_run
from myosu.training.trainer import train

ROLLOUTS = APVConfig(simulations=600, rollout_weight=1.0, c_puct=1.0)


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


def fixed(value=0.0, logits=None, asked=None):
    """A network with the same output for every position. It appends the size of each batch to ``asked``."""
    def network(states, legal):
        if asked is not None:
            asked.append(len(states))
        return (np.full(len(states), value, np.float32),
                np.zeros(legal.shape, np.float32) + (0.0 if logits is None else np.asarray(logits, np.float32)))
    return network


def position(*moves, game=TICTACTOE):
    """The position after ``moves``: states [1] and the history."""
    state = game.new_states(1)
    for move in moves:
        game.batch.step(state, np.array([move]), np.empty(1, np.float32), np.empty(1, np.bool_))
    return state, list(moves)


# The tree.


def hand_tree(**settings):
    """A root with priors (0.6, 0.3, 0.1), visited once with value 0."""
    tree = APVTree(APVConfig(**{"rollout_weight": 0.0, "c_puct": 2.0, "temperature": 1.0} | settings), 3, (-1.0, 1.0))
    leaves, new = tree.select(1)
    assert leaves.tolist() == [0] and not len(new) and tree.to_expand(leaves).tolist() == [0]
    tree.expand(leaves, np.log(np.array([[0.6, 0.3, 0.1]], np.float32)), np.ones((1, 3), np.bool_))
    tree.back_up(leaves, np.zeros(1, np.float32), np.zeros(1, np.float32))
    return tree


def chosen(tree, new):
    return tree.nodes["action"][new].tolist()


def test_selection_by_hand():
    """Q + 2 P √N / (1 + n) is (1.2, 0.6, 0.2), so action 0 is selected. Its Q becomes −0.9. Then
    −0.9 + 2 · 0.6 · √2 / 2 = −0.051 is less than 2 · 0.3 · √2 = 0.849, so action 1 is selected."""
    tree = hand_tree()
    leaves, new = tree.select(1)
    assert chosen(tree, new) == [0]
    tree.describe(new, np.zeros(1), np.full(1, -1.0), np.zeros(1, np.bool_))
    tree.back_up(leaves, np.array([0.9], np.float32), np.zeros(1, np.float32))
    assert tree.nodes["q"][new].tolist() == pytest.approx([-0.9])
    assert tree.nodes["value"][0] == pytest.approx(-0.45), "the mean of 0 and −0.9"
    assert chosen(tree, tree.select(1)[1]) == [1]


def test_virtual_loss_spreads_a_batch_by_hand():
    """Three simulations in a batch; each one in progress adds 3 to N. First action 0 is selected (1.2 > 0.6). Then
    √N = √(1 + 3) = 2: action 0 scores −1 + 2 · 0.6 · 2 / (1 + 3) = −0.4, action 1 scores 1.2. Then √7: action 1 scores
    −1 + 2 · 0.3 · 2.646 / 4 = −0.603, action 2 scores 2 · 0.1 · 2.646 = 0.529. Without virtual loss all three select
    action 0, whose node is an unexpanded leaf."""
    tree = hand_tree(virtual_loss=3.0)
    leaves, new = tree.select(3)
    assert chosen(tree, new) == [0, 1, 2] and leaves.tolist() == new.tolist() == [1, 2, 3]
    assert tree.edges["pending"][:4].tolist() == [3, 1, 1, 1]
    tree.describe(new, np.zeros(3), np.full(3, -1.0), np.zeros(3, np.bool_))
    tree.back_up(leaves, np.zeros(3, np.float32), np.zeros(3, np.float32))
    assert tree.edges["pending"][:4].tolist() == [0] * 4 and tree.nodes["visits"][:4].tolist() == [4, 1, 1, 1]
    tree = hand_tree(virtual_loss=0.0)
    leaves, new = tree.select(3)
    assert chosen(tree, new) == [0] and leaves.tolist() == [1, 1, 1]


def test_value_and_rollout_means_are_mixed_by_hand():
    """λ = 1/4. The leaf has v = 0.8 and z = −1, so its value is 0.75 · 0.8 − 0.25 = 0.35. With a reward of 0.1 for the
    mover, q = 0.1 − 0.35. The root, whose first value was 0, has v̄ = (0 + 0.1 − 0.8) / 2 and z̄ = (0 + 0.1 + 1) / 2."""
    tree = hand_tree(rollout_weight=0.25)
    leaves, new = tree.select(1)
    tree.describe(new, np.full(1, 0.1), np.full(1, -1.0), np.zeros(1, np.bool_))
    tree.back_up(leaves, np.array([0.8], np.float32), np.array([-1.0], np.float32))
    assert tree.nodes["value"][1] == pytest.approx(0.35) and tree.nodes["q"][1] == pytest.approx(-0.25)
    assert tree.edges["mean_value"][:2].tolist() == pytest.approx([-0.35, 0.8])
    assert tree.edges["mean_rollout"][:2].tolist() == pytest.approx([0.55, -1.0])
    assert tree.nodes["value"][0] == pytest.approx(0.75 * -0.35 + 0.25 * 0.55)


def test_temperature_flattens_the_prior_by_hand():
    """P ∝ p^(1/2): √0.6, √0.3 and √0.1 over their sum. Illegal actions are left out of the softmax."""
    tree = hand_tree(temperature=2.0)
    roots = np.sqrt([0.6, 0.3, 0.1])
    assert tree.priors[0].tolist() == pytest.approx(list(roots / roots.sum()), rel=1e-5)
    tree = APVTree(APVConfig(rollout_weight=0.0), 3, (-1.0, 1.0))
    tree.expand(tree.select(1)[0], np.array([[0.0, 50.0, 0.0]], np.float32), np.array([[True, False, True]]))
    assert tree.priors[0, [0, 2]].tolist() == [0.5, 0.5] and tree.priors[0, 1] < 0


def test_a_leaf_is_expanded_at_its_threshold():
    """No node has a child before its third visit. The network evaluates each node for its value, and again when
    expanded."""
    asked = []
    network = fixed(asked=asked)
    player = APVPlayer(TICTACTOE, network, network, random_rollouts(TICTACTOE), APVConfig(
        simulations=300, expansion_threshold=3, batch_size=1, c_puct=1.0))
    tree = player.analyze(*[part if k == 0 else [part] for k, part in enumerate(position())])[0]
    nodes, edges = tree.nodes[1:tree.used], tree.edges[1:tree.used]
    with_children = nodes["num_children"] > 0
    assert with_children.any() and (nodes["visits"][with_children] >= 3).all()
    assert (edges["expanded"] == ((nodes["visits"] >= 3) & ~edges["ended"])).all()
    assert sum(asked) == np.count_nonzero(~edges["ended"]) + np.count_nonzero(edges["expanded"]) + 1


def test_an_unexpanded_leaf_is_expanded_as_root():
    """With a high threshold, the node after a move has no priors yet. As a root it is expanded for any number of
    simulations."""
    player = APVPlayer(TICTACTOE, fixed(), fixed(), random_rollouts(TICTACTOE), APVConfig(
        simulations=200, expansion_threshold=100, batch_size=8, c_puct=1.0))
    tree = player.analyze(position()[0], [[]])[0]
    first = next(child for child in tree.children() if not tree.edges["expanded"][child])
    state, history = position(int(tree.nodes["action"][first]))
    assert player.choose(state, [history], 1)[0] in np.flatnonzero(legal_mask(TICTACTOE, state)[0])
    assert player._trees[tuple(history)] is tree, "the tree was kept"


# The player in games.


def endgame_player(part):
    if part == "rollouts":
        return APVPlayer(TICTACTOE, None, None, random_rollouts(TICTACTOE), ROLLOUTS)
    if part == "value":
        return APVPlayer(TICTACTOE, None, fixed(), None, dataclasses.replace(ROLLOUTS, rollout_weight=0.0))
    return APVPlayer(TICTACTOE, fixed(), fixed(), random_rollouts(TICTACTOE), dataclasses.replace(
        ROLLOUTS, rollout_weight=0.5, virtual_loss=1.0, batch_size=4))


@pytest.mark.parametrize("part", ["rollouts", "value", "both"])
def test_search_finds_wins_and_blocks(part):
    """X at 0 and 1 wins at 2; O at 0 and 4 must be blocked at 8. Several games in one call, each in its own tree."""
    player = endgame_player(part)
    games = [position(0, 3, 1, 4), position(5, 0, 7, 4), position(0, 4, 8)]
    actions = player.choose(np.concatenate([state for state, _ in games]), [history for _, history in games])
    assert actions.tolist()[:2] == [2, 8]
    assert actions[2] in (1, 3, 5, 7), "a corner would lose to a double threat"
    trees = list(player._trees.values())
    assert [len(trees), *(tree.edges["pending"][:tree.used].any() for tree in trees)] == [3, False, False, False]
    assert trees[0].nodes["q"][trees[0].children()].max() == 1.0, "the mate is exact"
    player.close()


def test_tree_is_kept_between_moves():
    player = endgame_player("both")
    state, history = position()
    first = player.analyze(state, [history])[0]
    nodes, states = first.nodes[:first.used].copy(), first.states[:first.used].copy()
    action = int(first.nodes["action"][first.best_child()])
    played = np.flatnonzero((nodes["parent"] == 0) & (nodes["action"] == action))[0]
    children = np.flatnonzero(nodes["parent"] == played)
    reply = children[nodes["visits"][children].argmax()]
    kept = nodes[reply]
    state, history = position(action, int(kept["action"]))
    tree = player._tree_of(state, history)
    assert tree is first and tree.visits == kept["visits"] > 1 and tree.nodes["value"][0] == kept["value"]
    # Every kept node has the state that the rules give for its parent's state and its action.
    for index in range(1, tree.used):
        node = tree.nodes[index]
        above = tree.states[node["parent"]:node["parent"] + 1].copy()
        TICTACTOE.batch.step(above, np.array([node["action"]]), np.empty(1, np.float32), np.empty(1, np.bool_))
        assert above.tobytes() == tree.states[index:index + 1].tobytes()
    old = {state.tobytes() for state in states}
    assert all(state.tobytes() in old for state in tree.states[:tree.used])
    for index in range(tree.used):
        under = tree.nodes["visits"][:tree.used][tree.nodes["parent"][:tree.used] == index].sum()
        assert under <= tree.nodes["visits"][index]
    visits = tree.visits
    player._trees = {(): tree}  # filed under the empty history, but its state is not the initial one
    assert player._tree_of(TICTACTOE.new_states(1), []) is not tree
    assert visits == tree.visits
    player.close()


def test_search_goes_on_in_the_kept_tree():
    player = endgame_player("rollouts")
    state, history = position()
    moves = []
    for _ in range(3):
        move = int(player.choose(state, [history])[0])
        tree = player._trees[tuple(history)]
        moves.append(tree.visits)
        children = np.flatnonzero(tree.nodes["parent"][:tree.used] == tree.children()[
            tree.nodes["action"][tree.children()] == move][0])
        answer = int(tree.nodes["action"][children[tree.nodes["visits"][children].argmax()]])
        state, history = position(*history, move, answer)
    assert moves[0] == 601 and moves[1] > 700 and moves[2] > 700
    player.close()


def test_positions_are_evaluated_once_and_in_batches():
    asked = []
    network = fixed(asked=asked)
    config = APVConfig(simulations=160, rollout_weight=0.0, batch_size=16, c_puct=1.5)
    player = APVPlayer(load_game("connect_four"), network, network, None, config)
    state = player.game.new_states(1)
    tree = player.analyze(state, [[]])[0]
    assert sum(asked) == tree.used - np.count_nonzero(tree.edges["ended"][:tree.used])
    assert len(asked) <= 11 and max(asked) > 8
    apart = []
    player = APVPlayer(player.game, fixed(), fixed(asked=apart), None, config)
    assert player.analyze(state, [[]])[0].nodes[:tree.used].tolist() == tree.nodes[:tree.used].tolist(), \
        "two networks that say the same"
    assert sum(apart) == sum(asked)


def test_resigns_lost_positions_only_if_configured():
    lost, history = position(0, 8, 1, 3, 4)  # X threatens 2 and 7
    config = dataclasses.replace(ROLLOUTS, resign=-0.8)
    resigning = APVPlayer(TICTACTOE, None, None, random_rollouts(TICTACTOE), config)
    assert resigning.choose(lost, [history]).tolist() == [RESIGNS]
    assert endgame_player("rollouts").choose(lost, [history])[0] in np.flatnonzero(legal_mask(TICTACTOE, lost)[0])
    said = io.StringIO()
    GtpEngine(TICTACTOE, lambda state, moves, n: int(resigning.choose(state, [moves], n)[0]), 600).serve(
        [f"play {colour} {TICTACTOE.action_name(move)}\n" for colour, move in zip("bwbwb", history, strict=False)] +
        ["genmove w\n", "undo\n"], said)
    assert said.getvalue().split("\n\n")[5:7] == ["= resign", "="], said.getvalue()


def test_time_limit_and_goes_on_end_a_search():
    """The time limit ends a search before its simulations do, and so does ``goes_on``."""
    config = dataclasses.replace(ROLLOUTS, simulations=10_000_000, seconds=0.05)
    player = APVPlayer(TICTACTOE, None, None, random_rollouts(TICTACTOE), config)
    state, history = position()
    assert 1 < player.analyze(state, [history])[0].visits < 10_000_000
    player = APVPlayer(TICTACTOE, None, None, random_rollouts(TICTACTOE), dataclasses.replace(config, seconds=None))
    answers = [True, True, False]
    assert player.analyze(state, [history], goes_on=lambda trees: answers.pop(0))[0].visits == 1 + 3 * 8


def test_rollout_outcomes_are_from_the_view_of_the_mover():
    """Outcomes are in the view of the player to move, in positions with known outcomes."""
    state, _ = position(0, 4, 8, 1, 7, 6, 2, 3)  # only 5 is left: X completes 2, 5, 8
    assert random_rollouts(TICTACTOE)(state.repeat(5), 3).tolist() == [1.0] * 5
    game = make_game(5, komi=0.5)
    black = game.new_states(2)
    for cell in (0, 1, 2, 3):  # White passes, so Black has four stones and the whole board
        for move in (cell, 25):
            game.batch.step(black, np.full(2, move), np.empty(2, np.float32), np.empty(2, np.bool_))
    game.batch.step(black[1:], np.array([25]), np.empty(1, np.float32), np.empty(1, np.bool_))
    mean = [linear_rollouts(game, RolloutPolicy.zeros())(black[k:k + 1].repeat(200), 5).mean() for k in range(2)]
    assert mean[0] > 0.15 and mean[1] < -0.15, "Black is ahead; once to move, once White is"


def test_go_search_beats_random_play():
    game = make_game(5, komi=0.5)
    player = APVPlayer(game, None, None, linear_rollouts(game, RolloutPolicy.zeros()), dataclasses.replace(
        ROLLOUTS, simulations=40))
    assert play_match(game, player, RandomPlayer(game, 1), 8).overall.mean_reward > 0.7


@pytest.mark.slow
def test_rollouts_alone_equal_plain_mcts_at_connect_four():
    """Rollouts alone match UCT with equal simulations. With a wrong sign anywhere every game would be lost (-1); the
    standard deviation of 20 games between equals is 0.22."""
    game = load_game("connect_four")
    player = APVPlayer(game, None, None, random_rollouts(game), dataclasses.replace(
        ROLLOUTS, simulations=200, c_puct=3.0, batch_size=1))
    assert play_match(game, player, MctsPlayer(game, 200), 20, opening_plies=4).overall.mean_reward > -0.6


# The player's name.


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("apv") / "run"
    settings = muzero.Config(channels=8, blocks=1, atoms=11, simulations=4, considered_actions=4, num_envs=4,
                             batch_size=8, unroll_steps=2, learning_starts=50, replay_capacity=1000, device="cpu",
                             precision="float32")
    train(create_run(RunConfig("tictactoe", "muzero", settings, TrainConfig(
        updates=2, deterministic=True, evaluate_every=0)), folder), quiet=True)
    return folder


def test_parts_are_parsed_from_the_player_name(run, tmp_path, monkeypatch):
    player = make_opponent(f"apv:network={run},rollout=uniform,lambda=0.25,simulations=9,batch=2,threshold=2",
                           TICTACTOE)
    assert player.prior is player.value is not None and player.rollouts is not None
    assert player.config == APVConfig(simulations=9, rollout_weight=0.25, batch_size=2, expansion_threshold=2)
    assert make_apv(f"apv:prior={run},value={run}", TICTACTOE, 7).config == APVConfig(7, rollout_weight=0.0)
    alone = make_apv("apv:rollout=uniform", TICTACTOE)
    assert alone.prior is alone.value is None and alone.config.rollout_weight == 1 and not alone.repeats_itself
    monkeypatch.chdir(run.parent)
    assert make_apv("apv:prior=run,rollout=uniform", TICTACTOE).name == f"apv:prior={run},rollout=uniform"
    assert named_apv("apv:network=run", None).game.name == "tictactoe"


@pytest.mark.parametrize(("text", "told"), [
    ("apv:rollout=uniform,foo=3", "'foo=3'"), ("apv:simulations=9", "value network"), ("apv:lambda=1", "rollouts"),
    ("apv:rollout=uniform,simulations=0", "simulations = 0"), ("apv:rollout=uniform,simulations=x", "'x'"),
    ("apv:rollout=policy.npz", "only Go"), ("apv:network=RUN,lambda=0.5", "rollouts"),
    ("apv:rollout=uniform,batch=1,batch_size=2", "twice"), ("apv:value=nowhere", "nowhere"),
])
def test_impossible_parts_are_refused(text, told, run):
    with pytest.raises(UserError, match=told):
        make_opponent(text.replace("RUN", str(run)), TICTACTOE)


def test_runs_of_other_games_are_refused(run):
    with pytest.raises(UserError, match="plays tictactoe, not othello"):
        make_apv(f"apv:network={run}", load_game("othello"))
    with pytest.raises(UserError, match="single-player game"):
        make_apv("apv:rollout=uniform", load_game("snake"))
    with pytest.raises(UserError, match="--game"):
        named_apv("apv:rollout=uniform", None)


def test_apv_plays_by_gtp(run, monkeypatch, capsys):
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"play b b2\ngenmove w\nquit\n")))
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(said := io.BytesIO(), write_through=True))
    assert gtp([f"apv:network={run},simulations=8"]) == 0
    answers = said.getvalue().decode().split("\n\n")
    assert answers[0] == "=" and TICTACTOE.parse_action(answers[1].removeprefix("= ").lower()) != 4


def test_game_tree_grows_with_its_states():
    tree = GameTree(APVConfig(rollout_weight=0.0), TICTACTOE, TICTACTOE.new_states(1))
    tree._grow(1000)
    assert len(tree.states) == len(tree.nodes) == len(tree.priors) == 1000
    assert tree.states[0].tobytes() == TICTACTOE.new_states(1)[0].tobytes()


def test_apv_plays_in_a_league():
    entrants = find_entrants(["apv:rollout=uniform,simulations=2"], TICTACTOE)
    assert [entrant.name for entrant in entrants] == ["random", "apv:rollout=uniform,simulations=2"]
    assert not entrants[1].repeats and make_opponent(entrants[1].text, TICTACTOE).config.simulations == 2


def test_exploration_and_resigning_scale_with_rewards():
    """With rewards of ±64 in Othello, bonus and share are as with ±1."""
    tree = hand_tree()
    wide = APVTree(tree.config, 3, (-64.0, 64.0))
    wide.nodes["q"][0] = -32.0
    assert wide.scaled_value(0) == -0.5
    othello = load_game("othello")
    player = APVPlayer(othello, None, None, random_rollouts(othello), dataclasses.replace(ROLLOUTS, simulations=60))
    found = player.analyze(othello.new_states(1), [[]])[0]
    assert (found.nodes["visits"][found.children()] > 5).all(), "all four openings are equal by symmetry"
