"""Results on their way out: text with tables, JSON, CSV; messages and progress go to stderr."""

from __future__ import annotations

import csv
import json
import math
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Union

if TYPE_CHECKING:
    from rich.table import Table

INDENT = 2
NUMBERS, NAMES = ">", "<"
GAP = 1  # blanks between columns, besides the one that the box has
NARROW = 8  # the least width of a column that wraps


@dataclass(frozen=True, slots=True)
class Grid:
    """A table for people. Headers that start with ``>`` (numbers, aligned right) or ``<`` (names) are never wrapped."""

    header: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True, slots=True)
class Report:
    """A result, ready to be shown: ``data`` as JSON, ``rows`` as CSV, ``text`` for people, made only when asked for."""

    data: Any
    rows: Sequence[Mapping[str, Any]]
    text: Callable[[], Iterable[Union[str, Grid]]]


def show(report: Report, *, as_json: bool = False, as_csv: bool = False) -> None:
    """Print a report.

    >>> show(Report({"macs": 216}, [{"macs": 216}], lambda: ["216 MAC"]), as_csv=True)
    macs
    216
    """
    if as_json:
        json.dump(without_nan(report.data), sys.stdout, indent=INDENT, allow_nan=False)
        sys.stdout.write("\n")
    elif as_csv:
        _write_csv(report.rows)
    else:
        _print_text(report.text())


def without_nan(data: Any) -> Any:
    """The same values with null for numbers that JSON cannot hold.

    >>> without_nan({"spearman": float("nan"), "groups": [1.5]})
    {'spearman': None, 'groups': [1.5]}
    """
    if isinstance(data, Mapping):
        return {key: without_nan(value) for key, value in data.items()}
    if isinstance(data, (list, tuple)):
        return [without_nan(value) for value in data]
    return None if isinstance(data, float) and not math.isfinite(data) else data


def many(count: int, noun: str) -> str:
    """A number of things.

    >>> many(1, "device"), many(0, "device")
    ('1 device', '0 devices')
    """
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _write_csv(rows: Sequence[Mapping[str, Any]]) -> None:
    columns = list(dict.fromkeys(key for row in rows for key in row))
    writer = csv.DictWriter(sys.stdout, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)


def _print_text(parts: Iterable[str | Grid]) -> None:
    from rich.console import Console

    console = Console(highlight=False)
    with console.capture() as captured:
        for part in parts:
            console.print(_table(part, console.width) if isinstance(part, Grid) else part, markup=False, emoji=False)
    sys.stdout.writelines(f"{line}\n" for line in _tidied(captured.get().splitlines()))


def _tidied(lines: Iterable[str]) -> Iterator[str]:
    """Lines without blanks at their ends; one blank line where there were several, none at either end."""
    is_begun = is_gap = False
    for line in map(str.rstrip, lines):
        if line:
            yield from ("", line) if is_gap else (line,)
        is_begun = is_begun or bool(line)
        is_gap = is_begun and not line


def _table(grid: Grid, width: int) -> Table:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, header_style="bold", padding=(0, GAP, 0, 0), pad_edge=False)
    whole = _whole_columns(grid, width)
    for i, name in enumerate(grid.header):
        table.add_column(
            Text(name.lstrip(NUMBERS + NAMES)),
            justify="right" if name.startswith(NUMBERS) else "left",
            no_wrap=i in whole,
            overflow="fold",
        )
    for row in grid.rows:
        table.add_row(*(Text(cell) for cell in row))
    return table


def _whole_columns(grid: Grid, width: int) -> set[int]:
    """The columns that are not to be wrapped; none where they leave too little room, as nothing is ever cut off."""
    whole = {i for i, name in enumerate(grid.header) if name.startswith((NUMBERS, NAMES))}
    columns = [_widest(grid, i) if i in whole else min(NARROW, _widest(grid, i)) for i in range(len(grid.header))]
    return whole if sum(columns) + (GAP + 1) * len(columns) <= width else set()


def _widest(grid: Grid, column: int) -> int:
    cells = (grid.header[column].lstrip(NUMBERS + NAMES), *(row[column] for row in grid.rows))
    return max(len(line) for cell in cells for line in cell.split("\n"))


# -- stderr -----------------------------------------------------------------------------------------------------


def complain(message: str) -> None:
    """Say on one line of stderr why there is no result."""
    print(f"costmodel: error: {one_line(message)}", file=sys.stderr)


def note(message: str) -> None:
    """Say on one line of stderr what the reader of a result should know."""
    print(f"costmodel: note: {one_line(message)}", file=sys.stderr)


def one_line(message: str) -> str:
    r"""A message without its line breaks.

    >>> one_line("runs.csv: 2 problems:\n  row 2: no time\n  row 3: no network")
    'runs.csv: 2 problems: row 2: no time; row 3: no network'
    """
    first, *more = (line.strip() for line in message.strip().splitlines()) if message.strip() else ("",)
    return f"{first} {'; '.join(more)}" if more else first


@contextmanager
def working(task: str) -> Iterator[Callable[[str], None]]:
    """Show on a terminal what long work is busy with; gives a function that tells the current step."""
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.console import Console

    with Console(stderr=True).status(task) as status:
        yield lambda step: status.update(f"{task}: {step}")
