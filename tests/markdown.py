"""What the pages claim, run: Python blocks as doctests, shell sessions against their printed output.

``python -m tests.markdown README.md`` writes the outputs anew where they changed: read the difference before you keep it.
"""

from __future__ import annotations

import doctest
import os
import re
import shlex
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.command import run

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_PROMPT = re.compile(r"^\$ ", re.MULTILINE)
ELLIPSIS = "..."
WIDTH = "80"


def blocks(page: Path, language: str) -> Iterator[tuple[int, str]]:
    """The fenced blocks of a language, each with its first line's number, from 1."""
    text = page.read_text(encoding="utf-8")
    for match in _FENCE.finditer(text):
        if match[1] == language:
            yield text.count("\n", 0, match.start(2)) + 1, match[2]


@dataclass(frozen=True)
class Claim:
    """Something typed, what the page says that it prints, and what it does print; ``line`` is that of the output."""

    line: int
    typed: str
    expected: str
    printed: str

    @property
    def holds(self) -> bool:
        return matches(self.expected, self.printed)


def matches(expected: str, printed: str) -> bool:
    """Whether a text is the expected one, whatever blanks end its lines; ``...`` stands for anything."""
    pattern = ".*".join(map(re.escape, _tidy(expected).split(ELLIPSIS)))
    return re.fullmatch(pattern, _tidy(printed), re.DOTALL) is not None


def _tidy(text: str) -> str:
    return "\n".join(line.rstrip() for line in text.strip("\n").splitlines())


# -- Python -----------------------------------------------------------------------------------------------------


class _Recorder(doctest.DocTestRunner):
    """Keeps what differs instead of printing it."""

    def __init__(self) -> None:
        super().__init__(optionflags=doctest.ELLIPSIS)
        self.claims: list[Claim] = []

    def report_failure(self, out: object, test: doctest.DocTest, example: doctest.Example, got: str) -> None:
        self._keep(test, example, got)

    def report_unexpected_exception(
        self, out: object, test: doctest.DocTest, example: doctest.Example, exc_info: Any
    ) -> None:
        self._keep(test, example, repr(exc_info[1]))

    def _keep(self, test: doctest.DocTest, example: doctest.Example, got: str) -> None:
        line = (test.lineno or 0) + example.lineno + example.source.count("\n")
        self.claims.append(Claim(line, example.source, example.want, got))


def python_failures(page: Path) -> list[Claim]:
    """Run the Python blocks of a page as one session; what differs."""
    runner = _Recorder()
    names: dict[str, object] = {"__name__": "__main__"}
    for line, code in blocks(page, "python"):
        test = doctest.DocTestParser().get_doctest(code, names, page.name, str(page), line)
        runner.run(test, clear_globs=False)
        names = test.globs
    return runner.claims


# -- shell ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Command:
    """A ``$ costmodel ...`` line of a session with what it should print; ``line`` is that of the output."""

    line: int
    words: tuple[str, ...]
    expected: str

    def claim(self) -> Claim:
        """Run it; stderr comes first."""
        ran = run(*self.words)
        return Claim(self.line, " ".join(self.words), self.expected, ran.err + ran.out)


def commands(page: Path) -> list[Command]:
    """The commands of a page's console blocks, in order."""
    found = []
    for line, session in blocks(page, "console"):
        for start in _PROMPT.finditer(session):
            typed, _, rest = session[start.end() :].partition("\n")
            following = _PROMPT.search(rest)
            program, *words = shlex.split(typed)
            assert program == "costmodel", f"{page.name}: only costmodel is run, not {program}"
            printed = rest[: following.start()] if following else rest
            found.append(Command(line + session.count("\n", 0, start.end()) + 1, tuple(words), printed))
    return found


# -- writing anew -----------------------------------------------------------------------------------------------


def refreshed(page: Path) -> str:
    """The page with true outputs; one blank line after each but the last of a block stays."""
    lines = page.read_text(encoding="utf-8").split("\n")
    claims = [*python_failures(page), *(command.claim() for command in commands(page))]
    for claim in sorted(claims, key=lambda claim: -claim.line):
        if not claim.holds:
            start = claim.line - 1
            end = start + len(claim.expected.rstrip("\n").split("\n")) if claim.expected.strip() else start
            lines[start:end] = _tidy(claim.printed).split("\n")
    return "\n".join(lines)


if __name__ == "__main__":
    os.environ["COLUMNS"] = WIDTH
    for name in sys.argv[1:]:
        Path(name).write_text(refreshed(Path(name)), encoding="utf-8")
