"""The once-for-all network on MobileNetV3 (Cai et al. 2020, arXiv 1908.09791): kernel, expansion, depth and resolution."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import NamedTuple

from costmodel.build import Builder, block
from costmodel.spaces.axes import Axis, Choice, Row, Several
from costmodel.spaces.space import Space, Text

KERNELS = (3, 5, 7)
EXPANSIONS = (3, 4, 6)
DEPTHS = (2, 3, 4)
RESOLUTIONS = tuple(range(128, 225, 4))


class Unit(NamedTuple):
    """A stage of the network: its width before the multiplier, the stride of its first block, what all blocks have."""

    width: int
    stride: int
    activation: str
    squeezes: bool


STEM_WIDTH = 16
UNITS = (
    Unit(24, 2, "relu", squeezes=False),
    Unit(40, 2, "relu", squeezes=True),
    Unit(80, 2, "hardswish", squeezes=False),
    Unit(112, 1, "hardswish", squeezes=True),
    Unit(160, 2, "hardswish", squeezes=True),
)
FINAL_WIDTH, FEATURE_WIDTH = 960, 1280


class Candidate(NamedTuple):
    """For each of the five units its blocks, (kernel, expansion) each; and the resolution of the image."""

    units: tuple[tuple[tuple[int, int], ...], ...]
    resolution: int


def divisible(width: float) -> int:
    """The multiple of 8 nearest to a width, but not more than a tenth below it.

    >>> divisible(19.2), divisible(11)
    (24, 16)
    """
    rounded = max(8, int(width + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * width else rounded


def conv_bn(b: Builder, x: str, filters: int, *, kernel: int = 1, stride: int = 1, depthwise: bool = False) -> str:
    groups = filters if depthwise else 1
    return b.bn(b.conv(x, filters, kernel=kernel, stride=stride, padding="half", groups=groups, bias=False))


def activate(b: Builder, x: str, activation: str) -> str:
    return b.relu(x) if activation == "relu" else b.hardswish(x)


def squeeze_excite(b: Builder, x: str) -> str:
    channels = int(b.channels(x))
    y = b.relu(b.conv(b.global_average_pool(x), divisible(channels // 4)))
    return b.mul(x, b.hardsigmoid(b.conv(y, channels)))


@block
def stem(b: Builder, x: str, width: int) -> str:
    """The first convolution, and the first block, which is always the same: kernel 3, no expansion."""
    x = activate(b, conv_bn(b, x, width, kernel=3, stride=2), "hardswish")
    y = activate(b, conv_bn(b, x, width, kernel=3, depthwise=True), "relu")
    return b.add(x, conv_bn(b, y, width))


@block
def mbconv(
    b: Builder, x: str, filters: int, kernel: int, expansion: int, stride: int, activation: str, squeezes: bool
) -> str:
    narrow = int(b.channels(x))
    y = activate(b, conv_bn(b, x, narrow * expansion), activation)
    y = activate(b, conv_bn(b, y, narrow * expansion, kernel=kernel, stride=stride, depthwise=True), activation)
    if squeezes:
        y = squeeze_excite(b, y)
    y = conv_bn(b, y, filters)
    return b.add(x, y) if stride == 1 and narrow == filters else y


@block
def head(b: Builder, x: str, final: int, features: int, classes: int) -> str:
    x = b.global_average_pool(activate(b, conv_bn(b, x, final), "hardswish"))
    x = activate(b, b.conv(x, features, bias=False), "hardswish")
    return b.linear(b.flatten(x), classes)


def ofa_mobilenet_v3(*, width: float = 1.0, classes: int = 1000) -> Space[Candidate]:
    """The space. ``width`` multiplies all channels, rounded to multiples of 8: the paper has 1.0 and 1.2."""

    def define(b: Builder, candidate: Candidate) -> str:
        x = stem(b, b.input("x", ("N", 3, candidate.resolution, candidate.resolution)), divisible(STEM_WIDTH * width))
        for unit, blocks in zip(UNITS, candidate.units, strict=True):
            for i, (kernel, expansion) in enumerate(blocks):
                stride = 1 if i else unit.stride
                x = mbconv(b, x, divisible(unit.width * width), kernel, expansion, stride, unit.activation, unit.squeezes)
        return head(b, x, divisible(FINAL_WIDTH * width), divisible(FEATURE_WIDTH * width), classes)

    blocks = Several(Row((Choice(KERNELS), Choice(EXPANSIONS))), counts=DEPTHS)
    axes: dict[str, Axis] = {"units": Row((blocks,) * len(UNITS)), "resolution": Choice(RESOLUTIONS)}
    return Space("ofa_mobilenet_v3", Candidate, axes, define, {"N": 1}, Text(FORM, read, write))


FORM = '{"ks": [20 kernels], "e": [20 expansions], "d": [5 depths], "r": resolution}'
DEEPEST = max(DEPTHS)


def from_settings(ks: Sequence[int], e: Sequence[int], d: Sequence[int], r: int) -> Candidate:
    """The candidate in the paper's terms: kernel and expansion of each of 4 blocks of 5 units, of which ``d`` are used.

    >>> from_settings([3] * 20, [6] * 20, [2, 2, 2, 2, 2], 224).units[0]
    ((3, 6), (3, 6))
    """
    blocks = list(zip(map(int, ks), map(int, e), strict=True))
    if len(blocks) != DEEPEST * len(UNITS) or len(d) != len(UNITS):
        raise ValueError(f"ks and e have {len(blocks)} entries, d has {len(d)}")
    return Candidate(tuple([tuple(blocks[DEEPEST * i : DEEPEST * i + depth]) for i, depth in enumerate(d)]), int(r))


def read(text: str) -> Candidate:
    settings = json.loads(text)
    return from_settings(settings["ks"], settings["e"], settings["d"], settings["r"])


def write(candidate: Candidate) -> str:
    """The settings; those of blocks that are not there repeat the unit's last."""
    padded = [unit[min(i, len(unit) - 1)] for unit in candidate.units for i in range(DEEPEST)]
    kernels, expansions = zip(*padded, strict=True)
    depths = [len(unit) for unit in candidate.units]
    return json.dumps({"ks": kernels, "e": expansions, "d": depths, "r": candidate.resolution})
