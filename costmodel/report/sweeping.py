"""Sweeps: a row for each point."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from costmodel.report.output import Grid, Report, many
from costmodel.sweeping import Sweep
from costmodel.units import show

SHOWN = 40  # rows of a table for people: beyond them only the first and the last
QUANTITIES: Mapping[str, tuple[str, str]] = {
    "time_s": ("time", "s"), "energy_j": ("energy", "J"), "macs": ("MACs", "MAC"), "memory_bytes": ("peak memory", "B"),
}  # fmt: skip
ENDS: Mapping[str, tuple[str, str]] = {
    "time_s": ("time_low_s", "time_high_s"),
    "energy_j": ("energy_low_j", "energy_high_j"),
}


class _Rows(Sequence[Mapping[str, Any]]):
    """The rows of columns, made one at a time: a sweep may have millions."""

    def __init__(self, columns: Mapping[str, np.ndarray[Any, Any]]) -> None:
        self.columns = columns

    def __len__(self) -> int:
        return len(next(iter(self.columns.values())))

    def __getitem__(self, row: Any) -> Any:
        return {name: column[row].item() for name, column in self.columns.items()}

    def __iter__(self) -> Iterator[Mapping[str, Any]]:
        lists = [column.tolist() for column in self.columns.values()]
        return (dict(zip(self.columns, values, strict=True)) for values in zip(*lists, strict=True))


def sweep_report(found: Sweep) -> Report:
    """The points of a sweep: as JSON a list for each column, as CSV a row for each point."""
    rows = _Rows(found.columns)
    data = {
        "network": found.network,
        "profile": found.profile,
        "level": found.level,
        "columns": {name: column.tolist() for name, column in found.columns.items()},
    }

    def text() -> list[str | Grid]:
        notes = []
        if len(found) > SHOWN:
            notes.append(f"The first and the last {SHOWN // 2} of {len(found):,} points; --csv prints all.")
        beyond = int(found.columns["extrapolating"].sum())
        if beyond:
            notes.append(f"{many(beyond, 'point')} beyond calibration (*): their intervals are wider.")
        title = f"{found.network} on {found.profile}: {many(len(found), 'point')}, intervals meant to hold {found.level:.0%}"
        return [title, _table(found, rows), *notes]

    return Report(data, rows, text)


def _table(found: Sweep, rows: _Rows) -> Grid:
    sizes = [name for name in found.columns if name not in QUANTITIES and found.columns[name].dtype == np.int64]
    quantities = [name for name in QUANTITIES if name in found.columns]
    half = SHOWN // 2
    places = range(len(rows)) if len(rows) <= SHOWN else [*range(half), *range(len(rows) - half, len(rows))]
    header = [f">{name}" for name in sizes] + [part for name in quantities for part in _headers(name)]
    return Grid((*header, ""), [_cells(rows[place], sizes, quantities) for place in places])


def _headers(name: str) -> list[str]:
    return [f">{QUANTITIES[name][0]}", *([">interval"] if name in ENDS else [])]


def _cells(row: Mapping[str, Any], sizes: Sequence[str], quantities: Sequence[str]) -> list[str]:
    cells = [str(row[name]) for name in sizes]
    for name in quantities:
        unit = QUANTITIES[name][1]
        cells.append(show(row[name], unit))
        if name in ENDS:
            cells.append(" to ".join(show(row[end], unit) for end in ENDS[name]))
    return [*cells, "*" if row["extrapolating"] else ""]
