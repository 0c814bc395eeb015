"""The watch page in a real browser: it shows the content of the files, also while they grow."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest
from PIL import Image

pytest.importorskip("playwright", reason="the page is tested with playwright (requirements-dev.lock)")
from playwright.sync_api import expect
from test_watch import evaluation, record, write

from myosu.runs.run import open_run
from myosu.web.room import Room
from web_runs import TINY, serving, untrained_run


@pytest.fixture
def runs(tmp_path):
    """A run with 1,000 records and a game, and one with 7 records."""
    name, settings = TINY["tictactoe"]
    healthy = (name, {**settings, "reconstruction_loss_weight": 1.0})  # the doctor warns if it is 0
    folders = [untrained_run(tmp_path / folder, "tictactoe", learnt_by=healthy) for folder in ("long", "short")]
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
    """Open the page of both runs."""

    def open_page(**settings):
        page = new_context(address, **settings).new_page()
        page.goto("/watch")
        page.locator("#board[data-ply='0']").wait_for()
        return page

    return open_page


def line(page, chart, run):
    return page.locator(f"[data-chart='{chart}'] .line.run{run}")


def test_curves_grow_while_the_page_is_open(open_page, runs):
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

    write(runs[1] / "metrics.jsonl", record(1), record(2, "finished"))  # started again
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
    assert page.locator("[data-chart='loss/loss'] .mark").count() == 2  # the same moment in every chart
    page.reload()
    expect(page.get_by_label("Updates", exact=True)).to_be_checked()


def test_recorded_game_is_stepped_through(open_page):
    page = open_page()
    pieces = page.locator("#board .cell")
    seen = []
    for ply in range(6):
        page.locator(f"#board[data-ply='{ply}']").wait_for()
        seen.append("".join(pieces.evaluate_all("cells => cells.map(cell => cell.dataset.piece)")))
        if ply < 5:
            page.locator("#next").click()
    assert seen == ["000000000", "100000000", "100200000", "110200000", "110220000", "111220000"]
    assert page.locator("#next").is_disabled() and "Cross won" in page.locator("#caption").inner_text()
    page.keyboard.press(",")
    page.locator("#board[data-ply='4']").wait_for()
    page.locator("#which").select_option("1")
    page.get_by_text("No game was recorded").wait_for()
    page.locator("#play").click()
    page.locator("#board[data-turn=person]").wait_for()
    page.locator("#watch").click()
    page.locator("#charts .chart").first.wait_for()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_watch_page_fits_a_phone(open_page, scheme):
    page = open_page(viewport={"width": 320, "height": 740}, has_touch=True, is_mobile=True, color_scheme=scheme)
    expect(line(page, "evaluation/mean_reward", 0)).to_have_attribute("data-points", "5")
    assert page.evaluate("document.documentElement.scrollWidth") == 320
    right = page.locator(".chart:not([hidden]) svg").evaluate_all(
        "plots => Math.max(...plots.map(plot => plot.getBoundingClientRect().right))")
    assert right <= 320


def test_watch_page_loads_less_than_300_kb(open_page):
    page = open_page()
    sizes = page.evaluate("performance.getEntriesByType('resource').filter(entry => entry.name.includes('/static/'))"
                          ".map(entry => [new URL(entry.name).host, entry.decodedBodySize])")
    assert len(sizes) > 8 and {host for host, _ in sizes} == {page.url.split("/")[2]}
    assert sum(size for _, size in sizes) < 300_000


def test_findings_are_shown_beside_their_curves(open_page, runs):
    """Findings of the second run, whose entropy collapses and gradient is always clipped; none of the first."""
    page = open_page()
    assert page.locator(".health .bad").count() == 0 and page.locator(".notes li").count() == 0
    write(runs[1] / "metrics.jsonl", *(record(k, **{"selfplay/policy_entropy": 2.0 if k < 8 else 0.001,
                                                    "loss/gradient_norm": 3000.0}) for k in range(60)))
    card = page.get_by_role("article", name="short")
    expect(card.locator("[data-check=entropy]")).to_contain_text("Entropy: the policy's entropy fell from 2 to 0.001")
    expect(card.locator("[data-check=entropy]")).to_contain_text("What to change: Raise --entropy-weight")
    note = page.locator("[data-chart='selfplay/policy_entropy'] .notes li")
    expect(note).to_have_count(1)
    assert note.inner_text() == "short: Entropy: the policy converged too early, unless the game is solved."
    expect(page.locator("[data-chart='loss/gradient_norm'] .notes li")).to_have_count(1)
    assert page.locator("[data-chart='loss/loss'] .notes li").count() == 0
    card.get_by_role("button", name="See gradient norm").click()
    expect(page.locator("[data-chart='loss/gradient_norm']")).to_be_in_viewport()
    assert page.get_by_role("article", name="long").locator(".bad").count() == 0


def drag(page, chart, start, end):
    """Drag from one fraction of a chart's axis to another."""
    plot = page.locator(f"[data-chart='{chart}'] svg")
    plot.scroll_into_view_if_needed()
    box = plot.bounding_box()
    left, width = box["x"] + 46, box["width"] - 46 - 12
    page.mouse.move(left + start * width, box["y"] + 50)
    page.mouse.down()
    for step in range(1, 6):
        page.mouse.move(left + (start + (end - start) * step / 5) * width, box["y"] + 50)
    page.mouse.up()


