"""GoogLeNet for CIFAR with random widths: nine inception cells."""

from __future__ import annotations

from typing import Any, NamedTuple

from costmodel.build import Builder, block
from costmodel.spaces.axes import Axis, Choice, Row, Several
from costmodel.spaces.iotnets.layers import classify, config_text, conv_bn_relu, image, law_named
from costmodel.spaces.space import Space


class Inception(NamedTuple):
    """Filters of a cell's branches: 1x1; 1x1 before 3x3; 1x1 before two 3x3 (in the place of a 5x5); 1x1 after a pool."""

    n1: int
    n3_before: int
    n3: int
    n5_before: int
    n5: int
    pooled: int


class Candidate(NamedTuple):
    """Filters of the first convolution, and the widths of each cell (see Inception)."""

    stem: int
    cells: tuple[tuple[int, ...], ...]


class Law(NamedTuple):
    stem: range
    widths: Inception  # a range of each


WIDE = range(16, 256)
LAWS = {
    "s1": Law(WIDE, Inception(*map(range, [16] * 6, (384, 192, 384, 48, 128, 128)))),  # type: ignore[arg-type]
    "s2": Law(WIDE, Inception(*map(range, [16] * 6, (64, 64, 64, 32, 32, 32)))),  # type: ignore[arg-type]
    "s3": Law(WIDE, Inception(*map(range, (16, 8, 16, 4, 4, 4), (32, 16, 32, 8, 8, 8)))),  # type: ignore[arg-type]
}
CELLS = 9
POOL_BEFORE = (2, 7)  # the cells that a pool with stride 2 precedes


@block
def inception(b: Builder, x: str, widths: Inception) -> str:
    one = conv_bn_relu(b, x, widths.n1, bias=True)
    three = conv_bn_relu(b, conv_bn_relu(b, x, widths.n3_before, bias=True), widths.n3, kernel=3, bias=True)
    five = conv_bn_relu(b, conv_bn_relu(b, x, widths.n5_before, bias=True), widths.n5, kernel=3, bias=True)
    five = conv_bn_relu(b, five, widths.n5, kernel=3, bias=True)
    pooled = conv_bn_relu(b, b.max_pool(x, 3, stride=1, padding=1), widths.pooled, bias=True)
    return b.concat(one, three, five, pooled)


@block
def halved(b: Builder, x: str) -> str:
    return b.max_pool(x, 3, stride=2, padding=1)


def define(b: Builder, candidate: Candidate) -> str:
    x = conv_bn_relu(b, image(b), candidate.stem, kernel=3, bias=True)
    for i, widths in enumerate(candidate.cells):
        if i in POOL_BEFORE:
            x = halved(b, x)
        x = inception(b, x, Inception(*widths))
    return classify(b, x, 8, 1)


def iotnets_googlenet(*, law: str = "s1") -> Space[Candidate]:
    """GoogLeNets of up to 384, 64 or 32 filters in a branch (laws s1, s2, s3)."""
    stem, widths = law_named(LAWS, law, "googlenet")
    cells = Several(Row(tuple(Choice(width) for width in widths)), counts=(CELLS,))  # type: ignore[arg-type]
    axes: dict[str, Axis] = {"stem": Choice(stem), "cells": cells}
    return Space("iotnets_googlenet", Candidate, axes, define, text=config_text(_read, _write))


def _read(rows: tuple[tuple[int, ...], ...]) -> Candidate:
    """The published rows begin with the channels that the cell reads."""
    candidate = Candidate(rows[0][0], tuple(row[1:] for row in rows))
    if _write(candidate) != rows:
        raise ValueError("the first number of each row must be the channels that the cell before gives")
    return candidate


def _write(candidate: Candidate) -> tuple[Any, ...]:
    channels, rows = candidate.stem, []
    for cell in candidate.cells:
        rows.append((channels, *cell))
        widths = Inception(*cell)
        channels = widths.n1 + widths.n3 + widths.n5 + widths.pooled
    return tuple(rows)
