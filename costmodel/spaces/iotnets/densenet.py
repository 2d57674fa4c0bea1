"""DenseNet-BC for CIFAR with random depths, growth rate and reduction."""

from __future__ import annotations

import math
from typing import NamedTuple

from costmodel.build import Builder, block
from costmodel.spaces.axes import Axis, Choice, Several
from costmodel.spaces.iotnets.layers import classify, config_text, image, law_named
from costmodel.spaces.space import Space


class Candidate(NamedTuple):
    """Layers of each dense block, channels that a layer adds, and the share of them that a transition keeps."""

    nblocks: tuple[int, ...]
    growth_rate: int
    reduction: float


class Law(NamedTuple):
    most: int
    reductions: range


LAWS = {"s1": Law(31, range(20, 80)), "s2": Law(15, range(20, 80)), "s3": Law(7, range(50, 80))}
BLOCKS = 4


@block
def dense_layer(b: Builder, x: str, growth: int) -> str:
    y = b.conv(b.relu(b.bn(x)), 4 * growth, bias=False)
    y = b.conv(b.relu(b.bn(y)), growth, kernel=3, padding=1, bias=False)
    return b.concat(y, x)


@block
def transition(b: Builder, x: str, channels: int) -> str:
    return b.avg_pool(b.conv(b.relu(b.bn(x)), channels, bias=False), 2)


@block
def bn_relu(b: Builder, x: str) -> str:
    return b.relu(b.bn(x))


def define(b: Builder, candidate: Candidate) -> str:
    channels = 2 * candidate.growth_rate
    x = b.conv(image(b), channels, kernel=3, padding=1, bias=False)
    for i, layers in enumerate(candidate.nblocks, 1):
        for _ in range(layers):
            x = dense_layer(b, x, candidate.growth_rate)
        channels += layers * candidate.growth_rate
        if i < BLOCKS:
            channels = math.floor(channels * candidate.reduction)
            x = transition(b, x, channels)
    return classify(b, bn_relu(b, x), 4)


def iotnets_densenet(*, law: str = "s1") -> Space[Candidate]:
    """DenseNets of 4 blocks of up to 31, 15 or 7 layers (laws s1, s2, s3)."""
    most, reductions = law_named(LAWS, law, "densenet")
    counts = Choice(range(1, most + 1))
    axes: dict[str, Axis] = {
        "nblocks": Several(counts, counts=(BLOCKS,)),
        "growth_rate": counts,
        "reduction": Choice(tuple(hundredths / 100 for hundredths in reductions)),
    }
    text = config_text(lambda arguments: Candidate(**arguments), Candidate._asdict)
    return Space("iotnets_densenet", Candidate, axes, define, text=text)
