"""Attention as language models have it, by the formulas of its papers and by running decoders token by token."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from costmodel import specs
from costmodel.build import Builder
from costmodel.counts import count
from costmodel.graph import Network
from tests.test_build import TOKENS, built, run, stored
from tests.test_specs import session


def softmax(scores: np.ndarray) -> np.ndarray:
    exponentials = np.exp(scores - scores.max(-1, keepdims=True))
    return exponentials / exponentials.sum(-1, keepdims=True)


def by_heads(x: np.ndarray, weight: np.ndarray, depth: int) -> np.ndarray:
    return (x @ weight).reshape(len(x), -1, depth).swapaxes(0, 1)


def turned_by_position(x: np.ndarray, base: float) -> np.ndarray:
    """Each pair of features as a complex number, times exp(i * position * frequency)."""
    *_, length, depth = x.shape
    frequencies = base ** (-2 * np.arange(depth // 2) / depth)
    pairs = (x[..., : depth // 2] + 1j * x[..., depth // 2 :]) * np.exp(1j * np.outer(np.arange(length), frequencies))
    return np.concatenate([pairs.real, pairs.imag], -1)


def test_shared_keys_rotation_and_causality_are_the_formulas() -> None:
    network = built((1, 7, 24), lambda b, x: b.attention(x, 4, kv_heads=2, bias=False, causal=True, rotary=100))
    weights = {part: stored(network)[f"attention1.{part}.weight"] for part in ("query", "key", "value", "output")}
    x = np.random.default_rng(4).standard_normal((1, 7, 24)).astype(np.float32)
    query, key, value = (by_heads(x[0], weights[part], 6) for part in ("query", "key", "value"))
    query, key = turned_by_position(query, 100), turned_by_position(key, 100)
    mixed = np.zeros((7, 4, 6))
    for head in range(4):
        for at in range(7):
            seen = slice(0, at + 1)
            shares = softmax(query[head, at] @ key[head // 2, seen].T / np.sqrt(6))
            mixed[at, head] = shares @ value[head // 2, seen]
    np.testing.assert_allclose(run(network, x)[0][0], mixed.reshape(7, 24) @ weights["output"], rtol=1e-3, atol=1e-4)


def t5_bucket(distance: int, causal: bool) -> int:
    """Section 2.1 of the paper: up to half of the buckets for one distance each, the others wider with the logarithm."""
    each = 32 if causal else 16
    back = max(-distance, 0) if causal else abs(distance)
    near = each // 2
    bucket = back if back < near else near + int(np.log(back / near) / np.log(128 / near) * near)
    return min(bucket, each - 1) + (0 if causal or distance <= 0 else 16)


@pytest.mark.parametrize("causal", [False, True])
def test_distances_are_those_of_t5(causal: bool) -> None:
    length = 200
    network = built((1, length, 8), lambda b, x: b.attention(x, 2, bias=False, causal=causal, scaled=False, relative="far"))
    weights = stored(network)
    x = np.random.default_rng(5).standard_normal((1, length, 8)).astype(np.float32)
    query, key, value = (by_heads(x[0], weights[f"attention1.{part}.weight"], 4) for part in ("query", "key", "value"))
    buckets = [[t5_bucket(j - i, causal) for j in range(length)] for i in range(length)]
    scores = query @ key.swapaxes(1, 2) + weights["far.weight"][np.array(buckets)].transpose(2, 0, 1)
    if causal:
        scores = np.where(np.tri(length, dtype=bool), scores, -np.inf)
    mixed = (softmax(scores) @ value).swapaxes(0, 1).reshape(length, 8)
    expected = mixed @ weights["attention1.output.weight"]
    np.testing.assert_allclose(run(network, x)[0][0], expected, rtol=1e-2, atol=1e-3)


def test_layers_share_a_mask_a_rotation_and_a_table_of_distances() -> None:
    b = Builder()
    x = b.input("x", TOKENS)
    for _ in range(3):
        x = b.attention(x, 4, causal=True, rotary=10_000, relative="far")
    network = b.finish(x)
    assert [sum(layer.op == op for layer in network.layers) for op in ("Greater", "Cos", "Log")] == [1, 1, 1]
    assert count(network).total.params.at() == 3 * 4 * (24 * 24 + 24) + 32 * 4


# -- a step of generation ---------------------------------------------------------------------------------------------

SMALL: dict[str, Any] = {"layers": 2, "hidden": 32, "heads": 4, "vocab": 50}
DECODERS: dict[str, dict[str, Any]] = {
    "gpt2": SMALL,
    "llama3_8b": {**SMALL, "kv_heads": 2, "ffn": 48},
    "gemma_2b": {**SMALL, "ffn": 48, "depth": 16},
    "qwen2_7b": {**SMALL, "kv_heads": 1, "ffn": 48},
}


def ran(network: Network, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    found = session(specs.to_onnx(network).SerializeToString()).run(None, inputs)
    return dict(zip(network.outputs, found, strict=True))


@pytest.mark.parametrize("name", DECODERS)
def test_steps_score_what_the_whole_text_scores(name: str) -> None:
    """Tokens in two parts, the second with the kept keys and values of the first, score as they do at once."""
    text = np.random.default_rng(8).integers(0, 50, (2, 7))
    whole, step = (specs.zoo(name, **DECODERS[name], cache=cache) for cache in (False, True))

    def inputs(network: Network, begin: int, end: int, kept: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        given = {"input_ids": text[:, begin:end], "position_ids": np.arange(begin, end)[None]}
        past = {
            part: kept.get(part.replace("past_", "present_"), np.zeros((2, tensor.dims[1], 0, tensor.dims[3]), np.float32))
            for part, tensor in network.inputs.items()
            if "past_" in part
        }
        return {part: given[part] for part in network.inputs if part in given} | past

    first = ran(step, inputs(step, 0, 4, {}))
    second = ran(step, inputs(step, 4, 7, first))
    (expected,) = ran(whole, inputs(whole, 0, 7, {})).values()
    scores = next(iter(step.outputs))
    np.testing.assert_allclose(np.concatenate([first[scores], second[scores]], 1), expected, rtol=1e-3, atol=1e-4)
