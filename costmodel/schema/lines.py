"""On which line of a TOML file a key or an entry stands; the parser of the standard library does not tell.

The text must be sound TOML. It is only scanned when a message needs a line.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple, Union

Path = tuple[Union[str, int], ...]

_TOKEN = re.compile(
    r"""
      (?P<skip>[ \t\r]+|\#[^\n]*)
    | (?P<newline>\n)
    | (?P<text>\"{3}(?:\\.|[^\\])*?\"{3,5}|'{3}.*?'{3,5}|"(?:\\.|[^"\\])*"|'[^']*')
    | (?P<sign>[\[\]{},=.])
    | (?P<bare>[^\s\[\]{},=.#"']+)
    """,
    re.VERBOSE | re.DOTALL,
)
_ENDS = ("newline", ",", "]", "}", "end")


class Token(NamedTuple):
    kind: str
    text: str
    line: int


def line_of(text: str, path: Sequence[str | int]) -> int:
    r"""The line, counted from 1, of the key or entry at a path; of the nearest one around it where there is none.

    >>> line_of('[body]\nlayers = [\n  "relu",\n  { conv = 8 },\n]', ("body", "layers", 1, "conv"))
    4
    """
    lines = lines_of(text)
    return next((lines[key] for end in range(len(path), 0, -1) if (key := tuple(path[:end])) in lines), 1)


def lines_of(text: str) -> Mapping[Path, int]:
    r"""The line of every key and entry.

    >>> lines_of('a.b = 1\n[[c]]\nd = [2, 3]')
    {('a',): 1, ('a', 'b'): 1, ('c',): 2, ('c', 0): 2, ('c', 0, 'd'): 3, ('c', 0, 'd', 0): 3, ('c', 0, 'd', 1): 3}
    """
    scanner = _Scanner(text)
    scanner.statements()
    return scanner.lines


def _tokens(text: str) -> Iterator[Token]:
    line = 1
    for match in _TOKEN.finditer(text):
        kind, found = match.lastgroup or "", match.group()
        if kind != "skip":
            yield Token(found if kind == "sign" else kind, found, line)
        line += found.count("\n")
    yield Token("end", "", line)


class _Scanner:
    def __init__(self, text: str) -> None:
        self.tokens = list(_tokens(text))
        self.at = 0
        self.lines: dict[Path, int] = {}
        self.tables: dict[Path, int] = {}  # how many tables each array of tables has so far

    @property
    def next(self) -> Token:
        return self.tokens[self.at]

    def take(self) -> Token:
        self.at += 1
        return self.tokens[self.at - 1]

    def statements(self) -> None:
        """The whole file: headers, and keys with values below them."""
        header: Path = ()
        while self.next.kind != "end":
            if self.next.kind == "newline":
                self.take()
            elif self.next.kind == "[":
                header = self._header()
            else:
                self._pair(header)

    def _header(self) -> Path:
        line = self.take().line
        is_array = self.next.kind == "["
        if is_array:
            self.take()
        *outer, last = self._key()
        path = (*self._resolved(outer, line), last)
        self._note(path, line)
        while self.next.kind == "]":
            self.take()
        if is_array:
            self.tables[path] = self.tables.get(path, 0) + 1
            path = (*path, self.tables[path] - 1)
            self._note(path, line)
        return path

    def _resolved(self, parts: Sequence[str], line: int) -> Path:
        """The path that the parts of a header name: in an array of tables, its last table is meant."""
        path: Path = ()
        for part in parts:
            path = (*path, part)
            self._note(path, line)
            if path in self.tables:
                path = (*path, self.tables[path] - 1)
        return path

    def _pair(self, table: Path) -> None:
        line = self.next.line
        for part in self._key():
            table = (*table, part)
            self._note(table, line)
        self.take()  # the equals sign
        self._value(table)

    def _key(self) -> list[str]:
        parts = [_plain(self.take())]
        while self.next.kind == ".":
            self.take()
            parts.append(_plain(self.take()))
        return parts

    def _value(self, path: Path) -> None:
        opening = self.take().kind
        if opening not in ("[", "{"):
            while self.next.kind not in _ENDS:  # the rest of a number with a point, or of a date
                self.take()
            return
        entries = 0
        while self.next.kind not in ("]", "}", "end"):
            if self.next.kind in ("newline", ","):
                self.take()
            elif opening == "{":
                self._pair(path)
            else:
                self._note((*path, entries), self.next.line)
                self._value((*path, entries))
                entries += 1
        self.take()

    def _note(self, path: Path, line: int) -> None:
        self.lines.setdefault(path, line)


def _plain(token: Token) -> str:
    """A part of a key without its quotes."""
    if token.kind != "text":
        return token.text
    return str(json.loads(token.text)) if token.text.startswith('"') else token.text.strip("'")
