"""What a device must have free to run a network: its weights, what the runtime plans for activations, and what it adds.

Runtimes copy weights: they parse a file, then lay weights out anew for their kernels. How much that takes is measured for a
runtime (``calibration/memory``) and fitted as a law: constant + a part of the weights + the planned peak.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from costmodel.counts import count
from costmodel.dims import Extent, total, value_at
from costmodel.errors import InvalidChoice, nearest
from costmodel.graph import Network
from costmodel.intervals import conformal_radius
from costmodel.planning import memory
from costmodel.prediction import Estimate
from costmodel.schema.data import data_folder
from costmodel.schema.footprint import Law, read_laws

CONVOLUTIONS = frozenset({"Conv", "ConvTranspose"})
# of runtimes without a law: how they plan, and nothing that they add
PLANNERS: Mapping[str, str] = {"tflite": "tflite"}


@dataclass(frozen=True, slots=True)
class Footprint:
    """The memory that running a network takes on a device, in bytes.

    ``total``: all of it, with an interval (of level 0 where no measurement tells how far off it can be: then it is what is
    needed at least); ``weight_bytes``: as the network stores them; ``activation_bytes``: the peak that the runtime's
    planner takes; ``overhead_bytes``: what the runtime adds; ``scope``: whose memory that is; ``source``: who measured it.
    """

    total: Estimate
    weight_bytes: int
    activation_bytes: int
    overhead_bytes: int
    planner: str
    scope: str
    source: str


def device_memory(
    network: Network, runtime: str, values: Mapping[str, int] | None = None, /, *, level: float = 0.9, **sizes: int
) -> Footprint:
    """The memory that a runtime takes to run a network.

    ``runtime``: ``onnxruntime``, or a device's own law as ``jetson-tx1/torch7``; others get weights and planned peak, which
    is a lower bound.

    >>> from costmodel.specs import zoo
    >>> found = device_memory(zoo("resnet50"), "onnxruntime", N=1)
    >>> found.weight_bytes < found.total.low < found.total.value < found.total.high
    True

    Raises UnknownSize for a size that is missing, InvalidChoice for a level that is none.
    """
    point = network.bind({**(values or {}), **sizes})
    law = laws().get(runtime)
    planner = law.planner if law else PLANNERS.get(runtime, "ideal")
    activations = _activation_bytes(network, planner, point) if planner else 0
    weights = int(value_at(count(network).total.weight_bytes, point))
    convolutions = int(value_at(convolution_bytes(network), point))
    taken = law.weights_taken(weights, convolutions) if law else weights
    value = float(taken + activations)
    return Footprint(
        total=_estimate(value, law.margins if law else (), level),
        weight_bytes=weights,
        activation_bytes=activations,
        overhead_bytes=round(value) - weights - activations,
        planner=planner,
        scope=law.scope if law else "weights and activations alone: a lower bound",
        source=law.source if law else "",
    )


def _activation_bytes(network: Network, planner: str, point: Mapping[str, int]) -> int:
    """The planned peak, with the inputs where the planner leaves them to the caller: the process holds them too."""
    planned = memory(network, planner=planner)
    peak = planned.peak_at(point)
    if planned.planner.sharing_of(network).inputs_count:
        return peak
    return peak + int(value_at(total(tensor.nbytes for tensor in network.inputs.values() if tensor.is_known), point))


def _estimate(value: float, margins: Sequence[float], level: float) -> Estimate:
    radius, supported = conformal_radius(margins, level)
    if math.isinf(radius):
        return Estimate(value, value, value, 0.0)
    return Estimate(value, value * math.exp(-radius), value * math.exp(radius), supported)


@lru_cache(maxsize=1)
def laws() -> Mapping[str, Law]:
    """The laws that ship with the library, by runtime, or by device and runtime."""
    return {law.name: law for law in read_laws(data_folder("calibration") / "memory" / "laws.toml")}


def find_law(name: str) -> Law:
    """A law by name. Raises InvalidChoice with the nearest names."""
    if name not in laws():
        raise InvalidChoice(f"there is no measured law of memory for {name!r}; {nearest(name, laws())}")
    return laws()[name]


def convolution_bytes(network: Network) -> Extent:
    """Bytes of the stored weights that convolutions read."""
    names = {name for layer in network.layers if layer.op in CONVOLUTIONS for name in layer.inputs[1:] if name}
    return total(network.tensors[name].nbytes for name in sorted(names))
