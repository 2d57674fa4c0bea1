"""NAS-Bench-201 (Dong and Yang 2020, arXiv 2001.00326): one cell of four nodes and six edges, repeated 15 times.

    stem | 5 cells, 16 channels | residual block | 5 cells, 32 | residual block | 5 cells, 64 | head

A node of the cell is the sum of its edges, each an op on an earlier node.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

from costmodel.build import Builder, block
from costmodel.dims import Extent
from costmodel.spaces.axes import Axis, Choice, Several
from costmodel.spaces.space import Space, Text

EDGES = ((0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3))


class Candidate(NamedTuple):
    """The op on each edge, in the order of EDGES."""

    ops: tuple[str, ...]


def relu_conv_bn(b: Builder, x: str, channels: Extent, *, kernel: int, stride: int = 1) -> str:
    return b.bn(b.conv(b.relu(x), channels, kernel=kernel, stride=stride, padding="half", bias=False))


OPS: dict[str, Callable[[Builder, str], str]] = {
    "none": lambda b, x: b.op("Sub", x, x),  # costs as much as x * 0, but stores no number
    "skip_connect": lambda _, x: x,
    "nor_conv_1x1": lambda b, x: relu_conv_bn(b, x, b.channels(x), kernel=1),
    "nor_conv_3x3": lambda b, x: relu_conv_bn(b, x, b.channels(x), kernel=3),
    "avg_pool_3x3": lambda b, x: b.avg_pool(x, 3, stride=1, padding=1),
}


def live_edges(ops: tuple[str, ...]) -> tuple[bool, ...]:
    """Which edges carry something from the cell's input to its output.

    >>> live_edges(("none", "skip_connect", "nor_conv_3x3", "none", "avg_pool_3x3", "skip_connect"))
    (False, True, False, False, False, True)
    """
    edges = list(zip(EDGES, ops, strict=True))
    filled, used = {0}, {3}
    for (source, target), op in edges:
        if op != "none" and source in filled:
            filled.add(target)
    for (source, target), op in reversed(edges):
        if op != "none" and target in used:
            used.add(source)
    return tuple(op != "none" and source in filled and target in used for (source, target), op in edges)


@block
def node(b: Builder, earlier: tuple[str, ...], ops: tuple[str | None, ...]) -> str:
    """The sum of the edges that arrive, each an op on an earlier node; an edge without an op is not there."""
    arriving = [OPS[op](b, x) for x, op in zip(earlier, ops, strict=True) if op is not None]
    return b.add(*arriving) if len(arriving) > 1 else arriving[0]


@block
def cell(b: Builder, x: str, ops: tuple[str | None, ...]) -> str:
    """The last node; a node where no edge arrives is not there."""
    nodes = [x]
    for arriving in (ops[0:1], ops[1:3], ops[3:6]):
        nodes.append(node(b, tuple(nodes), arriving) if any(arriving) else x)
    return nodes[-1]


@block
def stem(b: Builder, x: str, channels: int) -> str:
    return b.bn(b.conv(x, channels, kernel=3, padding=1, bias=False))


@block
def residual_block(b: Builder, x: str, channels: int) -> str:
    y = relu_conv_bn(b, relu_conv_bn(b, x, channels, kernel=3, stride=2), channels, kernel=3)
    return b.add(b.conv(b.avg_pool(x, 2, stride=2), channels, bias=False), y)


@block
def head(b: Builder, x: str, classes: int) -> str:
    return b.linear(b.flatten(b.global_average_pool(b.relu(b.bn(x)))), classes)


def nasbench201(
    *,
    pruned: bool = False,
    classes: int = 10,
    cells: int = 5,
    channels: int = 16,
    image: tuple[int, int, int] = (3, 32, 32),
) -> Space[Candidate]:
    """The space, for images of CIFAR; ``image`` (channels, height, width) and ``classes`` give others.

    Literally, as the paper defines its networks, every edge is run: ``none`` makes zeros, and an edge that starts from
    zeros or leads nowhere still costs. ``pruned``, these edges are left out, as a compiler would; in a cell where nothing
    is left, zeros are made of the input at once.
    """

    def define(b: Builder, candidate: Candidate) -> str:
        ops: tuple[str | None, ...] = candidate.ops
        if pruned:
            live = live_edges(candidate.ops)
            ops = tuple([op if lives else None for op, lives in zip(ops, live, strict=True)])
            ops = ops if any(live) else (None, None, None, "none", None, None)
        x = stem(b, b.input("x", ("N", *image)), channels)
        for stage in range(3):
            if stage:
                x = residual_block(b, x, channels * 2**stage)
            x = b.repeat(cells, cell, x, ops)
        return head(b, x, classes)

    axes: dict[str, Axis] = {"ops": Several(Choice(tuple(OPS)), counts=(len(EDGES),))}
    return Space("nasbench201", Candidate, axes, define, text=Text(FORM, read, write))


FORM = "|op~0|+|op~0|op~1|+|op~0|op~1|op~2|"


def read(text: str) -> Candidate:
    """The candidate of an architecture string, such as ``|nor_conv_3x3~0|+|none~0|skip_connect~1|+|...|``."""
    written = re.fullmatch(r"\|([^|+]+)\|\+\|([^|+]+)\|([^|+]+)\|\+\|([^|+]+)\|([^|+]+)\|([^|+]+)\|", text.strip())
    if written is None:
        raise ValueError("it has no three nodes of one, two and three edges")
    ops, sources = zip(*(part.rpartition("~")[::2] for part in written.groups()), strict=True)
    expected = tuple(str(source) for source, _ in EDGES)
    if sources != expected:
        raise ValueError(f"its edges start from the nodes {', '.join(sources)}, not {', '.join(expected)}")
    return Candidate(ops)


def write(candidate: Candidate) -> str:
    """The architecture string.

    >>> write(Candidate(("nor_conv_3x3", "none", "skip_connect", "none", "none", "avg_pool_3x3")))
    '|nor_conv_3x3~0|+|none~0|skip_connect~1|+|none~0|none~1|avg_pool_3x3~2|'
    """
    parts = [f"{op}~{source}" for (source, _), op in zip(EDGES, candidate.ops, strict=True)]
    return "+".join(f"|{'|'.join(parts[start:end])}|" for start, end in ((0, 1), (1, 3), (3, 6)))
