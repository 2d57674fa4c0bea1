"""A small PNASNet for CIFAR: cells of a depthwise 7x7 convolution beside a pool, of random number and width."""

from __future__ import annotations

from typing import Any, NamedTuple

from costmodel.build import Builder, block
from costmodel.spaces.axes import Axis, Choice, Several
from costmodel.spaces.iotnets.layers import classify, config_text, conv_bn, conv_bn_relu, image, law_named
from costmodel.spaces.space import Space


class Candidate(NamedTuple):
    """Cells of each of the three stages, and their channels: those of a stage are a multiple of those before."""

    num_cells: tuple[int, ...]
    num_planes: tuple[int, ...]


class Law(NamedTuple):
    cells: range
    first: range
    factors: range


LAWS = {
    "s1": Law(range(1, 12), range(16, 128), range(1, 4)),
    "s2": Law(range(1, 8), range(16, 64), range(1, 3)),
    "s3": Law(range(1, 3), range(8, 16), range(1, 2)),
}
STAGES = 3


@block
def cell(b: Builder, x: str, channels: int, stride: int) -> str:
    y = conv_bn(b, x, channels, kernel=7, stride=stride, groups=int(b.channels(x)))
    pooled = b.max_pool(x, 3, stride=stride, padding=1)
    return b.relu(b.add(y, pooled if stride == 1 else conv_bn(b, pooled, channels)))


def define(b: Builder, candidate: Candidate) -> str:
    x = conv_bn_relu(b, image(b), candidate.num_planes[0], kernel=3)
    for stage, (cells, channels) in enumerate(zip(candidate.num_cells, candidate.num_planes, strict=True)):
        if stage:
            x = cell(b, x, channels, 2)
        for _ in range(cells):
            x = cell(b, x, channels, 1)
    return classify(b, x, 8)


def iotnets_pnasnet(*, law: str = "s1") -> Space[Candidate]:
    """PNASNets of up to 11, 7 or 2 cells in a stage (laws s1, s2, s3), a cell with stride 2 between stages."""
    ranges = law_named(LAWS, law, "pnasnet")
    planes = tuple(
        (first, first * second, first * second * third)
        for first in ranges.first
        for second in ranges.factors
        for third in ranges.factors
    )
    axes: dict[str, Axis] = {"num_cells": Several(Choice(ranges.cells), counts=(STAGES,)), "num_planes": Choice(planes)}
    return Space("iotnets_pnasnet", Candidate, axes, define, text=config_text(_read, _write))


def _read(arguments: dict[str, Any]) -> Candidate:
    if arguments["cell_types"] != (0,):
        raise ValueError("only cells of type 0 are known")
    return Candidate(arguments["num_cells"], arguments["num_planes"])


def _write(candidate: Candidate) -> dict[str, Any]:
    return {"cell_types": (0,), **candidate._asdict()}
