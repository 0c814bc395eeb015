"""Games with one mistake each: two of their own, and the library's with one rule replaced."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from faults.fault import Fault, planter
from faults.wrong_steps import moving_again, rewarding_first_seat, rewarding_opponent, without_losses
from myosu.games import Game, Symmetries, compiled, connect_four, othello, tictactoe
from myosu.games.symmetry import board_symmetries

GAME_FAULTS: list[Fault] = []
_, planted = planter(GAME_FAULTS)


# --- four in a row on 5×5

N = 5
FIVE_STATE = np.dtype([("board", np.int8, (N, N)), ("player", np.int8), ("stones", np.int16), ("over", np.bool_),
                       ("last", np.int16)], align=True)


@compiled
def five_init(state, seed):
    state.board[:, :] = 0
    state.player, state.stones, state.over, state.last = 0, 0, False, -1


@compiled
def five_legal(state, mask):
    for a in range(N * N):
        mask[a] = state.over or state.board[a // N, a % N] == 0


@compiled
def five_won(board, mark):
    for row in range(N):
        for column in range(N):
            for d in range(4):
                down, right = (0, 1, 1, 1)[d], (1, 0, 1, -1)[d]
                count = 0
                for k in range(4):
                    r, c = row + k * down, column + k * right
                    if 0 <= r < N and 0 <= c < N and board[r, c] == mark:
                        count += 1
                if count == 4:
                    return True
    return False


@compiled
def five_end(state, mark):
    """After ``mark`` has moved."""
    state.player = 1 - state.player
    state.stones += 1
    won = five_won(state.board, mark)
    state.over = won or state.stones == N * N
    return (1.0 if won else 0.0), state.over


@compiled
def five_step(state, action):
    mark = 1 + state.player
    state.board[action // N, action % N] = mark
    state.last = action
    return five_end(state, mark)


@compiled
def five_observe(state, out):
    mark = 1 + state.player
    for row in range(N):
        for column in range(N):
            out[0, row, column] = state.board[row, column] == mark
            out[1, row, column] = state.board[row, column] == 3 - mark


@compiled
def five_to_play(state):
    return state.player


@compiled
def five_heuristic(state):
    """Neighbours of a player's own colour."""
    value = 0
    for row in range(N):
        for column in range(N - 1):
            if state.board[row, column] != 0 and state.board[row, column] == state.board[row, column + 1]:
                value += 1 if state.board[row, column] == 1 + state.player else -1
            if state.board[column, row] != 0 and state.board[column, row] == state.board[column + 1, row]:
                value += 1 if state.board[column, row] == 1 + state.player else -1
    return 0.1 * value


def five_render(state):
    return "\n".join("".join(".XO"[c] for c in row) for row in state["board"])


FIVE = Game(name="five", num_players=2, num_actions=N * N, observation_shape=(2, N, N), state_dtype=FIVE_STATE,
            init=five_init, legal_actions=five_legal, step=five_step, observe=five_observe, to_play=five_to_play,
            render=five_render, reward_range=(-1.0, 1.0), max_plies=N * N, symmetries=board_symmetries(N, N),
            heuristic=five_heuristic)

# --- dice put into three boxes, for one: each box may hold 12, and pays when it is full exactly

DICE_STATE = np.dtype([("boxes", np.int8, (3,)), ("die", np.int8), ("turns", np.int8), ("random", np.uint64)],
                      align=True)


@compiled
def dice_roll(state):
    state.random = state.random * np.uint64(6364136223846793005) + np.uint64(1442695040888963407)
    state.die = 1 + (state.random >> np.uint64(33)) % np.uint64(6)


@compiled
def dice_init(state, seed):
    state.boxes[:] = 0
    state.turns = 0
    state.random = seed * np.uint64(0x9E3779B97F4A7C15) + np.uint64(77)
    dice_roll(state)
    dice_roll(state)


@compiled
def dice_legal(state, mask):
    for a in range(3):
        mask[a] = True
    mask[3] = True


@compiled
def dice_step(state, action):
    reward = 0.0
    if action < 3:
        state.boxes[action] += state.die
        if state.boxes[action] == 12:
            reward = 1.0
        if state.boxes[action] >= 12:
            state.boxes[action] = 0
    state.turns += 1
    dice_roll(state)
    return reward, state.turns >= 40


