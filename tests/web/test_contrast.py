"""Contrast by WCAG 2 of the colours in the style sheets, in both themes: 4.5:1 for text, 3:1 for dots, hints, pieces
and curves."""

import re
from pathlib import Path

import pytest

import myosu.web

STATIC = Path(myosu.web.__file__).parent / "static"
SHEETS = "\n".join(re.sub(r"/\*.*?\*/", "", (STATIC / name).read_text(), flags=re.DOTALL)
                   for name in ("style.css", "watch.css"))
RULES = [(selector.strip(), body) for selectors, body in re.findall(r"([^{}]+)\{([^{}]*)\}", SHEETS)
         for selector in selectors.split(",")]
THEMES = ("light", "dark")


def declared(selector, name):
    """The value of a property in the rule of this selector."""
    values = [value.strip() for found, body in RULES if found == selector
              for key, value in re.findall(r"([\w-]+)\s*:\s*([^;]+)", body) if key == name]
    assert values, f"{selector} declares no {name}"
    return values[-1]


def colours(value, theme):
    """The opaque colours in a value, as (r, g, b) in [0, 255]."""
    value = re.sub(r"var\((--[\w-]+)\)", lambda name: declared(":root", name[1]), value)
    value = re.sub(r"light-dark\(([^,()]+),\s*([^,()]+)\)", lambda pair: pair[1 + THEMES.index(theme)], value)
    found = [code if len(code) == 6 else "".join(2 * digit for digit in code)
             for code in re.findall(r"#([0-9a-f]{6}|[0-9a-f]{3})\b", value)]
    assert found, value
    return [tuple(int(code[k:k + 2], 16) for k in (0, 2, 4)) for code in found]


def luminance(colour):
    red, green, blue = (part / 255 / 12.92 if part <= 0.04045 * 255 else ((part / 255 + 0.055) / 1.055) ** 2.4
                        for part in colour)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one, other):
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def mixed(over, under, share):
    return tuple(share * a + (1 - share) * b for a, b in zip(over, under, strict=True))


def test_contrast_of_known_colours():
    assert contrast((255, 255, 255), (0, 0, 0)) == pytest.approx(21)
    assert contrast((119, 119, 119), (255, 255, 255)) == pytest.approx(4.48, abs=0.01)  # #777 on white


GREEN = ".othello .grid"
HOLE = ".connect_four .cell::before"
#: What is seen: the rule and property of its colour, those of what lies below, and the least contrast.
PAIRS = {
    "text": ("body", "color", "body", "background", 4.5),
    "text on a card": ("dialog", "color", "dialog", "background", 4.5),
    "faint text": (".faint", "color", "body", "background", 4.5),
    "faint text on a card": (".faint", "color", ".card", "background", 4.5),
    "a button": ("button.primary", "color", "button.primary", "background", 4.5),
    "the status of a win": (".status.won", "color", "body", "background", 4.5),
    "the status of a lost connection": (".lost .status", "color", "body", "background", 4.5),
    "a link": (".export a", "color", ".card", "background", 4.5),
    "a dot in Othello": (".othello .open .piece", "background", GREEN, "background", 3),
    "a dot in Woodoku": (".woodoku .fits::before", "background", ".woodoku .cell", "background", 3),
    "a dot in a box of Woodoku": (".woodoku .fits::before", "background", ".woodoku .cell.box", "background", 3),
    "an arrow in Snake": (".snake .wish", "fill", ".snake .frame", "background", 3),
    "a hinted arrow in Snake": (".snake .wish.hinted", "fill", ".snake .frame", "background", 3),
    "a hinted shot in Bubble": (".guide .wish", "stroke", ".bubbles", "background", 3),
    "a hinted piece": (".slot.hinted", "border-color", ".slot", "background", 3),
    "an apple": (".snake .apple", "fill", ".snake .frame", "background", 3),
    "a red disc": (".red", "--face", HOLE, "background", 3),
    "a yellow disc": (".yellow", "--face", HOLE, "background", 3),
    "a cross": (".cross", "--cross", ".tictactoe .frame", "background", 3),
    "a ring": (".tictactoe .ring .face", "border", ".tictactoe .frame", "background", 3),
    "an inaccuracy": (".curve .marked", "fill", ".card", "background", 3),
    "a mistake": (".curve .mistake", "fill", ".card", "background", 3),
    **{f"the curve of run {k}": (":root", f"--run{k}", ".card", "background", 3) for k in range(8)},
}


@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("pair", PAIRS)
def test_contrast_is_sufficient(pair, theme):
    seen, colour, below, ground, least = PAIRS[pair]
    found = {(one, other): contrast(one, other) for one in colours(declared(seen, colour), theme)
             for other in colours(declared(below, ground), theme)}
    assert min(found.values()) >= least, found


@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("board, ground", [
    (".othello", GREEN), (".connect_four", HOLE), (".go", ".go .grid"), (".tictactoe", ".tictactoe .frame"),
    (".woodoku", ".woodoku .cell"), (".woodoku", ".woodoku .cell.box")])
def test_ring_of_a_hint_has_contrast(board, ground, theme):
    """The ring has two colours, so that one of them stands out from any ground."""
    own = any(found == board and "--hint:" in body for found, body in RULES)
    ring, = colours(declared(board, "--hint") if own else "var(--hint)", theme)
    edge = colours(declared(".cell.hinted::after", "box-shadow"), theme)[0]
    assert contrast(ring, edge) >= 3
    assert all(max(contrast(ring, below), contrast(edge, below)) >= 3
               for below in colours(declared(ground, "background"), theme))


@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("heat, ground", [("#ffd75e", GREEN), ("#ffd75e", ".go .grid"), (".connect_four", HOLE),
                                          ("#ffd75e", ".tictactoe .frame")])
def test_numbers_on_the_board_are_legible(heat, ground, theme):
    """The number of a move's share lies on a spot that covers the less the smaller the share."""
    covering = declared(".cell.analyzed .note", "background")
    full, span = map(float, re.search(r"calc\((\d+)% - (\d+)% \* var\(--share\)\)", covering).groups())
    text, = colours(declared(".cell.analyzed .note", "color"), theme)
    spot, = colours(heat if heat.startswith("#") else declared(heat, "--heat"), theme)
    for below in colours(declared(ground, "background"), theme):
        for share in (0.0, 1.0):
            assert contrast(text, mixed(spot, below, 1 - (full - span * share) / 100)) >= 4.5
