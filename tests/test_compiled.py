"""The compiled program against evaluation with Python's integers, point by point."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from costmodel.compiled import CHUNK, Compiled
from costmodel.dims import Dim, maximum, value_at
from costmodel.errors import UnknownSize
from tests.test_dims import NAMES, Both, expressions


@given(st.lists(expressions, min_size=1, max_size=5), st.lists(st.tuples(*[st.integers(1, 40)] * 3), min_size=1, max_size=5))
@settings(max_examples=200, deadline=None)
def test_columns_equal_points(counts: list[Both], rows: list[tuple[int, int, int]]) -> None:
    compiled = Compiled({str(i): count.extent for i, count in enumerate(counts)})
    columns = compiled({name: [row[i] for row in rows] for i, name in enumerate(NAMES)})
    for i, count in enumerate(counts):
        expected = [value_at(count.extent, dict(zip(NAMES, row, strict=True))) for row in rows]
        got = np.broadcast_to(columns[str(i)], len(rows))
        assert got.tolist() == expected


def test_chunks_join_without_a_seam() -> None:
    h = Dim.size("H")
    column = np.arange(1, 2 * CHUNK + 8)
    result = Compiled({"x": maximum(h // 3, 5) * h})(H=column)["x"]
    assert np.array_equal(result, np.maximum(column // 3, 5) * column)


def test_numbers_alone_give_one_row() -> None:
    assert Compiled({"seven": 7, "zero": 0})()["seven"].tolist() == [7.0]


def test_scalars_broadcast_against_columns() -> None:
    result = Compiled({"x": Dim.size("N") * Dim.size("H")})(N=[1, 2, 3], H=10)
    assert result["x"].tolist() == [10.0, 20.0, 30.0]


def test_a_missing_column_is_named() -> None:
    with pytest.raises(UnknownSize, match="size 'H' has no column"):
        Compiled({"x": Dim.size("H")})(N=[1])


def test_exact_up_to_two_to_the_53() -> None:
    n = Dim.size("N")
    point = 94_906_265  # its square is just below 2**53
    assert int(Compiled({"x": n * n})(N=point)["x"][0]) == point * point
