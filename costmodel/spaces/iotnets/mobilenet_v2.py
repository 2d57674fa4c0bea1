"""MobileNetV2 for CIFAR with random expansions, widths, depths and strides."""

from __future__ import annotations

import itertools
from typing import Any, NamedTuple

from costmodel.build import Builder, block
from costmodel.spaces.axes import Axis, Choice, Row, Several
from costmodel.spaces.iotnets.layers import classify, config_text, conv_bn, conv_bn_relu, image, law_named
from costmodel.spaces.space import Space


class Candidate(NamedTuple):
    """For each stage (expansion, width, blocks) and the stride of its first block; the first and the last width."""

    stages: tuple[tuple[int, int, int], ...]
    strides: tuple[int, ...]
    io_planes: tuple[int, int]


class Law(NamedTuple):
    expansions: range
    widths: range
    blocks: range
    first: range
    last: range


LAWS = {
    "s1": Law(range(1, 8), range(16, 256), range(1, 4), range(16, 128), range(128, 1280)),
    "s2": Law(range(1, 6), range(16, 128), range(1, 3), range(16, 64), range(128, 512)),
    "s3": Law(range(1, 4), range(16, 64), range(1, 2), range(16, 32), range(128, 256)),
    "s4": Law(range(1, 4), range(4, 32), range(1, 2), range(16, 32), range(64, 128)),
    "s5": Law(range(1, 4), range(2, 8), range(1, 2), range(16, 32), range(16, 64)),
    "s6": Law(range(1, 2), range(2, 8), range(1, 2), range(4, 8), range(12, 16)),
}
STAGES = 7
HALVINGS = 3
STRIDES = tuple(
    tuple(2 if stage in halved else 1 for stage in range(STAGES))
    for halved in itertools.combinations(range(STAGES), HALVINGS)
)


@block
def inverted_residual(b: Builder, x: str, filters: int, expansion: int, stride: int) -> str:
    narrow = int(b.channels(x))
    y = b.relu(conv_bn(b, x, narrow * expansion))
    y = b.relu(conv_bn(b, y, narrow * expansion, kernel=3, stride=stride, groups=narrow * expansion))
    y = conv_bn(b, y, filters)
    if stride > 1:
        return y
    return b.add(y, x if narrow == filters else conv_bn(b, x, filters))


def define(b: Builder, candidate: Candidate) -> str:
    first, last = candidate.io_planes
    x = conv_bn_relu(b, image(b), first, kernel=3)
    for (expansion, width, blocks), stride in zip(candidate.stages, candidate.strides, strict=True):
        for i in range(blocks):
            x = inverted_residual(b, x, width, expansion, 1 if i else stride)
    return classify(b, conv_bn_relu(b, x, last), 4)


def iotnets_mobilenet_v2(*, law: str = "s1") -> Space[Candidate]:
    """MobileNets of 7 stages, from up to 255 channels (law s1) to up to 7 (law s6)."""
    ranges = law_named(LAWS, law, "mobilenet_v2")
    stage = Row((Choice(ranges.expansions), Choice(ranges.widths), Choice(ranges.blocks)))
    axes: dict[str, Axis] = {
        "stages": Several(stage, counts=(STAGES,)),
        "strides": Choice(STRIDES),
        "io_planes": Row((Choice(ranges.first), Choice(ranges.last))),
    }
    return Space("iotnets_mobilenet_v2", Candidate, axes, define, text=config_text(_read, _write))


def _read(arguments: dict[str, Any]) -> Candidate:
    rows = arguments["cfg"]
    return Candidate(tuple(row[:3] for row in rows), tuple(stride for *_, stride in rows), arguments["io_planes"])


def _write(candidate: Candidate) -> dict[str, Any]:
    rows = [(*stage, stride) for stage, stride in zip(candidate.stages, candidate.strides, strict=True)]
    return {"cfg": rows, "io_planes": candidate.io_planes}