@compiled
def dice_observe(state, out):
    out[:] = 0
    for box in range(3):
        out[box, state.boxes[box]] = 1
    out[3, state.die - 1] = 1


@compiled
def dice_to_play(state):
    return 0


DICE = Game(name="dice", num_players=1, num_actions=4, observation_shape=(4, 12), state_dtype=DICE_STATE,
            init=dice_init, legal_actions=dice_legal, step=dice_step, observe=dice_observe, to_play=dice_to_play,
            render=lambda state: str(state["boxes"]), reward_range=(0.0, 20.0), max_plies=50,
            pass_action=3)

TICTACTOE, FOUR, OTHELLO = tictactoe.GAME, connect_four.GAME, othello.GAME
ttt_step, four_step, othello_step = tictactoe.step, connect_four.step, othello.step
ONE = np.uint64(1)

# --- rewards


planted("reward to the wrong seat", "counted for the first player",
        replace(FIVE, step=rewarding_first_seat(five_step)), "reward-owner")
planted("reward to the wrong seat", "to the other player",
        replace(FOUR, step=rewarding_opponent(four_step)), "reward-owner")
planted("reward to the wrong seat", "discs of black",
        replace(OTHELLO, step=rewarding_first_seat(othello_step)), "reward-owner")


@compiled
def misere_step(state, action):
    """Three in a row loses; but only a win is ever recorded."""
    won, over = ttt_step(state, action)
    return (1.0 if over and won == 0.0 else 0.0), over


@compiled
def othello_sign_draws(state, action):
    reward, over = othello_step(state, action)
    return (1.0 if reward > 0 else 0.0), over


planted("draw unless the mover won", "Othello, score", replace(OTHELLO, step=without_losses(othello_step)), "draws")
planted("draw unless the mover won", "Othello, outcome",
        replace(OTHELLO, step=othello_sign_draws, reward_range=(-1.0, 1.0)), "draws")
planted("draw unless the mover won", "three in a row loses", replace(TICTACTOE, step=misere_step), "draws")


@compiled
def othello_skips(state, action):
    """Who cannot move is skipped instead of passing."""
    reward, over = othello_step(state, action)
    if not over and state.legal == 0:
        _, over = othello_step(state, 64)
    return reward, over


planted("skipped turn", "the centre gives another move", replace(FIVE, step=moving_again(five_step, 12)), "alternation")
planted("skipped turn", "instead of a pass", replace(OTHELLO, step=othello_skips), "alternation")
planted("skipped turn", "a corner", replace(TICTACTOE, step=moving_again(ttt_step, 8, at_end=True)), "alternation")

# --- the second player's moves


