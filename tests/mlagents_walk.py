"""What ML-Agents' own Python side sees of a game: `mlagents_walk.py BUILD PORT ACTION...`, run where it is installed.

One line of JSON for each step of the first agent: observations, reward, whether it ended and was cut, what is legal.
"""

import json
import sys

import numpy as np
from mlagents_envs.base_env import ActionTuple
from mlagents_envs.environment import UnityEnvironment
from mlagents_envs.side_channel.engine_configuration_channel import EngineConfigurationChannel
from mlagents_envs.side_channel.environment_parameters_channel import EnvironmentParametersChannel


def tell(step, place, ended):
    masks = getattr(step, "action_mask", None)
    print(json.dumps({"observations": [np.round(part[place].astype(float), 3).tolist() for part in step.obs],
                      "reward": round(float(step.reward[place]), 4), "ended": ended,
                      "cut": bool(step.interrupted[place]) if ended else False,
                      "legal": None if masks is None else [int(not x) for mask in masks for x in mask[place]]}))


def main(build, port, actions):
    settings, parameters = EngineConfigurationChannel(), EnvironmentParametersChannel()
    settings.set_configuration_parameters(time_scale=20.0, target_frame_rate=-1, capture_frame_rate=60)
    parameters.set_float_parameter("gravity", 2.5)
    env = UnityEnvironment(build, base_port=port, side_channels=[settings, parameters])
    env.reset()
    (name,) = env.behavior_specs
    continuous = env.behavior_specs[name].action_spec.continuous_size
    for action in [None, *actions]:
        if action is not None:
            given = np.array([[int(number) for number in action.split(",")]])
            env.set_actions(name, ActionTuple(continuous=given.astype(np.float32)) if continuous else
                            ActionTuple(discrete=given.astype(np.int32)))
            env.step()
        waiting, ended = env.get_steps(name)
        if len(ended):
            tell(ended, 0, True)
        tell(waiting, 0, False)
    env.close()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3:])
