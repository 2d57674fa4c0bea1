"""Which inputs and outputs of a network are a cache: what a decoder takes in, makes longer and gives back."""

from __future__ import annotations

import re
from dataclasses import dataclass

from costmodel.graph import Network

# how exporters call them: past_key_values.0.key -> present.0.key, past_0 -> present_0, key_cache -> updated_key_cache
PAST, PRESENT = re.compile(r"past|cache", re.IGNORECASE), re.compile(r"present|cache", re.IGNORECASE)
LEAST_RANK = 3


@dataclass(frozen=True, slots=True)
class Cache:
    """The names of the tensors that hold the cache before a step, and after it."""

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


def find_cache(network: Network) -> Cache:
    """The cache of a network; empty for one that has none.

    An input belongs to it that is joined to something new and given back as an output, or that is called so.

    >>> from costmodel.build import Builder
    >>> b = Builder("step")
    >>> keys, new = b.input("keys", (1, 8, "P", 64)), b.input("new", (1, 8, 1, 64))
    >>> find_cache(b.finish(b.concat(keys, new, axis=2, name="longer")))
    Cache(inputs=('keys',), outputs=('longer',))
    """
    joined = [
        (name, layer.outputs[0])
        for layer in network.layers
        if layer.op == "Concat" and layer.outputs[0] in network.outputs
        for name in layer.inputs[:1]
        if name in network.inputs
    ]
    inputs = dict.fromkeys(name for name, _ in joined)
    outputs = dict.fromkeys(name for _, name in joined)
    inputs.update(dict.fromkeys(name for name in network.inputs if PAST.search(name) and _is_large(network, name)))
    outputs.update(dict.fromkeys(name for name in network.outputs if PRESENT.search(name) and _is_large(network, name)))
    return Cache(tuple(inputs), tuple(outputs))


def _is_large(network: Network, name: str) -> bool:
    shape = network.tensors[name].shape
    return shape is not None and len(shape) >= LEAST_RANK