def test_zoom_smoothing_and_a_logarithmic_axis(open_page):
    page = open_page()
    entropy, loss = line(page, "selfplay/policy_entropy", 0), line(page, "loss/loss", 0)
    whole = int(entropy.get_attribute("data-points"))
    drag(page, "selfplay/policy_entropy", 0.5, 0.6)  # of 1,000 records
    expect(entropy).to_have_attribute("data-points", re.compile("^(9[89]|10[012])$"))
    assert 1.69 < float(entropy.get_attribute("data-last")) < 1.71
    page.locator("#unzoom").click()
    expect(entropy).to_have_attribute("data-points", str(whole))
    page.locator("[data-chart='loss/loss'] svg").focus()
    page.keyboard.press("+")  # half of the axis, of 1,000 records
    expect(loss).to_have_attribute("data-last", re.compile("^0.0013"))
    page.keyboard.press("Escape")
    expect(loss).to_have_attribute("data-last", "0.001")

    def ticks():  # of the loss, which falls from 1 to 0.001
        return page.locator("[data-chart='loss/loss'] svg text[text-anchor=end]").all_text_contents()

    page.get_by_label("Log scale").check()
    assert ticks()[:4] == ["0.001", "0.01", "0.1", "1"]
    assert "linear" in page.locator("[data-chart='evaluation/mean_reward'] h3").inner_text()  # its band reaches 0
    page.locator("#smoothing").evaluate("slider => { slider.value = 30; }")
    page.locator("#smoothing").dispatch_event("input")
    page.locator("#smoothing").dispatch_event("change")
    expect(page.locator("[data-chart='loss/loss'] .behind.run0")).to_have_count(1)
    assert float(loss.get_attribute("data-last")) == pytest.approx(sum(1 / k for k in range(851, 1001)) / 150, rel=0.01)


def test_runs_are_hidden_and_added(open_page, runs):
    untrained_run(runs[0].parent / "third", "tictactoe")
    write(runs[0].parent / "third" / "metrics.jsonl", record(1), record(2, **{"loss/loss": 0.75}))
    page = open_page()
    page.get_by_role("article", name="short").get_by_label("Show").uncheck()
    expect(line(page, "loss/loss", 1)).to_have_count(0)
    assert line(page, "loss/loss", 0).count() == 1 and page.locator("#evaluations tbody tr").count() == 5
    assert page.locator("[data-chart='loss/loss'] .saves a").get_attribute("href").endswith("name=loss%2Floss&runs=0")
    page.get_by_label("Add a run").select_option("third")
    expect(line(page, "loss/loss", 2)).to_have_attribute("data-last", "0.75")
    page.get_by_role("article", name="short").get_by_label("Show").check()
    expect(line(page, "loss/loss", 1)).to_have_count(1)


