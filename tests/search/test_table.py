"""Tables of whole populations: every number is that of the network counted alone, also where blocks are hard to divide."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest

import costmodel as cm
from costmodel.features import feature_extents
from costmodel.search import Choice, Space, table
from costmodel.search.blocks import COLUMNS, Blocks
from costmodel.search.parts import Indivisible

RUNTIMES = ("", "ncnn", "torch")
SPACES = [(name, {}) for name in cm.search.spaces()] + [("nasbench201", {"pruned": True}), ("fbnet", {"task": "cifar"})]


def alone(network: cm.Network, runtime: str) -> dict[str, int]:
    """The columns by the public functions on one network."""
    counts = cm.count(network).at().as_dict()
    features = {name: feature.at() for name, feature in feature_extents(network, runtime).items()}
    return {**counts, "peak_bytes": cm.memory(network).at().peak_bytes, **features}


def together(space: Space[Any], candidates: list[Any], runtime: str) -> list[dict[str, int]]:
    columns = table(space, candidates, runtime=runtime)
    return [{name: int(column[i]) for name, column in columns.items()} for i in range(len(candidates))]


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize(("name", "options"), SPACES)
def test_the_spaces_of_the_literature(name: str, options: dict[str, Any], runtime: str) -> None:
    space = cm.search.space(name, **options)
    rng = np.random.default_rng(5)
    candidates = [space.sample(rng) for _ in range(4)]
    expected = [alone(space.network(candidate, **space.defaults), runtime) for candidate in candidates]
    assert together(space, candidates, runtime) == expected


# -- networks of random blocks -----------------------------------------------------------------------------------------


class Seed(NamedTuple):
    number: int


def relu6(b: cm.Builder, xs: list[str]) -> str:
    return b.relu6(xs[-1])


def gated(b: cm.Builder, xs: list[str]) -> str:
    return b.mul(xs[0], b.sigmoid(xs[0]))


def squeezed(b: cm.Builder, xs: list[str]) -> str:
    return b.mul(xs[0], b.hardsigmoid(b.conv(b.global_average_pool(xs[-1]), 8)))


def viewed(b: cm.Builder, xs: list[str]) -> str:
    return b.reshape(b.relu(b.reshape(xs[-1], (0, 8, 36))), (0, 8, 6, 6))


def parted(b: cm.Builder, xs: list[str]) -> str:
    first, second = b.split(xs[-1], 2)
    return b.concat(b.relu(first), second)


def half_used(b: cm.Builder, xs: list[str]) -> str:
    first, _ = b.split(xs[-1], 2)
    return b.concat(first, first)


def with_scale(b: cm.Builder, xs: list[str]) -> str:
    return b.mul(xs[-1], b.constant([0.5], shape=()))


LAYERS: list[Callable[[cm.Builder, list[str]], str]] = [
    relu6, gated, squeezed, viewed, parted, half_used, with_scale,
    lambda b, xs: xs[0],
    lambda b, xs: b.relu(xs[-1]),
    lambda b, xs: b.bn(xs[-1]),
    lambda b, xs: b.sigmoid(xs[-1]),
    lambda b, xs: b.mul(xs[0], xs[-1]),
    lambda b, xs: b.add(xs[0], xs[-1]),
    lambda b, xs: b.conv(xs[-1], 8, kernel=3, padding=1, bias=False),
    lambda b, xs: b.conv(xs[-1], 8, groups=8),
    lambda b, xs: b.avg_pool(xs[0], 3, stride=1, padding=1),
]  # fmt: skip


@cm.block
def random_block(b: cm.Builder, xs: tuple[str, ...], seed: int, depth: int) -> tuple[str, ...]:
    """Some layers and inner blocks on the inputs and on each other; it gives one or two tensors."""
    return grown(b, xs, random.Random(seed), depth)


def grown(b: cm.Builder, xs: tuple[str, ...], rng: random.Random, depth: int) -> tuple[str, ...]:
    made = list(xs)
    for _ in range(rng.randint(1, 4)):
        chosen = [rng.choice(made[-3:]) for _ in range(rng.randint(1, 2))]
        if depth and rng.random() < 0.5:
            made += random_block(b, tuple(chosen), rng.randrange(12), depth - 1)
        elif depth and rng.random() < 0.2:
            made.append(b.repeat(rng.randint(1, 4), in_a_row, chosen[0], rng.randrange(12)))
        else:
            made.append(rng.choice(LAYERS)(b, chosen))
    return tuple(made[-rng.randint(1, 2) :])


@cm.block
def in_a_row(b: cm.Builder, x: str, seed: int) -> str:
    return grown(b, (x,), random.Random(seed), 0)[-1]


def define_random(b: cm.Builder, candidate: Seed) -> str:
    rng = random.Random(candidate.number)
    xs: tuple[str, ...] = (b.conv(b.input("x", ("N", 8, 6, 6)), 8),)
    for _ in range(3):
        xs = grown(b, xs, rng, 2)
    if rng.random() < 0.3:
        b.output(xs[0])
    return b.relu(xs[-1])


RANDOM = Space("random", Seed, {"number": Choice(range(10**6))}, define_random)


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_networks_of_random_blocks(runtime: str) -> None:
    seeds = [Seed(number) for number in range(150)]
    expected = [alone(RANDOM.network(seed, N=1), runtime) for seed in seeds]
    for seed, found, wanted in zip(seeds, together(RANDOM, seeds, runtime), expected, strict=True):
        assert found == wanted, seed


def test_most_networks_of_random_blocks_are_divided() -> None:
    blocks = Blocks()
    divided = 0
    for number in range(150):
        try:
            blocks.row(define_random, Seed(number), {"N": 1})
            divided += 1
        except Indivisible:
            pass
    assert divided > 75


# -- what cannot be divided ---------------------------------------------------------------------------------------------


@cm.block
def ends_in_a_gate(b: cm.Builder, x: str) -> str:
    return b.sigmoid(x)


def gate_apart(b: cm.Builder, x: str) -> str:
    y = b.conv(x, 8)
    return b.mul(y, ends_in_a_gate(b, y))


@cm.block
def by_a_weight(b: cm.Builder, xs: tuple[str, ...]) -> str:
    return b.mul(*xs)


def shared_weight(b: cm.Builder, x: str) -> str:
    weight = b.weight("scale", (8, 1, 1))
    return by_a_weight(b, (by_a_weight(b, (x, weight)), weight))


@cm.block
def makes_an_output(b: cm.Builder, x: str) -> str:
    return b.output(b.relu(x))


@cm.block
def takes_a_list(b: cm.Builder, x: str, widths: list[int]) -> str:
    for width in widths:
        x = b.conv(x, width)
    return x


@cm.block
def gives_a_constant(b: cm.Builder, x: str) -> tuple[str, ...]:
    return b.relu(x), b.constant([2.0], shape=())


def multiplied(b: cm.Builder, x: str) -> str:
    return b.mul(*gives_a_constant(b, x))


@cm.block
def runs_a_loop(b: cm.Builder, x: str) -> str:
    return b.op("DequantizeLinear", b.op("QuantizeLinear", x, b.constant([0.1], shape=())), b.constant([0.1], shape=()))


WHOLE: dict[str, Callable[[cm.Builder, str], str]] = {
    "a gate apart": gate_apart,
    "a shared weight": shared_weight,
    "an output within": lambda b, x: b.conv(makes_an_output(b, x), 8),
    "a list": lambda b, x: takes_a_list(b, x, [4, 8]),
    "a constant": multiplied,
    "quantisers": runs_a_loop,
    "an input as output": lambda b, x: b.relu(b.output(x)),
}


@pytest.mark.parametrize("name", WHOLE)
def test_what_cannot_be_divided_is_counted_whole(name: str) -> None:
    def define(b: cm.Builder, candidate: Seed) -> str:
        return WHOLE[name](b, b.input("x", ("N", 8, 6, 6)))

    space = Space("hard", Seed, {"number": Choice((0,))}, define)
    with pytest.raises(Indivisible):
        Blocks().row(define, Seed(0), {"N": 2})
    assert together(space, [Seed(0)], "") == [alone(space.network(Seed(0), N=1), "")]


# -- the interface --------------------------------------------------------------------------------------------------------


def test_columns_and_sizes() -> None:
    space = cm.search.space("fbnet")
    candidates = [space.sample(seed) for seed in range(3)]
    columns = table(space, candidates, N=2, H=128, W=160)
    assert tuple(columns) == COLUMNS
    assert all(column.shape == (3,) and column.dtype == np.int64 for column in columns.values())
    counts = [cm.count(space.network(candidate)).at(N=2, H=128, W=160).macs for candidate in candidates]
    assert columns["macs"].tolist() == counts
    assert [len(column) for column in table(space, []).values()] == [0] * len(COLUMNS)


def test_blocks_are_forgotten_and_made_again(monkeypatch: pytest.MonkeyPatch) -> None:
    space = cm.search.space("nasbench201")
    candidates = [space.sample(seed) for seed in range(12)]
    expected = together(space, candidates, "")
    monkeypatch.setattr("costmodel.search.blocks.KEPT_BLOCKS", 3)
    assert together(space, candidates, "") == expected


def test_faults_are_told() -> None:
    space = cm.search.space("nasbench201")
    with pytest.raises(cm.InvalidChoice, match="no choice 'conv'"):
        table(space, [space.record(("conv",) * 6)])
    with pytest.raises(cm.UnknownSize, match="size H=9: no input of network 'nasbench201' has it"):
        table(space, [space.sample(0)], H=9)

    def define(b: cm.Builder, candidate: Seed) -> str:
        return b.relu(b.input("x", ("N", "S", 8)))

    with pytest.raises(cm.UnknownSize, match="leaves S open"):
        table(Space("open", Seed, {"number": Choice((0,))}, define), [Seed(0)])
