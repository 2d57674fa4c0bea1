"""Counts against two oracles: sympy, and Python's own integers."""

from __future__ import annotations

import pickle
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from costmodel.dims import Dim, Extent, bounds, ceil_divide, floor_divide, maximum, minimum, product, total, value_at
from costmodel.errors import ParseError, UnknownSize

NAMES = ("N", "H", "W")
points = st.fixed_dictionaries({name: st.integers(1, 40) for name in NAMES})


class Both:
    """A count and the plain Python function that it stands for."""

    def __init__(self, extent: Extent, plain: Any) -> None:
        self.extent = extent
        self.plain = plain


def leaf() -> st.SearchStrategy[Both]:
    sizes = st.sampled_from(NAMES).map(lambda name: Both(Dim.size(name), lambda p: p[name]))
    numbers = st.integers(-6, 12).map(lambda number: Both(number, lambda p: number))
    return sizes | numbers


def grow(inner: st.SearchStrategy[Both]) -> st.SearchStrategy[Both]:
    pairs = st.tuples(inner, inner)
    quotients = st.tuples(inner, st.integers(1, 9))
    return st.one_of(
        pairs.map(lambda ab: Both(ab[0].extent + ab[1].extent, lambda p: ab[0].plain(p) + ab[1].plain(p))),
        pairs.map(lambda ab: Both(ab[0].extent - ab[1].extent, lambda p: ab[0].plain(p) - ab[1].plain(p))),
        pairs.map(lambda ab: Both(ab[0].extent * ab[1].extent, lambda p: ab[0].plain(p) * ab[1].plain(p))),
        pairs.map(lambda ab: Both(maximum(ab[0].extent, ab[1].extent), lambda p: max(ab[0].plain(p), ab[1].plain(p)))),
        pairs.map(lambda ab: Both(minimum(ab[0].extent, ab[1].extent), lambda p: min(ab[0].plain(p), ab[1].plain(p)))),
        quotients.map(lambda ad: Both(floor_divide(ad[0].extent, ad[1]), lambda p: ad[0].plain(p) // ad[1])),
        quotients.map(lambda ad: Both(ceil_divide(ad[0].extent, ad[1]), lambda p: -(-ad[0].plain(p) // ad[1]))),
        quotients.map(lambda ad: Both(ad[0].extent % ad[1], lambda p: ad[0].plain(p) % ad[1])),
    )


expressions = st.recursive(leaf(), grow, max_leaves=10)


@given(expressions, points)
@settings(max_examples=400, deadline=None)
def test_evaluates_as_python_does(both: Both, point: dict[str, int]) -> None:
    assert value_at(both.extent, point) == both.plain(point)


@given(expressions, points)
@settings(max_examples=200, deadline=None)
def test_printing_parses_back_to_the_same_count(both: Both, point: dict[str, int]) -> None:
    again = Dim.parse(str(both.extent))
    assert value_at(again, point) == value_at(both.extent, point)
    assert Dim.parse(str(again)) == again


@given(expressions, points)
@settings(max_examples=100, deadline=None)
def test_sympy_agrees(both: Both, point: dict[str, int]) -> None:
    import sympy

    symbols = {sympy.Symbol(name, integer=True, positive=True): value for name, value in point.items()}
    assert Dim.of(both.extent).expr.subs(symbols) == both.plain(point)


@given(expressions, points)
@settings(max_examples=200, deadline=None)
def test_bounds_hold(both: Both, point: dict[str, int]) -> None:
    low, high = bounds(both.extent)
    assert low <= both.plain(point) <= high


@given(expressions, expressions, points)
@settings(max_examples=200, deadline=None)
def test_substitution_is_evaluation_in_two_steps(both: Both, inner: Both, point: dict[str, int]) -> None:
    value = inner.plain(point)
    if not 1 <= value <= 1000:
        return
    substituted = Dim.of(both.extent).subs({"N": inner.extent})
    assert value_at(substituted, point) == both.plain({**point, "N": value})


@given(expressions, expressions, points)
@settings(max_examples=200, deadline=None)
def test_floor_of_a_quotient_of_counts(num: Both, den: Both, point: dict[str, int]) -> None:
    if den.extent == 0 or den.plain(point) == 0:
        return
    assert value_at(floor_divide(num.extent, den.extent), point) == num.plain(point) // den.plain(point)


n, h, w, s = (Dim.size(name) for name in "NHWS")

CANONICAL = [
    (n * s * 768 // (n * s), "768"),
    ((h + 2 - 3) // 2 + 1, "(H + 1)//2"),
    (((h + 1) // 2 + 1) // 2, "(H + 3)//4"),
    (-(-h // 32), "(H + 31)//32"),
    ((4 * n * s + 2 * n) // (2 * n), "2*S + 1"),
    ((n * n - 1) // (n + 1), "N - 1"),
    (n - n, "0"),
    (3 - h // 2, "-(H//2) + 3"),
    (maximum(n, 1), "N"),
    (maximum(s - 1, 0), "S - 1"),
    (maximum((h + 1) // 2, h // 2), "(H + 1)//2"),
    (minimum(n, minimum(4, n + 1)), "min(4, N)"),
    (maximum(minimum(512, s), s), "S"),
    (minimum(n, maximum(h, n + 1)), "N"),
    (Dim.size("batch.size") * 2, "2*'batch.size'"),
    (Dim.size("it's"), "'it\\'s'"),
    (Dim.size("max"), "'max'"),
    (h * w * 2 - n, "2*H*W - N"),
]


@pytest.mark.parametrize(("extent", "text"), CANONICAL, ids=[text for _, text in CANONICAL])
def test_equal_counts_have_one_form(extent: Extent, text: str) -> None:
    assert str(extent) == text
    assert Dim.parse(text) == extent


FAULTS = [
    ("", "a number, a name or a bracket is missing"),
    ("H +", "character 4"),
    ("H $ 2", "character 3"),
    ("(H", "')' is missing"),
    ("H H", "should end here"),
    ("sqrt(H)", "'sqrt' is not a function; there are floor, ceil, max, min"),
    ("H // 0", "division by 0"),
    ("2**99", "a power must be a whole number of at most 16"),
    ("2**H", "a power must be a whole number"),
    ("(" * 200 + "H" + ")" * 200, "nested deeper than 100"),
    ("__import__('os')", "is not a function"),
    ("9" * 1000, "more than 400 digits"),
]


@pytest.mark.parametrize(("text", "message"), FAULTS, ids=[text[:20] for text, _ in FAULTS])
def test_faults_are_named_with_their_place(text: str, message: str) -> None:
    with pytest.raises(ParseError) as caught:
        Dim.parse(text)
    assert message in str(caught.value)


def test_a_missing_size_is_named() -> None:
    with pytest.raises(UnknownSize, match="size H has no value"):
        (h * n).at(N=1)  # type: ignore[union-attr]


def test_an_open_count_is_no_number() -> None:
    assert int(Dim.of(7)) == 7
    with pytest.raises(UnknownSize, match="until H are given"):
        int(h)


def test_equality_and_hash_follow_the_value() -> None:
    assert Dim.of(7) == 7 and hash(Dim.of(7)) == hash(7)
    assert len({n * h, h * n, Dim.parse("H*N")}) == 1


def test_pickling_keeps_counts_equal() -> None:
    extent = maximum(h // 2, w * n)
    assert pickle.loads(pickle.dumps(extent)) == extent


def test_total_and_product_equal_repeated_operators() -> None:
    parts: list[Extent] = [n, 3, h * 2, n]
    assert total(parts) == 2 * n + 2 * h + 3
    assert product(parts) == n * 3 * h * 2 * n


def test_nested_floors_stay_small() -> None:
    extent: Extent = h
    for _ in range(500):
        extent = (extent + 1) // 2
    assert len(str(extent)) < 400
