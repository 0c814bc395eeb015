"""The script that tries environments of other people's packages: what it tries, and the table that it writes."""

import importlib.util
import json
from pathlib import Path

ROOT = Path(__file__).parents[1]
spec = importlib.util.spec_from_file_location("try_environments", ROOT / "scripts" / "try_environments.py")
assert spec is not None and spec.loader is not None
script = importlib.util.module_from_spec(spec)
spec.loader.exec_module(script)

GOOD = {"algorithm": "ppo", "steps": 12345, "seconds": 40.4, "random": {"mean": 20.0, "error": 1.0}, "version": "1.2",
        "trained": {"mean": 100.0, "error": 5.0}}


def test_cases_are_distinct_and_many():
    keys = [case.key for case in script.CASES]
    assert len(keys) == len(set(keys)) >= 40
    assert len({case.packages.split()[0] for case in script.CASES}) >= 20


def test_results_table():
    one, two, three = script.CASES[:3]
    table = script.table({one.key: GOOD, two.key: GOOD | {"trained": {"mean": 23.0, "error": 2.0}},
                          three.key: {"error": "no\n| licence", "version": ""}, "what is tried no more": GOOD})
    lines = table.splitlines()
    assert lines[0].startswith("3 environments of 1 packages: 2 work, 1 learnt")
    assert lines[4] == f"| `{one.key}` | gymnasium 1.2 | yes | 20 | 100 (ppo, 12,345 in 40 s) | yes |"
    assert lines[5].endswith("| 23 (ppo, 12,345 in 40 s) | no |")
    assert lines[6] == f"| `{three.key}` | gymnasium | no | | | no \\| licence |"


def test_the_page_shows_the_results():
    page, results = script.PAGE.read_text(), json.loads(script.RESULTS.read_text())
    assert page.partition(script.BEGIN)[2].partition(script.END)[0] == script.table(results)
