"""ResNeXt for CIFAR with random depths, cardinalities and widths of the bottleneck."""

from __future__ import annotations

from typing import Any, NamedTuple

from costmodel.build import Builder, block
from costmodel.spaces.axes import Axis, Choice, Several, Then
from costmodel.spaces.iotnets.layers import classify, config_text, conv_bn, conv_bn_relu, image, law_named
from costmodel.spaces.space import Space


class Candidate(NamedTuple):
    """For each of the three stages its blocks, and (width of a group, number of groups) of their bottlenecks."""

    num_blocks: tuple[int, ...]
    bottlenecks: tuple[tuple[int, int], ...]


class Law(NamedTuple):
    """``limit`` bounds width times groups."""

    blocks: range
    widths: range
    limit: int


LAWS = {
    "s1": Law(range(1, 3), range(4, 64), 512),
    "s2": Law(range(1, 3), range(4, 32), 128),
    "s3": Law(range(1, 2), range(4, 8), 32),
}
STAGES = 3
STEM = 64
EXPANSION = 2


@block
def bottleneck(b: Builder, x: str, width: int, groups: int, stride: int) -> str:
    inner, outer = width * groups, EXPANSION * width * groups
    y = b.relu(conv_bn(b, x, inner))
    y = b.relu(conv_bn(b, y, inner, kernel=3, stride=stride, groups=groups))
    y = conv_bn(b, y, outer)
    keeps_shape = stride == 1 and b.channels(x) == outer
    return b.relu(b.add(y, x if keeps_shape else conv_bn(b, x, outer, stride=stride)))


def define(b: Builder, candidate: Candidate) -> str:
    x = conv_bn_relu(b, image(b), STEM)
    for stage, (blocks, (width, groups)) in enumerate(zip(candidate.num_blocks, candidate.bottlenecks, strict=True)):
        for i in range(blocks):
            x = bottleneck(b, x, width, groups, 2 if stage and not i else 1)
    return classify(b, x, 8)


def iotnets_resnext(*, law: str = "s1") -> Space[Candidate]:
    """ResNeXts of up to 512, 128 or 32 channels in a bottleneck (laws s1, s2, s3)."""
    blocks, widths, limit = law_named(LAWS, law, "resnext")

    def groups(width: int) -> Choice:
        return Choice(range(1, max(limit // width, 2)))

    axes: dict[str, Axis] = {
        "num_blocks": Several(Choice(blocks), counts=(STAGES,)),
        "bottlenecks": Several(Then(Choice(widths), groups), counts=(STAGES,)),
    }
    return Space("iotnets_resnext", Candidate, axes, define, text=config_text(_read, _write))


def _read(arguments: dict[str, Any]) -> Candidate:
    pairs = zip(arguments["bottleneck_widths"], arguments["cardinalities"], strict=True)
    return Candidate(arguments["num_blocks"], tuple(pairs))


def _write(candidate: Candidate) -> dict[str, Any]:
    widths, groups = zip(*candidate.bottlenecks, strict=True)
    return {"num_blocks": candidate.num_blocks, "cardinalities": groups, "bottleneck_widths": widths}
