"""Quantities as people write them: '50 ms', '512 MiB', '4.09 G'. Inside, everything is SI."""

from __future__ import annotations

import math
import re

from costmodel.errors import ParseError

PREFIXES = {
    "f": 1e-15, "p": 1e-12, "n": 1e-9, "u": 1e-6, "µ": 1e-6, "m": 1e-3, "": 1.0, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12,
    "P": 1e15,
}  # fmt: skip
BINARY = {"Ki": 2.0**10, "Mi": 2.0**20, "Gi": 2.0**30, "Ti": 2.0**40}
SHOWN = ("f", "p", "n", "u", "m", "", "k", "M", "G", "T", "P")

_QUANTITY = re.compile(r"\s*([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)\s*([A-Za-zµ/]*)\s*")


def parse_quantity(text: str | float, unit: str) -> float:
    """A number of SI units from a text with an optional prefix; a bare number is already in the unit.

    >>> parse_quantity("50 ms", "s"), parse_quantity("0.2J", "J"), parse_quantity("512 MiB", "B")
    (0.05, 0.2, 536870912.0)

    Raises ParseError for another unit, an unknown prefix or no number.
    """
    if isinstance(text, (int, float)):
        return float(text)
    match = _QUANTITY.fullmatch(text)
    if match is None:
        raise ParseError(f"{text!r} is no quantity; write a number and a unit, such as '50 m{unit}'")
    number, suffix = float(match.group(1)), match.group(2)
    prefix = suffix.removesuffix(unit) if suffix else ""
    if suffix and not suffix.endswith(unit):
        raise ParseError(f"{text!r} is not in {unit}; write a number and a unit, such as '50 m{unit}'")
    factors = PREFIXES | (BINARY if unit == "B" else {})
    if prefix not in factors:
        raise ParseError(f"{text!r}: {prefix!r} is no prefix; there are {', '.join(filter(None, factors))}")
    return number * factors[prefix]


def show(value: float, unit: str = "", digits: int = 3) -> str:
    """A number with the prefix that keeps it between 1 and 1000.

    >>> show(0.0421, "s"), show(4089184256, "MAC"), show(0, "B"), show(999.9996, "s")
    ('42.1 ms', '4.09 GMAC', '0 B', '1 ks')
    """
    if value == 0 or not math.isfinite(value):
        return f"{value:g} {unit}".rstrip()
    exponent = math.floor(math.log10(abs(float(f"{value:.{digits - 1}e}"))) / 3)
    exponent = min(max(exponent, -5), 5)
    scaled = value / 1000.0**exponent
    return f"{float(f'{scaled:.{digits}g}'):.{max(digits, 6)}g} {SHOWN[exponent + 5]}{unit}".rstrip()


def show_bytes(value: float, digits: int = 3) -> str:
    """Bytes with decimal prefixes.

    >>> show_bytes(6_094_504)
    '6.09 MB'
    """
    return show(value, "B", digits)