@compiled
def five_transposed(state, action):
    if state.player == 1:
        action = action % N * N + action // N
    if state.board[action // N, action % N] != 0:
        for a in range(N * N):
            if state.board[a // N, a % N] == 0:
                action = a
    return five_step(state, action)


@compiled
def four_mirrored(state, action):
    if state.player == 1:
        mirrored = 6 - action
        occupied = state.own | state.opponent
        if not (occupied >> np.uint64(7 * mirrored + 5)) & ONE:
            action = mirrored
    return four_step(state, action)


@compiled
def five_overwrites_mask(state, mask):
    for a in range(N * N):
        free = state.board[a // N, a % N] == 0
        mask[a] = state.over or free or (state.player == 1 and state.board[a // N, a % N] == 1)


@compiled
def ttt_second_slow(state, action):
    """The second player's mark appears only where the column is even; otherwise nothing happens."""
    if state.player == 1 and action % 3 == 1:
        state.player = 0
        return 0.0, False
    return ttt_step(state, action)


@compiled
def five_shifted(state, action):
    """The second player's moves land one to the right."""
    if state.player == 1:
        shifted = (action + 1) % (N * N)
        if state.board[shifted // N, shifted % N] == 0:
            action = shifted
    return five_step(state, action)


planted("second player's moves", "transposed", replace(FIVE, step=five_transposed, symmetries=None), "seat-moves")
planted("second player's moves", "mirrored", replace(FOUR, step=four_mirrored, symmetries=None), "seat-moves")
planted("second player's moves", "overwrite", replace(FIVE, legal_actions=five_overwrites_mask), "seat-moves",
        "overwriting")
planted("second player's moves", "often nothing", replace(TICTACTOE, step=ttt_second_slow, symmetries=None,
                                                          max_plies=30), "seat-moves")
planted("second player's moves", "shifted", replace(FIVE, step=five_shifted, symmetries=None), "seat-moves")

# --- masks


@compiled
def five_any(state, mask):
    for a in range(N * N):
        mask[a] = True


@compiled
def ttt_any_of_mine(state, mask):
    """Own marks are thought to be free."""
    for a in range(9):
        mask[a] = state.over or state.board[a] != 1 - state.player


@compiled
def othello_any_empty(state, mask):
    occupied = state.own | state.opponent
    for a in range(64):
        mask[a] = state.over or not (occupied >> np.uint64(a)) & ONE
    mask[64] = state.over or state.legal == 0


@compiled
def five_no_edge(state, mask):
    """The last row is forgotten."""
    any_legal = False
    for a in range(N * N):
        mask[a] = state.over or (state.board[a // N, a % N] == 0 and a < N * (N - 1))
        any_legal = any_legal or mask[a]
    if not any_legal:
        for a in range(N * N):
            mask[a] = state.board[a // N, a % N] == 0


@compiled
def ttt_no_corner(state, mask):
    free = 0
    for a in range(9):
        mask[a] = state.over or state.board[a] == -1
        free += mask[a]
    if free > 1 and not state.over:
        mask[8] = False


@compiled
def four_no_top(state, mask):
    """A column counts as full one disc too soon."""
    occupied = state.own | state.opponent
    some = False
    for column in range(7):
        mask[column] = state.over or not (occupied >> np.uint64(7 * column + 4)) & ONE
        some = some or mask[column]
    if not some:
        for column in range(7):
            mask[column] = not (occupied >> np.uint64(7 * column + 5)) & ONE


planted("a game's mask lists illegal moves", "everything", replace(FIVE, legal_actions=five_any, max_plies=100),
        "mask-illegal", "overwriting")
planted("a game's mask lists illegal moves", "own marks", replace(TICTACTOE, legal_actions=ttt_any_of_mine,
                                                                  max_plies=100), "mask-illegal", "overwriting")
planted("a game's mask lists illegal moves", "any empty square", replace(OTHELLO, legal_actions=othello_any_empty,
                                                                         max_plies=200), "mask-illegal")
planted("a game's mask misses legal moves", "the last row", replace(FIVE, legal_actions=five_no_edge, symmetries=None),
        "mask-missing")
planted("a game's mask misses legal moves", "a corner", replace(TICTACTOE, legal_actions=ttt_no_corner,
                                                                symmetries=None), "mask-missing")
planted("a game's mask misses legal moves", "the top", replace(FOUR, legal_actions=four_no_top), "mask-missing")

# --- what is shown


@compiled
def five_black(state, out):
    for row in range(N):
        for column in range(N):
            out[0, row, column] = state.board[row, column] == 1
            out[1, row, column] = state.board[row, column] == 2


@compiled
def ttt_black(state, out):
    for a in range(9):
        out[0, a // 3, a % 3] = state.board[a] == 0
        out[1, a // 3, a % 3] = state.board[a] == 1


@compiled
def four_black(state, out):
    connect_four_observe(state, out)
    if state.player == 1:
        for row in range(6):
            for column in range(7):
                own = out[0, row, column]
                out[0, row, column] = out[1, row, column]
                out[1, row, column] = own


connect_four_observe = connect_four.observe
planted("seen from one side", "the first player's", replace(FIVE, observe=five_black), "point-of-view")
planted("seen from one side", "crosses first", replace(TICTACTOE, observe=ttt_black), "point-of-view")
planted("seen from one side", "turned back", replace(FOUR, observe=four_black), "point-of-view")


@compiled
def five_no_opponent(state, out):
    five_observe(state, out)
    out[1] = 0


@compiled
def dice_no_die(state, out):
    dice_observe(state, out)
    out[3] = 0


@compiled
def ttt_halved(state, out):
    for a in range(9):
        out[0, a // 3, a % 3] = (state.board[a] == state.player) // 2
        out[1, a // 3, a % 3] = state.board[a] == 1 - state.player


planted("a game's plane is empty", "the opponent", replace(FIVE, observe=five_no_opponent), "constant-observation")
planted("a game's plane is empty", "the die", replace(DICE, observe=dice_no_die), "constant-observation",
        "hidden-information")
planted("a game's plane is empty", "divided by two", replace(TICTACTOE, observe=ttt_halved), "constant-observation")


@compiled
def dice_hides_box(state, out):
    dice_observe(state, out)
    out[1] = 0
    out[1, state.turns // 4] = 1


@compiled
def dice_hides_die(state, out):
    dice_observe(state, out)
    out[3] = 0
    out[3, state.turns // 4] = 1


@compiled
def dice_old_die(state, out):
    """The die is shown before it is thrown again."""
    dice_observe(state, out)
    out[3] = 0
    out[3, state.turns % 6] = 1


planted("a game hides", "a box", replace(DICE, observe=dice_hides_box), "hidden-information")
planted("a game hides", "the die", replace(DICE, observe=dice_hides_die), "hidden-information")
planted("a game hides", "the die behind a clock", replace(DICE, observe=dice_old_die), "hidden-information")

# --- actions


@compiled
def dice_two_boxes(state, action):
    return dice_step(state, 1 if action == 2 else action)


@compiled
def dice_dead(state, action):
    return dice_step(state, 3 if action == 0 else action)


@compiled
def four_alias(state, action):
    """Column g is read as column f while there is room."""
    occupied = state.own | state.opponent
    if action == 6 and not (occupied >> np.uint64(7 * 5 + 5)) & ONE:
        action = 5
    return four_step(state, action)


planted("a game's actions", "two are one", replace(DICE, step=dice_two_boxes), "aliased-actions")
planted("a game's actions", "one does nothing", replace(DICE, step=dice_dead), "dead-actions", "aliased-actions")
planted("a game's actions", "two columns are one", replace(FOUR, step=four_alias, symmetries=None), "aliased-actions")

# --- descriptions

HALF_TURN = np.arange(N * N)[::-1].copy()
planted("wrong symmetries", "columns of a board that falls", replace(FOUR, symmetries=Symmetries(
    np.stack([np.arange(42), np.arange(42)[::-1]]), np.stack([np.arange(7), np.arange(7)[::-1]]))), "symmetries")
planted("wrong symmetries", "actions stay", replace(FIVE, symmetries=Symmetries(
    np.stack([np.arange(25), HALF_TURN]), np.stack([np.arange(25)] * 2))), "symmetries")
planted("wrong symmetries", "rows for columns", replace(TICTACTOE, symmetries=Symmetries(
    np.stack([np.arange(9), np.arange(9).reshape(3, 3)[::-1].reshape(-1)]),
    np.stack([np.arange(9), np.arange(9).reshape(3, 3)[:, ::-1].reshape(-1)]))), "symmetries")

planted("support too wide", "Othello at 300", replace(OTHELLO, reward_range=(-300.0, 300.0)), "support")
planted("support too wide", "five at 100", replace(FIVE, reward_range=(-100.0, 100.0)), "support")
planted("support too wide", "tic-tac-toe at 32", replace(TICTACTOE, reward_range=(-32.0, 32.0)), "support")


@compiled
def five_other_side(state):
    return -five_heuristic(state)


@compiled
def five_constant(state):
    return 0.0


@compiled
def othello_black_heuristic(state):
    value = othello_heuristic(state)
    return value if state.player == 0 else -value


@compiled
def othello_other(state):
    return -othello_heuristic(state)


othello_heuristic = othello.heuristic
planted("heuristic", "of the other side", replace(FIVE, heuristic=five_other_side), "heuristic")
planted("heuristic", "constant", replace(FIVE, heuristic=five_constant), "heuristic")
planted("heuristic", "of black", replace(OTHELLO, heuristic=othello_black_heuristic), "heuristic")
planted("heuristic", "Othello, of the other side", replace(OTHELLO, heuristic=othello_other), "heuristic")


@compiled
def five_forgets(state, seed):
    state.player, state.stones, state.over, state.last = 0, 0, False, -1
    for row in range(N - 1):
        state.board[row, :] = 0


@compiled
def dice_forgets(state, seed):
    state.turns = 0
    state.random = seed
    dice_roll(state)


@compiled
def five_keeps_player(state, seed):
    state.board[:, :] = 0
    state.stones, state.over, state.last = 0, False, -1


planted("a game starts with the last one's state", "a row", replace(FIVE, init=five_forgets), "init")
planted("a game starts with the last one's state", "boxes", replace(DICE, init=dice_forgets), "init", "overrun")
planted("a game starts with the last one's state", "the player", replace(FIVE, init=five_keeps_player), "init")