def test_seeds_are_grouped_and_other_settings_kept_apart(new_context, tmp_path):
    """Two runs that differ in the seed, with losses 1 and 3, and a run with a different number of simulations."""
    folders = []
    for name, seed, simulations, loss in (("a", 0, 4, 1.0), ("b", 1, 4, 3.0), ("c", 0, 5, 9.0)):
        folders.append(untrained_run(tmp_path / name, "tictactoe"))
        config = json.loads((folders[-1] / "config.json").read_text())
        config["train"]["seed"], config["algorithm_config"]["simulations"] = seed, simulations
        (folders[-1] / "config.json").write_text(json.dumps(config))
        write(folders[-1] / "metrics.jsonl", *(record(k, **{"loss/loss": loss}) for k in range(1, 4)))
    with serving(None, *folders) as address:
        page = new_context(address).new_page()
        page.goto("/watch")
        rows = page.locator("#differences tbody tr")
        expect(rows).to_have_count(2)
        assert rows.all_inner_texts() == ["seed\t0\t1\t0", "simulations\t4\t4\t5"]
        expect(line(page, "loss/loss", 1)).to_have_count(1)
        page.get_by_label("Group by seed").check()
        expect(line(page, "loss/loss", 0)).to_have_attribute("data-last", "2")
        expect(line(page, "loss/loss", 1)).to_have_count(0)
        assert line(page, "loss/loss", 2).get_attribute("data-last") == "9"
        assert page.locator("[data-chart='loss/loss'] .band").count() == 1


def test_curve_is_saved_as_image_and_csv(open_page):
    page = open_page()
    chart = page.locator("[data-chart='loss/loss']")
    chart.hover()
    with page.expect_download() as download:
        chart.get_by_role("button", name="Save Loss as a picture").click()
    assert download.value.suggested_filename == "loss-loss.png"
    picture = Image.open(download.value.path()).convert("RGB")
    colours = {colour for _, colour in picture.getcolors(100_000)}
    assert picture.width > 400 and len(colours) > 20
    blue = page.locator("[data-chart='loss/loss'] .line.run0").evaluate("line => getComputedStyle(line).stroke")
    assert tuple(map(int, re.findall(r"\d+", blue))) in colours
    with page.expect_download() as download:
        chart.get_by_role("link", name="CSV").click()
    rows = Path(download.value.path()).read_text().splitlines()
    assert len(rows) == 1 + 1000 + 7 and rows[1] == "long,loss/loss,0.0,0.0,0.0,1.0"  # all, not only the 400 drawn


def test_progress_before_the_first_update_is_shown(new_context, tmp_path):
    """A run in training without records, and one that collects positions before its first update."""
    folder = untrained_run(tmp_path / "run", "tictactoe")
    lock = open_run(folder).lock()
    with serving(None, folder) as address:
        page = new_context(address).new_page()
        page.goto("/watch")
        card = page.get_by_role("article", name="run")
        expect(card).to_contain_text("Compiling and starting")
        assert card.locator("progress").get_attribute("value") is None
        needed = open_run(folder).config.algorithm_config["learning_starts"]
        write(folder / "metrics.jsonl", record(1, "waiting for games", update=0, replay_positions=needed // 2))
        expect(card).to_contain_text("Collecting the positions to begin with: 50 %.")
        assert card.locator("progress").get_attribute("value") == "0.5"
        write(folder / "metrics.jsonl", record(2))
        expect(card).not_to_contain_text("to begin with")
    os.close(lock)
