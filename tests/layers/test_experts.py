"""Mixtures of experts, by the formula."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from costmodel.counts import count
from costmodel.graph import Network
from tests.layers.test_attention import softmax
from tests.test_build import built, run, stored


def weights_of(network: Network, *parts: str) -> list[np.ndarray]:
    return [stored(network)[f"experts1.{part}.weight"] for part in parts]


@pytest.mark.parametrize("by_token", [False, True])
def test_experts_are_the_formula(by_token: bool) -> None:
    """Where every token takes every expert the shares are equal, so that both ways do the same, which is the formula."""
    options: dict[str, Any] = {"hidden": 4, "top": 3, "gated": True, "activation": "swish", "by_token": by_token}
    network = built((1, 5, 8), lambda b, x: b.experts(x, 3, **options))
    router, gate, up, down = weights_of(network, "router", "gate", "up", "down")
    x = np.random.default_rng(6).standard_normal((1, 5, 8)).astype(np.float32)
    opened = x[0] @ gate
    each = (opened / (1 + np.exp(-opened)) * (x[0] @ up)) @ down
    expected = np.einsum("te,etc->tc", softmax(x[0] @ router), each)
    np.testing.assert_allclose(run(network, x)[0][0], expected, rtol=1e-3, atol=1e-4)


def test_each_token_goes_to_the_expert_that_the_router_prefers() -> None:
    network = built((1, 6, 8), lambda b, x: b.experts(x, 4, hidden=4, by_token=True))
    router, up, down = weights_of(network, "router", "up", "down")
    x = np.random.default_rng(7).standard_normal((1, 6, 8)).astype(np.float32)
    expected = []
    for token, trust in zip(x[0], softmax(x[0] @ router), strict=True):
        best = trust.argmax()
        expected.append(trust[best] * (np.maximum(token @ up[best], 0) @ down[best]))
    np.testing.assert_allclose(run(network, x)[0][0], expected, rtol=1e-3, atol=1e-4)


def test_shares_are_rounded_up_and_fetched_weights_are_not() -> None:
    """13 tokens are 4 for each of 4 experts; the router sees each token once."""
    sorted_, fetched = (
        count(built(("N", "S", 8), lambda b, x, by_token=by_token: b.experts(x, 4, hidden=16, by_token=by_token)))
        for by_token in (False, True)
    )
    router, expert = 8 * 4, 2 * 8 * 16
    assert sorted_.total.macs.at(N=1, S=13) == 13 * router + 16 * expert
    assert fetched.total.macs.at(N=1, S=13) == 13 * router + 13 * expert
    assert sorted_.total.params == fetched.total.params == router + 4 * expert
