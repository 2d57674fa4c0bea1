"""The README, as a reader would try it."""

from __future__ import annotations

from pathlib import Path

import pytest

from costmodel.accuracy import PROTOCOLS
from costmodel.version import __version__
from tests.conftest import ROOT
from tests.markdown import WIDTH, Command, blocks, commands, matches, python_failures, refreshed

README = ROOT / "README.md"


@pytest.fixture(autouse=True)
def terminal(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("COLUMNS", WIDTH)
    monkeypatch.setenv("COSTMODEL_HOME", str(tmp_path))


def test_python_blocks() -> None:
    assert list(blocks(README, "python"))
    assert python_failures(README) == []


@pytest.mark.parametrize("command", commands(README), ids=lambda command: f"line {command.line}: {command.words[0]}")
def test_shell_sessions(command: Command) -> None:
    claim = command.claim()
    cure = "python -m tests.markdown README.md writes it anew"
    assert claim.holds, f"the page says:\n{claim.expected}\nit prints:\n{claim.printed}\n{cure}"


def test_it_begins_with_at_most_ten_lines_of_code() -> None:
    _, first = next(blocks(README, "python"))
    assert 0 < len([line for line in first.splitlines() if line.startswith((">>>", "..."))]) <= 10


PAGE = """# Page

```python
>>> import costmodel
>>> costmodel.__version__
'{version}'

>>> 2 + 2
{total}
>>> [1, 2]
[1...]

```

```console
$ costmodel --version
{command}
$ costmodel --version
costmodel ...
```
"""
SAME = [("a\n", "a  \n", True), ("a\n", "b\n", False), ("a...z", "a\nb\nz", True), ("a.c", "abc", False)]


@pytest.mark.parametrize(("expected", "printed", "is_same"), SAME)
def test_the_comparison_itself(expected: str, printed: str, is_same: bool) -> None:
    assert matches(expected, printed) is is_same


def test_the_accuracy_of_every_protocol_is_told() -> None:
    """docs/generate.py --accuracy writes the figures; running the protocols takes too long for a test."""
    page = README.with_name("docs") / "accuracy.md"
    text = page.read_text(encoding="utf-8")
    for name in PROTOCOLS:
        _, found, rest = text.partition(f"(`{name}`)")
        assert found, f"{name} is missing; run python docs/generate.py --accuracy {name}"
        assert rest.splitlines()[1].startswith("| **costmodel** |")


def test_the_readme_tells_what_the_page_tells() -> None:
    readme, page = README.read_text(encoding="utf-8"), (README.with_name("docs") / "accuracy.md").read_text(encoding="utf-8")
    rows = [line for line in readme.splitlines() if line.startswith("| **costmodel** |")]
    assert rows
    assert all(row in page for row in rows)


def test_outputs_that_changed_are_written_anew(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(PAGE.format(version="0.0.0", total=5, command="no such thing\n"))
    fresh = PAGE.format(version=__version__, total=4, command=f"costmodel {__version__}\n")
    assert refreshed(page) == fresh
    page.write_text(fresh)
    assert refreshed(page) == fresh
