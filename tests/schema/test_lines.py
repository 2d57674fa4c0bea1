"""The lines of keys and entries, against the standard library's parser and the text of the lines themselves."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from costmodel.schema.data import data_folder
from costmodel.schema.lines import line_of, lines_of

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


def paths(value: Any, at: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Every key and entry that the parser finds."""
    if at:
        yield at
    entries = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in entries:
        yield from paths(inner, (*at, key))


TEXTS = [
    "a = 1\nb = 2.5\n",
    "# a = 0\na = 1  # b = 2\n\nb.c.d = 'x = 1'\nb.c.e = \"#\"\n",
    "[t]\na = [\n  1,\n  [2, 3],\n  { b = 4, c = [5] },\n]\n[t.u]\nv = 1979-05-27T07:32:00Z\nw = -1.5e-3\n",
    '[[t]]\na = 1\n[[t]]\na = 2\n[t.u]\nb = """\nc = 3\n"quoted" \\"""\n"""\nd = 4\n[[t.v]]\ne = 5\n[[t.v]]\ne = 6\n',
    "\"a.b\".'c d' = { \"e\\\"f\" = 1 }\n",
    "a = '''\n[t]\nb = 1'''\nc = ''\nd = \"\"\ne = [ # note ]\n  'x', # 'y'\n\n  'z' ]\n",
]


@pytest.mark.parametrize("text", TEXTS)
def test_every_key_and_entry_has_a_line(text: str) -> None:
    assert set(lines_of(text)) == set(paths(tomllib.loads(text)))


@pytest.mark.parametrize("path", sorted(data_folder("zoo_specs").glob("*.toml")), ids=lambda path: path.stem)
def test_keys_stand_on_their_lines(path: Path) -> None:
    """A key's own name is on its line, and that of an entry begins with what the parser reads there."""
    text = path.read_text()
    lines, table = lines_of(text), tomllib.loads(text)
    assert set(lines) == set(paths(table))
    for where, line in lines.items():
        value: Any = table
        for part in where:
            value = value[part]
        shown = where[-1] if isinstance(where[-1], str) else value if isinstance(value, (str, int)) else ""
        assert str(shown).split("\n")[0] in text.splitlines()[line - 1].replace("_", "") + text.splitlines()[line - 1], where


LINES: list[tuple[tuple[str | int, ...], int]] = [
    (("t",), 2),
    (("t", "a", 0), 4),
    (("t", "a", 1), 5),
    (("t", "a", 1, "k"), 6),
    (("t", "a", 2), 8),
    (("t", "b"), 10),
    (("t", "b", "c", "d"), 10),
    (("t", "none"), 2),
    (("t", "a", 7), 3),
    (("none",), 1),
    ((), 1),
]


@pytest.mark.parametrize(("path", "line"), LINES)
def test_the_line_of_a_path_or_of_what_is_around_it(path: tuple[str | int, ...], line: int) -> None:
    assert line_of('# first\n[t]\na = [\n  "x",\n  { j = 1,\n    k = """\n""" },\n  3,\n]\nb.c = 1\n', path) == line
