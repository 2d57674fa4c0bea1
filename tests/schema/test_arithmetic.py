"""The expressions of specs, against Python's own arithmetic."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest

from costmodel.dims import Dim, value_at
from costmodel.errors import ParseError
from costmodel.schema.arithmetic import evaluate, make_divisible

NAMES: dict[str, Any] = {"C": 24, "stride": 2, "depths": (3, 4, 6), "deep": True, "kind": "relu"}

SAME_AS_PYTHON = [
    "1 + 2 * 3 - 4",
    "-C // 5",
    "C % 7 - 2 ** 3",
    "(C + 1) * (C - 1)",
    "depths[1] + depths[-1]",
    "sum(depths) + len(depths)",
    "max(C, 30) - min(C, 30, 5)",
    "C == 24 and stride != 1",
    "not deep or stride in (1, 2)",
    "stride not in [3]",
    "1 < stride <= 2",
    "8 if kind == 'relu' else 9",
    "[C, C * 2]",
    "C // (stride + 1)",
]


@pytest.mark.parametrize("text", SAME_AS_PYTHON)
def test_is_what_python_says(text: str) -> None:
    expected = eval(text, {}, dict(NAMES))
    assert evaluate(text, NAMES) == (tuple(expected) if isinstance(expected, list) else expected)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("C * 0.35", Fraction(42, 5)),
        ("C * 0.75", 18),
        ("C / 5", Fraction(24, 5)),
        ("0.1 + 0.2 == 0.3", True),
        ("floor(C * 0.35)", 8),
        ("ceil(C * 0.35)", 9),
        ("round(C / 48)", 1),
        ("2.5 // 1", 2),
        ("max(C / 5, 3)", Fraction(24, 5)),
        ("1e-3 * 1000", 1),
    ],
)
def test_fractions_are_exact(text: str, expected: Any) -> None:
    assert evaluate(text, NAMES) == expected


def rounded_as_published(width: float, by: int) -> int:
    """The rule as the MobileNets' authors state it, in their own floating-point terms."""
    nearest = max(by, int(width + by / 2) // by * by)
    return nearest + by if nearest < 0.9 * width else nearest


@pytest.mark.parametrize("by", [4, 8, 16])
def test_make_divisible(by: int) -> None:
    for eighths in range(1, 4000):
        assert make_divisible(Fraction(eighths, 8), by) == rounded_as_published(eighths / 8, by), eighths


OPEN = [
    "make_divisible(C * 0.35, 8)",
    "make_divisible(6 * C / 4)",
    "C // 4 + C % 3",
    "floor(C * 1.5) - ceil(C / 7)",
    "round(C / 4)",
    "C ** 2 * 3 // 5",
    "max(C, 16) + min(C // 2, 9)",
    "(C * 0.5) * 2",
]


@pytest.mark.parametrize("text", OPEN)
def test_open_is_what_numbers_give(text: str) -> None:
    left_open = evaluate(text, {"C": Dim.size("C")})
    for number in (1, 7, 8, 23, 24, 100, 333):
        assert value_at(left_open, {"C": number}) == evaluate(text, {"C": number})


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("C +", ["'C +' is no expression"]),
        ("width * 2", ["no 'width' here"]),
        ("dephts[0]", ["no 'dephts' here", "did you mean 'depths'"]),
        ("depths[3]", ["no element 3", "(3, 4, 6)"]),
        ("C.real", ["Attribute has no place"]),
        ("__import__('os')", ["'__import__' is no function here"]),
        ("floor.__call__(2)", ["is no function here"]),
        ("(lambda: 1)()", ["is no function here"]),
        ("[x for x in depths]", ["ListComp has no place"]),
        ("C if stride else 2", ["'stride' is 2; it must be true or false"]),
        ("kind + 1", ["'kind + 1'", "'relu' is no number"]),
        ("kind < 1", ["does not compare"]),
        ("C // 0", ["'C // 0'"]),
        ("C / 0", ["division by 0"]),
        ("2 ** 17", ["power must be a whole number from 0 to 16"]),
        ("1 << 3", ["operator must be one of + - * / // % **"]),
        ("max()", ["'max()'"]),
        ("1j", ["neither a number nor a text"]),
        ("(" * 400 + ")" * 400, ["is no expression"]),
        ("-" * 990 + "1", ["is nested too deep"]),
        ("1" + " + 1" * 600, ["longer than the 1000 allowed"]),
    ],
)
def test_faults(text: str, parts: list[str]) -> None:
    with pytest.raises(ParseError) as caught:
        evaluate(text, NAMES)
    assert all(part in str(caught.value) for part in parts), str(caught.value)


def test_what_depends_on_an_open_size_is_not_decided() -> None:
    names = {"C": Dim.size("C")}
    assert evaluate("C >= 1", names) is True
    assert evaluate("C + 1 != C", names) is True
    with pytest.raises(ParseError, match="depends on the open sizes in C and 8"):
        evaluate("C > 8", names)
    with pytest.raises(ParseError, match="cannot be divided by the open C"):
        evaluate("8 / C", names)
