"""Quantities: the prefixes of the SI brochure (9th edition, table 7) and of IEC 80000-13, there and back."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from costmodel.errors import ParseError
from costmodel.units import PREFIXES, parse_quantity, show, show_bytes

SI = {"P": 15, "T": 12, "G": 9, "M": 6, "k": 3, "": 0, "m": -3, "u": -6, "µ": -6, "n": -9, "p": -12, "f": -15}


def test_every_prefix_is_that_of_the_si() -> None:
    assert {prefix: round(math.log10(factor)) for prefix, factor in PREFIXES.items()} == SI


@pytest.mark.parametrize(
    ("text", "unit", "value"),
    [
        ("50 ms", "s", 0.05),
        ("50ms", "s", 0.05),
        ("  7 s ", "s", 7.0),
        ("7", "s", 7.0),
        (0.25, "s", 0.25),
        (3, "B", 3.0),
        ("-2 us", "s", -2e-6),
        ("3 µs", "s", 3e-6),
        (".5 J", "J", 0.5),
        ("5. J", "J", 5.0),
        ("1.5e-3 J", "J", 1.5e-3),
        ("1e3 mJ", "J", 1.0),
        ("4.09 GFLOP", "FLOP", 4.09e9),
        ("8 GB", "B", 8e9),
        ("512 MiB", "B", 512 * 1024 * 1024),
        ("3 KiB", "B", 3 * 1024),
        ("1 GiB", "B", 1024**3),
        ("2 TiB", "B", 2 * 1024**4),
        ("25 GB/s", "B/s", 25e9),
        ("4 k", "", 4000.0),
    ],
)
def test_reads(text: str | float, unit: str, value: float) -> None:
    assert parse_quantity(text, unit) == pytest.approx(value, rel=1e-12)


@pytest.mark.parametrize(
    ("text", "unit", "told"),
    [
        ("", "s", "'' is no quantity; write a number and a unit, such as '50 ms'"),
        ("fast", "s", "'fast' is no quantity"),
        ("5 ms please", "s", "'5 ms please' is no quantity"),
        ("1,5 s", "s", "'1,5 s' is no quantity"),
        ("nan s", "s", "'nan s' is no quantity"),
        ("50 J", "s", "'50 J' is not in s; write a number and a unit"),
        ("50 m", "s", "'50 m' is not in s"),
        ("5 xs", "s", "'5 xs': 'x' is no prefix; there are f, p, n, u"),
        ("5 KB", "B", "'5 KB': 'K' is no prefix"),
        ("5 Mis", "s", "'5 Mis': 'Mi' is no prefix"),
    ],
)
def test_refuses(text: str, unit: str, told: str) -> None:
    with pytest.raises(ParseError) as error:
        parse_quantity(text, unit)
    assert str(error.value).startswith(told)


@pytest.mark.parametrize(
    ("value", "unit", "digits", "text"),
    [
        (0.0421, "s", 3, "42.1 ms"),
        (4_089_184_256, "MAC", 3, "4.09 GMAC"),
        (4_089_184_256, "MAC", 7, "4.089184 GMAC"),
        (1_234_567_891, "B", 10, "1.234567891 GB"),
        (0, "B", 3, "0 B"),
        (-0.002, "J", 3, "-2 mJ"),
        (999, "s", 3, "999 s"),
        (999.4, "s", 3, "999 s"),
        (999.6, "s", 3, "1 ks"),
        (123, "s", 2, "120 s"),
        (1e-15, "s", 3, "1 fs"),
        (1e18, "B", 3, "1000 PB"),
        (12.0, "", 3, "12"),
        (math.inf, "s", 3, "inf s"),
        (math.nan, "s", 3, "nan s"),
    ],
)
def test_shows(value: float, unit: str, digits: int, text: str) -> None:
    assert show(value, unit, digits) == text


def test_bytes_have_decimal_prefixes() -> None:
    assert show_bytes(1024) == "1.02 kB"
    assert show_bytes(6_094_504, 4) == "6.095 MB"


@given(
    st.floats(1e-17, 1e19).flatmap(lambda x: st.sampled_from([x, -x])),
    st.sampled_from(["s", "J", "B", "FLOP", "B/s", ""]),
    st.integers(1, 14),
)
def test_there_and_back(value: float, unit: str, digits: int) -> None:
    text = show(value, unit, digits)
    assert parse_quantity(text, unit) == pytest.approx(value, rel=0.5 * 10.0 ** (1 - digits) * (1 + 1e-9) + 1e-15)


@given(st.floats(1e-14, 9.9e17), st.integers(3, 8))
def test_the_number_lies_between_1_and_1000(value: float, digits: int) -> None:
    number = float(show(value, "s", digits).split()[0])
    assert 1 <= number < 1000
