"""The Python in which scripts/setup_mlagents.sh installs ML-Agents' own package."""

from pathlib import Path

PYTHON = Path(__file__).parents[1] / ".venv-mlagents" / "bin" / "python"
REASON = "needs mlagents_envs 0.28: bash scripts/setup_mlagents.sh"
