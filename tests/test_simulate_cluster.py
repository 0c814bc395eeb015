"""scripts/simulate_cluster.py against arithmetic."""

import importlib.util
import sys
from dataclasses import replace
from pathlib import Path

import pytest

spec = importlib.util.spec_from_file_location("simulate_cluster",
                                              Path(__file__).parents[1] / "scripts" / "simulate_cluster.py")
cluster = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(cluster)

GAME = cluster.Game(steps=1000, episode_steps=10, episode_bytes=1000, weights=0, learner=2000, replay_ratio=1)


def test_few_hosts_are_limited_by_their_cores():
    # A report of 32 episodes takes 0.32 s to play and 2.7 ms to deliver.
    outcome = cluster.simulate(GAME, hosts=1, cores=4, seconds=100)
    assert outcome.steps == pytest.approx(3 * 320 / (0.32 + cluster.CALL_SECONDS), rel=0.02)
    assert outcome.limit == "actors" and outcome.samples == 2000 and outcome.busy["learner"] > 1


def test_the_relay_limits_reports_per_second():
    quick = replace(GAME, steps=100_000, episode_bytes=0)
    outcome = cluster.simulate(quick, hosts=8, cores=8, seconds=20)
    assert outcome.limit == "relay" and outcome.steps == pytest.approx(320 / cluster.CALL_SECONDS, rel=0.02)


def test_the_link_limits_bytes_per_second_including_weights():
    heavy = replace(GAME, episode_bytes=1e6)
    outcome = cluster.simulate(heavy, hosts=16, cores=8, seconds=100)
    over_the_link = cluster.LINK_BYTES / 1e6 * 10
    local = 7 * 1000
    assert outcome.limit == "link" and over_the_link < outcome.steps < over_the_link + local
    assert cluster.simulate(replace(heavy, weights=1e7), 16, 8, 100).steps < outcome.steps
