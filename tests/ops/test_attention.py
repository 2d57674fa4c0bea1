"""Attention and its kin: outputs against ONNX's own tests and ONNX Runtime, multiply-adds against a loop."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest
from official import cases_of
from official import faults as official_faults
from one_node import faults, floats, halves, ids, layer_of, model_of, weights

from costmodel.dims import Dim
from costmodel.errors import MalformedModel
from costmodel.read.onnx import load

OPS = ("Attention", "RotaryEmbedding", "LinearAttention", "CausalConvWithState", "FlexAttention")
OFFICIAL = cases_of(*OPS)


@pytest.mark.parametrize("constants", [False, True])
@pytest.mark.parametrize("name", sorted(OFFICIAL))
def test_official(name: str, constants: bool) -> None:
    assert official_faults(OFFICIAL[name], constants=constants) == []


def test_official_cases_are_there() -> None:
    assert len(OFFICIAL) >= 90


CASES: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = [
    ("Attention", (floats(2, 3, 5, 8), floats(2, 3, 7, 8), floats(2, 3, 7, 10)), {}),
    ("Attention", (floats(2, 6, 5, 8), floats(2, 3, 7, 8), floats(2, 3, 7, 10)), {"outputs": [0, 3]}),
    ("Attention", (floats(2, 5, 24), floats(2, 7, 24), floats(2, 7, 30)), {"q_num_heads": 3, "kv_num_heads": 3}),
    (
        "Attention",
        (floats(2, 5, 24), floats(2, 7, 24), floats(2, 7, 30), None, floats(2, 3, 4, 8), floats(2, 3, 4, 10)),
        {"q_num_heads": 3, "kv_num_heads": 3, "outputs": 4, "is_causal": 1},
    ),
    ("Attention", (floats(2, 3, 5, 8), floats(2, 3, 7, 8), floats(2, 3, 7, 10), floats(5, 7)), {"softcap": 2.0}),
    ("RotaryEmbedding", (floats(2, 3, 5, 8), weights(9, 4), weights(9, 4), ids(2, 5)), {}),
    ("RotaryEmbedding", (floats(2, 5, 24), weights(9, 4), weights(9, 4), ids(2, 5)), {"num_heads": 3}),
    ("RotaryEmbedding", (floats(2, 3, 5, 8), floats(2, 5, 2), floats(2, 5, 2)), {"rotary_embedding_dim": 4}),
]


@pytest.mark.parametrize(("op", "inputs", "node"), CASES)
def test_outputs_equal_those_of_onnx_runtime(op: str, inputs: tuple[Any, ...], node: dict[str, Any]) -> None:
    assert faults(op, inputs, opset=23, **node) == []


def cost(op: str, *inputs: Any, opset: int = 23, **node: Any) -> Any:
    return layer_of(load(model_of(op, *inputs, opset=opset, **node))).cost


def test_attention_counts_as_a_loop_over_queries_and_keys() -> None:
    batch, heads, shared, queries, past, new, depth, value_depth = 2, 6, 3, 5, 4, 7, 8, 10
    keys = past + new
    macs = scores = 0
    for _ in product(range(batch), range(heads), range(queries), range(keys)):
        macs += depth + value_depth
        scores += 1
    found = cost(
        "Attention",
        floats(batch, heads, queries, depth),
        floats(batch, shared, new, depth),
        floats(batch, shared, new, value_depth),
        floats(queries, keys),
        floats(batch, shared, past, depth),
        floats(batch, shared, past, value_depth),
        is_causal=1,
        softcap=3.0,
    )
    assert found.macs == macs
    assert found.other_flops == scores * (1 + 5 + 1 + 1 + 3)  # scale, softmax, mask, causal mask, soft cap


def test_open_lengths() -> None:
    model = model_of("Attention", floats(1, 12, 5, 64), floats(1, 12, 5, 64), floats(1, 12, 5, 64), opset=23)
    shape = ("N", 12, "S", 64)
    network = load(model, sizes={"x0": shape, "x1": shape, "x2": shape})
    n, s = Dim.size("N"), Dim.size("S")
    assert network.outputs["y0"].shape == (n, 12, s, 64)
    assert layer_of(network).cost.macs == 2 * 12 * 64 * n * s * s  # type: ignore[union-attr]


def test_rotation_reads_the_rows_of_its_positions_only() -> None:
    found = cost("RotaryEmbedding", floats(2, 3, 5, 8), weights(100, 4), weights(100, 4), ids(2, 5))
    assert found.reads == (240, 40, 40, 10)
    assert found.other_flops == sum(3 for _ in range(2 * 3 * 5 * 8))


# rule, multiply-adds per token: to update the state, to read it, to correct it
RULES = [("linear", 1, 1), ("gated", 1, 1), ("delta", 2, 1), ("gated_delta", 2, 1)]


@pytest.mark.parametrize(("update_rule", "per_kv_head", "per_head"), RULES)
def test_linear_attention_counts_as_its_recurrence(update_rule: str, per_kv_head: int, per_head: int) -> None:
    batch, tokens, heads, kv_heads, depth, value_depth = 2, 5, 6, 3, 4, 7
    state = [(i, j) for i in range(depth) for j in range(value_depth)]
    macs = 0
    for _ in product(range(batch), range(tokens)):
        macs += sum(per_kv_head for _ in range(kv_heads) for _ in state) + sum(per_head for _ in range(heads) for _ in state)
    gates = (floats(batch, tokens, kv_heads), floats(batch, tokens, kv_heads))
    inputs = (
        floats(batch, tokens, heads * depth), floats(batch, tokens, kv_heads * depth),
        floats(batch, tokens, kv_heads * value_depth), None, *gates,
    )  # fmt: skip
    found = cost("LinearAttention", *inputs, opset=27, q_num_heads=heads, kv_num_heads=kv_heads, update_rule=update_rule)
    assert found.macs == macs


WRONG: list[tuple[str, tuple[Any, ...], dict[str, Any], str]] = [
    ("Attention", (floats(2, 5, 24),) * 3, {}, "a query of rank 3 needs its number of heads as an attribute"),
    ("Attention", (floats(2, 5, 24),) * 3, {"q_num_heads": 5, "kv_num_heads": 5}, "24 features do not split into 5 heads"),
    ("Attention", (floats(2, 4, 5, 8), *(floats(2, 3, 5, 8),) * 2), {}, "4 query heads cannot share 3 key heads evenly"),
    (
        "Attention",
        (*(floats(2, 3, 5, 8),) * 3, None, floats(2, 3, 5, 8)),
        {},
        "past_key and past_value are given together or not at all",
    ),
    (
        "RotaryEmbedding",
        (floats(2, 3, 5, 8), weights(9, 3), weights(9, 3), ids(2, 5)),
        {},
        "the cosine and sine tables have 3 columns; half of 8 numbers turn",
    ),
    (
        "LinearAttention",
        (halves(2, 5, 24),) * 3,
        {"q_num_heads": 3, "kv_num_heads": 3, "update_rule": "square"},
        "update_rule 'square' is none of linear, gated, delta, gated_delta",
    ),
    (
        "LinearAttention",
        (halves(2, 5, 24),) * 3,
        {"q_num_heads": 3, "kv_num_heads": 3, "update_rule": "gated"},
        "update_rule 'gated' needs the input decay",
    ),
]


@pytest.mark.parametrize(("op", "inputs", "attributes", "message"), WRONG)
def test_messages(op: str, inputs: tuple[Any, ...], attributes: dict[str, Any], message: str) -> None:
    with pytest.raises(MalformedModel, match=message):
        cost(op, *inputs, opset=27, **attributes)
