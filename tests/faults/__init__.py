"""Planted faults: environments and games with one mistake each, written as their authors might have written them.

``FAULTS`` lists them, ``HEALTHY`` those without one; ``scripts/measure_doctor.py`` counts which of them the doctor
names.
"""

from faults.env_faults import ENV_FAULTS
from faults.fault import Fault
from faults.game_faults import GAME_FAULTS
from faults.healthy import HEALTHY
from faults.other_faults import OTHER_FAULTS
from faults.third_faults import THIRD_FAULTS

FAULTS: list[Fault] = [*ENV_FAULTS, *GAME_FAULTS, *OTHER_FAULTS, *THIRD_FAULTS]

__all__ = ["FAULTS", "HEALTHY", "Fault"]
