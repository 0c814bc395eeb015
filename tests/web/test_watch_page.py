"""The page to watch in a real browser: what it draws is what the files say, also while they grow."""

from __future__ import annotations

import re

import pytest

pytest.importorskip("playwright", reason="the page is tested with playwright (requirements-dev.lock)")
from playwright.sync_api import expect
from test_watch import evaluation, record, write

from myosu.web.room import Room
from web_runs import serving, untrained_run


@pytest.fixture
def runs(tmp_path):
    """A run with 1,000 records and a game, and one with 7 records."""
    folders = [untrained_run(tmp_path / name, "tictactoe") for name in ("long", "short")]
    for folder, count in zip(folders, (1000, 7), strict=True):
        write(folder / "metrics.jsonl", *(record(k, **{"selfplay/policy_entropy": 2 - k / 2000}) for k in range(count)),
              *(evaluation(10 * k, float(k), win_rate=k / 10, win_rate_ci95=[0.0, 1.0], draw_rate=0.0, loss_rate=0.5,
                           opponent="random") for k in range(1, 6)))
    write(folders[0] / "games.jsonl", {"index": 3, "env_steps": 9, "weights_version": 1, "length": 5,
                                       "returns": [1.0, -1.0], "seed": 1, "truncated": False,
                                       "actions": [0, 3, 1, 4, 2]})
    return folders


@pytest.fixture
def address(runs):
    with serving(Room(runs[0]), *runs) as address:
        yield address


@pytest.fixture
def open_page(address, new_context):
    """Opens the page of both runs."""

    def open_page(**settings):
        page = new_context(address, **settings).new_page()
        page.goto("/watch")
        page.locator("#board[data-ply='0']").wait_for()
        return page

    return open_page


def line(page, chart, run):
    return page.locator(f"[data-chart='{chart}'] .line.run{run}")


def test_curves_grow_while_one_looks_on(open_page, runs):
    page = open_page()
    long, short = line(page, "evaluation/mean_reward", 0), line(page, "evaluation/mean_reward", 1)
    expect(long).to_have_attribute("data-points", "5")
    expect(long).to_have_attribute("data-last", "5")
    expect(line(page, "loss/loss", 1)).to_have_attribute("data-points", "7")
    entropy = line(page, "selfplay/policy_entropy", 0)
    assert 300 < int(entropy.get_attribute("data-points")) <= 400
    assert float(entropy.get_attribute("data-last")) == pytest.approx(2 - 999 / 2000)
    assert page.locator("#evaluations tbody tr").count() == 10
    assert page.locator(".state").all_inner_texts()[1].startswith("running")

    write(runs[1] / "metrics.jsonl", evaluation(70, 7.5), mode="a")
    with open(runs[1] / "metrics.jsonl", "a") as out:
        out.write('{"kind": "training", "upd')
    expect(short).to_have_attribute("data-last", "7.5")
    expect(short).to_have_attribute("data-points", "6")
    expect(line(page, "loss/loss", 1)).to_have_attribute("data-points", "7")
    expect(page.locator("#evaluations tbody tr")).to_have_count(11)

    write(runs[1] / "metrics.jsonl", record(1), record(2, "finished"))  # begun again
    expect(line(page, "loss/loss", 1)).to_have_attribute("data-points", "2")
    expect(page.locator(".state").nth(1)).to_have_attribute("data-state", "finished")
    expect(short).to_have_count(0)


def test_other_axes_and_values_by_keyboard(open_page):
    page = open_page()
    chart = page.locator("[data-chart='evaluation/mean_reward']")
    plot = chart.locator("svg")
    said = plot.get_attribute("aria-label")
    assert "over minutes of training" in said and "long: 5 points from 1 to 5" in said
    page.get_by_label("Updates", exact=True).check(force=True)
    expect(plot).to_have_attribute("aria-label", re.compile("over gradient steps"))
    plot.focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    assert chart.locator(".readout").inner_text().split() == ["at", "20", "2", "2"]
    assert page.locator("[data-chart='loss/loss'] .mark").count() == 2  # the same moment in every picture
    page.reload()
    expect(page.get_by_label("Updates", exact=True)).to_be_checked()


def test_a_game_is_stepped_through(open_page):
    page = open_page()
    pieces = page.locator("#board .cell")
    seen = []
    for ply in range(6):
        page.locator(f"#board[data-ply='{ply}']").wait_for()
        seen.append("".join(pieces.evaluate_all("cells => cells.map(cell => cell.dataset.piece)")))
        if ply < 5:
            page.locator("#next").click()
    assert seen == ["000000000", "100000000", "100200000", "110200000", "110220000", "111220000"]
    assert page.locator("#next").is_disabled() and "1 : −1" in page.locator("#caption").inner_text()
    page.keyboard.press(",")
    page.locator("#board[data-ply='4']").wait_for()
    page.locator("#which").select_option("1")
    page.get_by_text("No game was recorded").wait_for()
    page.locator("#play").click()
    page.locator("#board[data-turn=person]").wait_for()
    page.locator("#watch").click()
    page.locator("#charts .chart").first.wait_for()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone(open_page, scheme):
    page = open_page(viewport={"width": 360, "height": 740}, has_touch=True, is_mobile=True, color_scheme=scheme)
    expect(line(page, "evaluation/mean_reward", 0)).to_have_attribute("data-points", "5")
    assert page.evaluate("document.documentElement.scrollWidth") == 360
    right = page.locator(".chart:not([hidden]) svg").evaluate_all(
        "plots => Math.max(...plots.map(plot => plot.getBoundingClientRect().right))")
    assert right <= 360


def test_the_weight_of_the_page(open_page):
    page = open_page()
    sizes = page.evaluate("performance.getEntriesByType('resource').filter(entry => entry.name.includes('/static/'))"
                          ".map(entry => [new URL(entry.name).host, entry.decodedBodySize])")
    assert len(sizes) > 8 and {host for host, _ in sizes} == {page.url.split("/")[2]}
    assert sum(size for _, size in sizes) < 300_000


def test_findings_lie_beside_their_curves(open_page, runs):
    """Of the second run, whose entropy collapses and whose gradient is cut always, and not of the first."""
    page = open_page()
    assert page.locator(".health .bad").count() == 0 and page.locator(".notes li").count() == 0
    write(runs[1] / "metrics.jsonl", *(record(k, **{"selfplay/policy_entropy": 2.0 if k < 8 else 0.001,
                                                    "loss/gradient_norm": 3000.0}) for k in range(60)))
    card = page.get_by_role("article", name="short")
    expect(card.locator("[data-check=entropy]")).to_contain_text("Entropy: the policy's entropy fell from 2 to 0.001")
    expect(card.locator("[data-check=entropy]")).to_contain_text("What to change: Raise --entropy-weight")
    note = page.locator("[data-chart='selfplay/policy_entropy'] .notes li")
    expect(note).to_have_count(1)
    assert note.inner_text() == "short: Entropy: the policy settled too soon, unless the game is solved."
    expect(page.locator("[data-chart='loss/gradient_norm'] .notes li")).to_have_count(1)
    assert page.locator("[data-chart='loss/loss'] .notes li").count() == 0
    card.get_by_role("button", name="See gradient norm").click()
    expect(page.locator("[data-chart='loss/gradient_norm']")).to_be_in_viewport()
    assert page.get_by_role("article", name="long").locator(".bad").count() == 0
