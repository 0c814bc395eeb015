"""Damaged files are told of or done without, never a traceback; nothing whole is lost, no code runs (``damage.py``).

MYOSU_DAMAGED_FILES says how many are tried; 2,000 take half an hour.
"""

from __future__ import annotations

import logging
import os

import pytest
from damage import make_whole, run_cases

pytestmark = pytest.mark.slow

COUNT = int(os.environ.get("MYOSU_DAMAGED_FILES", "100"))


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    make_whole(folder)
    return folder


@pytest.mark.parametrize("seed", range(4))
def test_damaged_files_cause_no_unexpected_errors(whole, tmp_path, seed):
    logging.disable()  # notices of damaged lines
    try:
        result = run_cases(COUNT // 4, seed, whole, tmp_path)
    finally:
        logging.disable(logging.NOTSET)
    assert result.faults == []
    assert result.refused >= result.cases / 3  # else the damage would not be worth the name


def test_intact_files_are_read_without_messages(whole, tmp_path, caplog, monkeypatch):
    """The same readers, of files that nobody damaged."""
    monkeypatch.setattr("damage.damage", lambda file, rng, evil: __import__("damage").Case(file, "not at all"))
    result = run_cases(6, 0, whole, tmp_path)
    assert (result.faults, result.refused, caplog.messages) == ([], 0, [])
