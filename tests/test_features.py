"""The table of features: kinds of kernels by table, amounts by hand, and sums that lose no multiply-add."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from costmodel.build import Builder
from costmodel.counts import count
from costmodel.dims import Dim, total, value_at
from costmodel.features import (
    ALL,
    CONV_OPS,
    COPIES,
    FEATURES,
    NAMES,
    NORMS,
    POOLS,
    REDUCTIONS,
    amounts,
    feature_extents,
    relative_costs,
    works,
)  # fmt: skip
from costmodel.graph import Network
from costmodel.ops.registry import rules
from costmodel.specs import benchmark_names, benchmark_network

IMAGE = ("N", 8, 6, 6)
TOKENS = ("N", 5, 8)
Build = Callable[[Builder, str], "str | tuple[str, ...]"]


def built(shape: tuple[int | str, ...], build: Build) -> Network:
    b = Builder("net")
    written = build(b, b.input("x", shape))
    return b.finish(*((written,) if isinstance(written, str) else written))


def conv(filters: int, **options: object) -> Build:
    return lambda b, x: b.conv(x, filters, bias=False, **options)  # type: ignore[arg-type]


def deconv(filters: int, **options: object) -> Build:
    return lambda b, x: b.deconv(x, filters, bias=False, **options)  # type: ignore[arg-type]


def lstm(b: Builder, x: str) -> tuple[str, ...]:
    return b.op_with_outputs("LSTM", x, b.weight("w", (1, 16, 8)), b.weight("r", (1, 16, 4)), outputs=1, hidden_size=4)


def attention(b: Builder, x: str) -> str:
    return b.op("MultiHeadAttention", x, x, x, num_heads=1, domain="com.microsoft")


# -- kinds ------------------------------------------------------------------------------------------------------

KINDS: dict[str, tuple[tuple[int | str, ...], Build, str, int, int]] = {
    # the shape of x, what reads it, the kind of its kernel, depth and filters (of each group)
    "1x1": (IMAGE, conv(4), "pointwise", 8, 4),
    "1x1 with a stride": (IMAGE, conv(4, stride=2), "pointwise", 8, 4),
    "1x1 in groups": (IMAGE, conv(4, groups=2), "grouped", 4, 2),
    "3x3": (IMAGE, conv(4, kernel=3), "conv3x3", 8, 4),
    "3x3 with a stride": (IMAGE, conv(4, kernel=3, stride=2), "conv", 8, 4),
    "3x3 with gaps": (IMAGE, conv(4, kernel=3, dilation=2), "conv", 8, 4),
    "5x5": (IMAGE, conv(4, kernel=5), "conv", 8, 4),
    "1x3": (IMAGE, conv(4, kernel=(1, 3)), "conv", 8, 4),
    "depthwise": (IMAGE, conv(8, kernel=3, groups=8), "depthwise", 1, 1),
    "depthwise, two filters a channel": (IMAGE, conv(16, kernel=3, groups=8), "depthwise", 1, 2),
    "in groups": (IMAGE, conv(8, kernel=3, groups=4), "grouped", 2, 2),
    "in groups of one filter": (IMAGE, conv(4, kernel=3, groups=4), "depthwise", 2, 1),
    "along a line": (("N", 8, 6), conv(4, kernel=3), "conv", 8, 4),
    "transposed": (IMAGE, deconv(4, kernel=3), "conv", 8, 4),
    "transposed in groups": (IMAGE, deconv(12, kernel=3, groups=4), "grouped", 2, 3),
    "transposed in groups of one filter": (IMAGE, deconv(4, kernel=3, groups=4), "depthwise", 2, 1),
    "transposed, depthwise": (IMAGE, deconv(8, kernel=3, groups=8), "depthwise", 1, 1),
    "a matrix and a weight": (("N", 8), lambda b, x: b.linear(x, 4), "linear", 1, 1),
    "tokens and a weight": (TOKENS, lambda b, x: b.linear(x, 4, bias=False), "linear", 1, 1),
    "two that vary": (("N", 5, 5), lambda b, x: b.op("MatMul", x, x), "matmul", 1, 1),
    "recurrent": (TOKENS, lstm, "recurrent", 1, 1),
    "a pool": (IMAGE, lambda b, x: b.max_pool(x, 2), "pool", 1, 1),
    "a global pool": (IMAGE, lambda b, x: b.global_average_pool(x), "pool", 1, 1),
    "a batch norm": (IMAGE, lambda b, x: b.bn(x), "batch_norm", 1, 1),
    "a norm": (TOKENS, lambda b, x: b.layer_norm(x), "norm", 1, 1),
    "a softmax": (TOKENS, lambda b, x: b.softmax(x), "norm", 1, 1),
    "a copy": (TOKENS, lambda b, x: b.transpose(x, (0, 2, 1)), "copy", 1, 1),
    "a concatenation": (IMAGE, lambda b, x: b.concat(x, x), "copy", 1, 1),
    "an activation": (IMAGE, lambda b, x: b.relu(x), "elementwise", 1, 1),
    "a sum": (IMAGE, lambda b, x: b.add(x, b.relu(x)), "join", 1, 1),
    "a mean": (IMAGE, lambda b, x: b.op("ReduceMean", x, b.constant([2, 3])), "reduction", 1, 1),
    "depthwise, 7x7": (IMAGE, conv(8, kernel=7, padding=3, groups=8), "depthwise_wide", 1, 1),
    "attention": (("N", 5, 5), attention, "attention", 1, 1),
}


@pytest.mark.parametrize("case", KINDS)
def test_kinds(case: str) -> None:
    shape, build, *expected = KINDS[case]
    *_, work = works(built(shape, build), "ncnn")
    assert [work.kind, work.depth, work.filters] == expected


def test_every_kind_is_in_the_table() -> None:
    assert {kind for _, _, kind, _, _ in KINDS.values()} == set(ALL.split())
    assert set().union(*(feature.kinds for feature in FEATURES)) == set(ALL.split())


# -- amounts ----------------------------------------------------------------------------------------------------


def several(b: Builder, x: str) -> str:
    y = b.relu(b.conv(x, 16, kernel=3, padding=1))  # 8 -> 16 channels of 6 * 6
    y = b.conv(y, 16, kernel=3, padding=1, groups=16, bias=False)
    y = b.max_pool(b.concat(x, y), 2)  # 24 channels, 6 * 6 -> 3 * 3
    return b.linear(b.flatten(b.sigmoid(y)), 10)


def test_amounts_by_hand() -> None:
    area = 6 * 6
    expected = {
        "pointwise_macs": 0,
        "conv3x3_macs": 16 * area * 8 * 9,
        "conv_macs": 0,
        "depthwise_macs": 16 * area * 9,
        "grouped_macs": 0,
        "matmul_macs": 0,
        "macs_per_depth": 0,
        "conv3x3_macs_per_depth": 16 * area * 9,  # of the dense convolution, over its 8 channels
        "macs_per_filter": 0,
        "attention_macs": 0,
        "attention_bytes": 0,
        "depthwise_wide_macs": 0,
        "grouped_macs_per_depth": 0,
        "grouped_macs_per_group": 0,
        "conv_bytes": 0,
        "conv3x3_read_bytes": 4 * area * 8,
        "conv3x3_write_bytes": 4 * area * 16,
        "depthwise_bytes": 4 * area * (16 + 16),
        "product_bytes": 4 * (24 * 9 + 10),
        "elementwise_bytes": 4 * (24 * area + 24 * 9) + 4 * 9 * (24 + 24),  # of the pool and the sigmoid
        "copy_bytes": 4 * area * (8 + 16 + 24),
        "pool_flops": 24 * 9 * 4,  # comparisons
        "join_bytes": 0,
        "norm_bytes": 0,
        "batch_norm_bytes": 0,
        "norm_flops": 0,
        "reduction_flops": 0,
        "elementwise_flops": 24 * 9 * 4,  # a sigmoid is 4 operations
    }
    once = {
        "conv_weight_bytes": 4 * (16 * 8 * 9 + 16) + 4 * 16 * 9,
        "linear_weight_bytes": 4 * (24 * 9 * 10 + 10),
        "product_kernels": 3,
        "other_kernels": 3,
        "inputs": 1,
    }
    n = Dim.size("N")
    further_rows = {"gemm_macs": 24 * 9 * 10 * (n - 1)}  # the first finds no weight loaded
    found = feature_extents(built(IMAGE, several), "ncnn")
    assert dict(found) == {
        **{name: Dim.of(amount * n) for name, amount in expected.items()},
        **{name: Dim.of(amount) for name, amount in (once | further_rows).items()},
    }


def test_amounts_add_up_over_kernels() -> None:
    parts = works(built(IMAGE, several), "ncnn")
    for name, whole in amounts(parts).items():
        assert total(amounts((part,))[name] for part in parts) == whole


KINDS_OF_MACS = (
    "pointwise", "conv3x3", "conv", "depthwise", "depthwise_wide", "grouped", "gemm", "matmul", "attention",
)  # fmt: skip


@pytest.mark.parametrize("name", benchmark_names("ncnn"))
def test_every_multiply_add_is_in_one_feature(name: str) -> None:
    network = benchmark_network("ncnn", name)
    point = network.bind({})
    found = {feature: extent.at(point) for feature, extent in feature_extents(network, "ncnn").items()}
    macs = sum(found[f"{kind}_macs"] for kind in KINDS_OF_MACS)
    parts = works(network, "ncnn")
    first_rows = sum(value_at(part.macs, point) // value_at(part.rows, point) for part in parts if part.kind == "linear")
    assert macs + first_rows == count(network).at(point).macs
    assert found["product_kernels"] + found["other_kernels"] == len(parts)
    for part in parts:  # what is divided divides, so that nothing is rounded
        assert value_at(part.macs, point) % (value_at(part.depth, point) * value_at(part.filters, point)) == 0


# -- the table itself -------------------------------------------------------------------------------------------


def test_the_table() -> None:
    assert len(set(NAMES)) == len(FEATURES)
    assert {feature.bound for feature in FEATURES} == {"compute", "memory", "launch"}
    assert {feature.unit for feature in FEATURES} == {"MAC", "B", "FLOP", "kernel", "input"}
    assert all(cost > 0 for processor in ("cpu", "gpu") for cost in relative_costs(processor))


def test_ops_that_are_named_exist() -> None:
    known = {rule.op for rule in rules()}
    assert set().union(CONV_OPS, POOLS, COPIES, NORMS, REDUCTIONS) - known == set()
    named = [*CONV_OPS, *POOLS, *COPIES, *NORMS, *REDUCTIONS]
    assert len(named) == len(set(named))
