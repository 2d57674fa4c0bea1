"""Measurements of a device whose seconds per unit of work are known, because the test made them up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from costmodel.dims import Dim
from costmodel.features import NAMES, feature_extents, relative_costs
from costmodel.graph import Network
from costmodel.schema.measurement import Measurement
from costmodel.specs import benchmark_network

Array = NDArray[np.float64]

NETWORKS = (
    "squeezenet", "mobilenet", "mobilenet_v2", "mobilenet_v3", "shufflenet", "shufflenet_v2", "efficientnet_b0",
    "regnety_400m", "blazeface", "googlenet", "resnet18", "alexnet", "vgg16", "yolo-fastest-1.1",
)  # fmt: skip
TYPICAL = np.array(relative_costs("cpu")) * 1e-10  # seconds: a device of 10 G multiply-adds a second


def costs(seed: int, spread: float = 0.5) -> Array:
    """Costs of each kind of work that differ from the typical ones."""
    found: Array = TYPICAL * np.random.default_rng(seed).lognormal(0, spread, len(TYPICAL))
    return found


@lru_cache
def _features(network: str) -> tuple[Network, Mapping[str, Dim]]:
    found = benchmark_network("ncnn", network)
    return found, feature_extents(found, "ncnn")


def work(network: str, **sizes: int) -> Array:
    """What a network asks for, straight from the table of features."""
    found, extents = _features(network)
    point = found.bind(sizes)
    return np.array([extents[name].at(point) for name in NAMES], dtype=float)


def measured(
    seconds_per_unit: Array,
    networks: Sequence[str] = NETWORKS,
    *,
    noise: float = 0.0,
    seed: int = 0,
    sizes: Mapping[str, int] | None = None,
    **cells: Any,
) -> list[Measurement]:
    """A row for each network: the sum of its work times the costs, off by a random factor."""
    rng = np.random.default_rng(seed)
    known = {"device": "a-board", "runtime": "ncnn", "precision": "fp32", "variant": "t4", "source": "me", "licence": "CC0"}
    times = {name: work(name, **(sizes or {})) @ seconds_per_unit * np.exp(rng.normal(0, noise)) for name in networks}
    return [
        Measurement(**{**known, "network": name, "sizes": dict(sizes or {}), "time_s": time_s, **cells})
        for name, time_s in times.items()
    ]
