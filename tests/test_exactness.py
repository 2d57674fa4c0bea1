"""The page of exactness against the zoo: what other libraries' definitions came to is what the zoo's networks count."""

from __future__ import annotations

import re

import pytest

import costmodel as cm
from benchmarks.peers import BUILDERS, Row, rows
from tests.conftest import ROOT

LINE = re.compile(r"^\| (`[^|]+) \| ([\d,]+) \| ([\d,]+) \| (\d+) \| ([^|]+) \|$", re.MULTILINE)
PAGE = (ROOT / "docs" / "exactness.md").read_text(encoding="utf-8")
LINES = {label: (params, macs, same) for label, params, macs, _, same in LINE.findall(PAGE)}
ROWS = {row.label: row for row in rows()}


@pytest.mark.parametrize("label", LINES)
def test_networks_count_what_other_definitions_count(label: str) -> None:
    params, macs, _ = LINES[label]
    counted = cm.count(ROWS[label].zoo_network()).at(N=1)
    assert (f"{counted.params:,}", f"{counted.macs:,}") == (params, macs)


def test_the_page_tells_every_definition_of_the_file() -> None:
    for label, row in ROWS.items():
        told = LINES[label][2] if label in LINES else ""
        for peer in row.peers:
            same = bool(re.search(rf"{re.escape(peer.label)}(?: \(another \w+\))?(?:,|$)", told))
            differs = f"- {label}, {peer.label}: {peer.differs}. " in PAGE
            assert (same, differs) == (not peer.differs, bool(peer.differs)), f"{label}, {peer.label}"


def test_at_least_forty_networks_are_those_of_others() -> None:
    exact = {ROWS[label].network for label in LINES}
    assert len(exact) >= 40
    assert f"{len(exact)} of the zoo's" in PAGE


def test_definitions_come_from_several_libraries() -> None:
    def libraries(row: Row) -> set[str]:
        return {peer.library for peer in row.peers if not peer.differs}

    assert set().union(*map(libraries, ROWS.values())) == set(BUILDERS)
