"""Properties of the images of positions. Their looks were judged by eye."""

import numpy as np
import pytest

from myosu.games import connect_four, drawing, othello, snake, tictactoe, woodoku

GAMES = [othello.GAME, connect_four.GAME, tictactoe.GAME, snake.GAME, snake.PUBLISHED, woodoku.GAME]


def positions(game, seed, plies=60):
    state, random, mask = game.new_states(1, seed)[0], np.random.default_rng(seed), np.empty(game.num_actions, np.bool_)
    for _ in range(plies):
        yield state
        game.legal_actions(state, mask)
        if game.step(state, int(random.choice(np.flatnonzero(mask))))[1]:
            break
    yield state


@pytest.mark.parametrize("game", GAMES, ids=lambda game: game.name)
def test_every_position_has_its_own_picture(game):
    seen = {}
    for state in positions(game, 1):
        image = game.draw(state)
        assert image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3 and min(image.shape[:2]) > 300
        # Equal images have equal texts; these include the legal moves of Othello and the length in Snake.
        assert seen.setdefault(image.tobytes(), game.render(state)) == game.render(state)
        image[:] = 0  # must not change the cached sprites
        assert game.draw(state).tobytes() in seen
    assert len(seen) > 5


def middles(image, rows, columns, pixels, margin):
    return np.array([[drawing.cell(image, row, column, pixels, margin)[pixels // 2, pixels // 2]
                      for column in range(columns)] for row in range(rows)]).astype(int)


def test_othello_black_white_and_moves():
    state = othello.GAME.new_states(1)[0]
    for action in (None, 19):
        if action is not None:
            othello.step(state, action)
        image = middles(othello.draw(state), 8, 8, 48, 24)
        rows = othello.render(state).splitlines()[1:9]
        text = np.array([row.split()[1:] for row in rows])
        assert (image[text == "X"] < 60).all() and (image[text == "O"] > 220).all()
        red, green, blue = image[(text == ".") | (text == "*")].T
        assert (green > red + 20).all() and (green > blue + 10).all()
        assert image[text == "*"].max() < image[text == "."][:, 1].min(), "dots are darker than the board"


def test_connect_four_red_yellow_and_gravity():
    state = connect_four.GAME.new_states(1)[0]
    for column in (0, 0, 6):
        connect_four.step(state, column)
        image = middles(connect_four.draw(state), 6, 7, 56, 28)
        assert image[5, 0, 0] > 2 * image[5, 0, 1], "red moved first"
    red, green, blue = image[4, 0]
    assert red > 200 and green > 150 and blue < 120, "yellow lies on red"
    assert image[5, 6, 0] > 2 * image[5, 6, 1] and image[3, 0, 2] > 2 * image[3, 0, 0]


def test_tictactoe_crosses_and_rings():
    state = tictactoe.GAME.new_states(1)[0]
    for action in (0, 5):
        tictactoe.step(state, action)
    image = tictactoe.draw(state, pixels=60)
    empty, cross, ring = (drawing.cell(image, *divmod(square, 3), 60, 15) for square in (8, 0, 5))
    assert (cross[30, 30] != empty[30, 30]).all() and (ring[30, 30] == empty[30, 30]).all()
    assert ring[30, 45, 2] > ring[30, 45, 0] and cross[30, 30, 0] > cross[30, 30, 2]


def test_shapes_are_clipped_at_the_border():
    image = drawing.canvas(20, 30, (0, 0, 0))
    drawing.disc(image, 0, 0, 10, (255, 255, 255))
    assert image[0, 0, 0] == 255 and image[19, 29, 0] == 0
    assert abs((image[..., 0] / 255).sum() - 25 * np.pi) < 2, "a quarter of a disc"
    drawing.stroke(image, (15, 10), (15, 20), 2, (9, 9, 9))
    assert (image[13:17, 10:20] == 9).all() and image[15, 7:9, 0].tolist() == [0, 8]
    drawing.disc(image, 10, 15, 3, (200, 200, 200), opacity=0.5)
    assert image[10, 15].tolist() == [100, 100, 100]
