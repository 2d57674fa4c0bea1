"""The synthetic convolutional networks that were timed on a Jetson Nano (Juneja et al., IEEE COINS 2025).

Convolutions with one number of filters, each with a bias and a rectifier, stride 1; then a linear layer to 10 over all
that is left. Padding starts at 2, so that even 1x1 kernels widen the image at first.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from costmodel.build import Builder, block
from costmodel.spaces.axes import Axis, Choice, Row
from costmodel.spaces.space import Space, Text

SIZES = range(10, 101, 5)
FILTERS = tuple(sorted({64, 128, 1024, *range(192, 769, 32)}))


class Plain(NamedTuple):
    """``layers`` convolutions of one kernel, on an image of this size."""

    layers: int
    filters: int
    kernel: int
    size: int


class Mixed(NamedTuple):
    """Convolutions of two kernels in turn, beginning with the first, until each has had its number."""

    filters: int
    kernels: tuple[int, int]
    counts: tuple[int, int]
    size: int


class Depthwise(NamedTuple):
    """``layers`` pairs of a depthwise and a 1x1 convolution."""

    layers: int
    filters: int
    kernel: int
    size: int


@block
def conv_relu(b: Builder, x: str, filters: int, kernel: int, padding: int) -> str:
    return b.relu(b.conv(x, filters, kernel=kernel, padding=padding))


@block
def depthwise_separable(b: Builder, x: str, filters: int, kernel: int, padding: int) -> str:
    y = b.conv(x, b.channels(x), kernel=kernel, padding=padding, groups=b.channels(x))
    return b.relu(b.conv(y, filters))


@block
def classify(b: Builder, x: str) -> str:
    return b.linear(b.flatten(x), 10)


def image(b: Builder, size: int) -> str:
    return b.input("x", ("N", 3, size, size))


def define_plain(b: Builder, candidate: Plain) -> str:
    x = image(b, candidate.size)
    for _ in range(candidate.layers):
        x = conv_relu(b, x, candidate.filters, candidate.kernel, 1 if candidate.kernel in (1, 3) else 2)
    return classify(b, x)


def define_mixed(b: Builder, candidate: Mixed) -> str:
    x = image(b, candidate.size)
    padding = 2
    for kernel in in_turn(candidate.kernels, candidate.counts):
        padding = 1 if kernel % 2 else padding  # for good: the next even kernel has it too
        x = conv_relu(b, x, candidate.filters, kernel, padding)
    return classify(b, x)


def define_depthwise(b: Builder, candidate: Depthwise) -> str:
    x = image(b, candidate.size)
    for _ in range(candidate.layers):
        x = depthwise_separable(b, x, candidate.filters, candidate.kernel, 1 if candidate.kernel == 3 else 2)
    return classify(b, x)


def in_turn(kernels: Sequence[int], counts: Sequence[int]) -> list[int]:
    """The first kernel, the second, the first again ..., the first as often as ``counts`` says.

    >>> in_turn((1, 3), (3, 2))
    [1, 3, 1, 3, 1]
    """
    return [kernels[i % 2] for i in range(sum(counts))]


def jetson_nano_plain() -> Space[Plain]:
    """Networks of 2 to 10 convolutions of one kernel."""
    axes: dict[str, Axis] = {
        "layers": Choice(range(2, 11)), "filters": Choice(FILTERS), "kernel": Choice(range(1, 5)), "size": Choice(SIZES),
    }  # fmt: skip
    return Space("jetson_nano_plain", Plain, axes, define_plain, text=_uniform_text(Plain, ""))


def jetson_nano_mixed() -> Space[Mixed]:
    """Networks of 2 to 10 convolutions with two kernels in turn."""
    kernel = Choice(range(1, 8))
    counts = Choice(tuple((layers - layers // 2, layers // 2) for layers in range(2, 11)))
    axes: dict[str, Axis] = {
        "filters": Choice(FILTERS), "kernels": Row((kernel, kernel)), "counts": counts, "size": Choice(SIZES),
    }  # fmt: skip
    text = Text("convnet_L5_F128_K1x1_3_K2x2_2_W80", _read_mixed, _write_mixed)
    return Space("jetson_nano_mixed", Mixed, axes, define_mixed, text=text)


def jetson_nano_dws() -> Space[Depthwise]:
    """Networks of 5 to 10 depthwise separable convolutions."""
    axes: dict[str, Axis] = {
        "layers": Choice(range(5, 11)), "filters": Choice(FILTERS), "kernel": Choice(range(2, 6)), "size": Choice(SIZES),
    }  # fmt: skip
    return Space("jetson_nano_dws", Depthwise, axes, define_depthwise, text=_uniform_text(Depthwise, "_DWS"))


def _uniform_text(record: type[Plain] | type[Depthwise], end: str) -> Text:
    def read(text: str) -> Plain | Depthwise:
        layers, filters, height, width, size = _numbers(rf"convnet_L(\d+)_F(\d+)_K(\d+)x(\d+)_W(\d+){end}", text)
        _check_square(height, width)
        return record(layers, filters, height, size)

    def write(c: Plain | Depthwise) -> str:
        return f"convnet_L{c.layers}_F{c.filters}_K{c.kernel}x{c.kernel}_W{c.size}{end}"

    return Text(f"convnet_L2_F512_K3x3_W80{end}", read, write)


def _read_mixed(text: str) -> Mixed:
    pattern = r"convnet_L(\d+)_F(\d+)_K(\d+)x(\d+)_(\d+)_K(\d+)x(\d+)_(\d+)_W(\d+)"
    layers, filters, h1, w1, n1, h2, w2, n2, size = _numbers(pattern, text)
    _check_square(h1, w1)
    _check_square(h2, w2)
    if layers != n1 + n2:
        raise ValueError(f"L{layers} is not the sum of {n1} and {n2}")
    return Mixed(filters, (h1, h2), (n1, n2), size)


def _write_mixed(c: Mixed) -> str:
    parts = "_".join(f"K{kernel}x{kernel}_{count}" for kernel, count in zip(c.kernels, c.counts, strict=True))
    return f"convnet_L{sum(c.counts)}_F{c.filters}_{parts}_W{c.size}"


def _numbers(pattern: str, text: str) -> list[int]:
    found = re.fullmatch(pattern, text.strip())
    if found is None:
        raise ValueError("it has another form")
    return [int(number) for number in found.groups()]


def _check_square(height: int, width: int) -> None:
    if height != width:
        raise ValueError(f"the kernel {height}x{width} is not square")
