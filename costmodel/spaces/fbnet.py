"""FBNet (Wu et al. 2019, arXiv 1812.03443): 22 layers, each one of eight inverted residual blocks or a skip."""

from __future__ import annotations

from typing import NamedTuple

from costmodel.build import Builder, block
from costmodel.dims import Extent
from costmodel.errors import InvalidChoice, nearest
from costmodel.spaces.axes import Axis, Choice, Several
from costmodel.spaces.space import Space, Text


class Block(NamedTuple):
    kernel: int
    expansion: int
    groups: int = 1


BLOCKS = {
    "k3_e1": Block(3, 1), "k3_e1_g2": Block(3, 1, groups=2), "k3_e3": Block(3, 3), "k3_e6": Block(3, 6),
    "k5_e1": Block(5, 1), "k5_e1_g2": Block(5, 1, groups=2), "k5_e3": Block(5, 3), "k5_e6": Block(5, 6),
}  # fmt: skip
OPS = (*BLOCKS, "skip")

LAYERS = (1, 4, 4, 4, 4, 4, 1)
CHANNELS = (16, 24, 32, 64, 112, 184, 352)


class Task(NamedTuple):
    """What the data set changes: the stride of the stem and of each stage's first layer, the width of the head."""

    image: int
    classes: int
    stem_stride: int
    strides: tuple[int, ...]
    head: int


TASKS = {
    "imagenet": Task(224, 1000, 2, (1, 2, 2, 2, 1, 2, 1), 1984),
    "cifar": Task(32, 100, 1, (1, 1, 2, 2, 1, 2, 1), 1504),
}


class Candidate(NamedTuple):
    """The op of each of the 22 layers."""

    ops: tuple[str, ...]


def conv_bn(
    b: Builder, x: str, filters: Extent, *, kernel: int = 1, stride: int = 1, groups: Extent = 1, relu: bool = True
) -> str:
    y = b.bn(b.conv(x, filters, kernel=kernel, stride=stride, padding="half", groups=groups, bias=False))
    return b.relu(y) if relu else y


@block
def stem(b: Builder, x: str, stride: int) -> str:
    return conv_bn(b, x, 16, kernel=3, stride=stride)


@block
def layer(b: Builder, x: str, op: str, filters: int, stride: int) -> str:
    keeps_shape = stride == 1 and b.channels(x) == filters
    if op == "skip":
        return x if keeps_shape else conv_bn(b, x, filters, stride=stride)
    kernel, expansion, groups = BLOCKS[op]
    wide = b.channels(x) * expansion
    y = conv_bn(b, x, wide, groups=groups)
    if groups > 1:
        y = b.shuffle(y, groups)
    y = conv_bn(b, y, wide, kernel=kernel, stride=stride, groups=wide)
    y = conv_bn(b, y, filters, groups=groups, relu=False)
    return b.add(x, y) if keeps_shape else y


@block
def head(b: Builder, x: str, width: int, classes: int) -> str:
    return b.linear(b.flatten(b.global_average_pool(conv_bn(b, x, width))), classes)


def fbnet(*, task: str = "imagenet", classes: int | None = None) -> Space[Candidate]:
    """The space, for images of ImageNet or, with ``task="cifar"``, as HW-NAS-Bench has it for CIFAR-100."""
    if task not in TASKS:
        raise InvalidChoice(f"fbnet: there is no task {task!r}; {nearest(task, TASKS)}")
    image, all_classes, stem_stride, strides, width = TASKS[task]

    def define(b: Builder, candidate: Candidate) -> str:
        x = stem(b, b.input("x", ("N", 3, "H", "W")), stem_stride)
        ops = iter(candidate.ops)
        for layers, filters, stride in zip(LAYERS, CHANNELS, strides, strict=True):
            for i in range(layers):
                x = layer(b, x, next(ops), filters, 1 if i else stride)
        return head(b, x, width, classes or all_classes)

    axes: dict[str, Axis] = {"ops": Several(Choice(OPS), counts=(sum(LAYERS),))}
    text = Text("22 ops, one space between two", lambda text: Candidate(tuple(text.split())), lambda c: " ".join(c.ops))
    return Space("fbnet", Candidate, axes, define, {"N": 1, "H": image, "W": image}, text)
