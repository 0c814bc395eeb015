"""The page shows the numbers of each part of AlphaGo's search."""

import re


def test_search_parts_are_shown_beside_the_board(new_context, alphago):
    _, address = alphago
    page = new_context(address, viewport={"width": 1200, "height": 1100}).new_page()
    page.goto("/")
    page.locator("#board[data-turn=person]").wait_for()
    assert not page.locator(".part").count(), "search parts are shown only on request"
    page.locator(".switch").click()
    page.locator(".part").first.wait_for()
    assert page.locator(".part strong").all_inner_texts() == ["Prior", "Value", "Rollouts", "Visits"]
    assert page.locator(".part .mini").count() == 4 and page.locator(".part .best").count() <= 4
    shares = page.locator("#board .note").all_inner_texts()
    page.locator(".part[data-part=rollouts]").click()
    page.locator(".part[data-part=rollouts][aria-pressed=true]").wait_for()
    rollouts = page.locator("#board .note").all_inner_texts()
    best = re.search(r"best (\w+) (\d+) %", page.locator(".part[data-part=rollouts]").get_attribute("aria-label"))
    most = max(int(note) for note in rollouts if note)
    assert rollouts != shares and most <= int(best[2]) and (most == int(best[2]) or best[1] == "pass")
    page.locator(".part[data-part=rollouts]").click()
    page.locator(".part[data-part=rollouts][aria-pressed=false]").wait_for()
    assert page.locator("#board .note").all_inner_texts() == shares, "the board shows the shares again"
    assert re.search(r"(Black|White) by [\d.]+", page.locator(".territory").inner_text())
    page.locator("#hint").click()
    page.locator(".cell.hinted").click()
    page.locator("#board[data-turn=person]:not([data-ply='0'])").wait_for()
    page.locator("#open-new").click()
    assert page.locator("#strengths option", has_text="AlphaGo’s search").count()
