"""Environments with a picture, or with a fault in theirs. Importing registers them."""

import gymnasium
import numpy as np

from gym_toys import Counter


class Filmed(Counter):
    """Shows the count as a bar, in a picture of odd height and width."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 5}  # noqa: RUF012

    def __init__(self, render_mode=None, **kwargs):
        super().__init__(**kwargs)
        self.render_mode = render_mode

    def render(self):
        image = np.zeros((31, 45, 3), np.uint8)
        image[:, :8 * int(self.shown[0])] = 255
        return image


class Forgetful(Filmed):
    """Its rewards do not follow from the seed."""

    def step(self, action):
        observation, _, *rest = super().step(action)
        return observation, np.random.default_rng().random(), *rest


class Blind(Filmed):
    def render(self):
        return None


for kind in (Counter, Filmed, Forgetful, Blind):
    gymnasium.register(f"{kind.__name__}-v0", entry_point=kind)
