"""The game of Nim as docs/new-game.md has it."""

import re
from pathlib import Path

NIM = re.search(r"```python\n(.*?)```", (Path(__file__).parents[1] / "docs" / "new-game.md").read_text(),
                re.DOTALL).group(1)
