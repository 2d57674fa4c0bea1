"""The order in which ONNX Runtime runs a graph."""

from __future__ import annotations

from collections.abc import Iterable

from costmodel.graph import Layer, Network


def depth_first(network: Network, running: Iterable[Layer]) -> tuple[Layer, ...]:
    """The layers that run in the order of a depth-first walk from the last layers back to the inputs.

    A layer comes when all that it reads is there; of what it reads, the file's last comes first.
    """
    layers, producers, consumers = network.layers, network.producers, network.consumers
    runs = {layer.name for layer in running}
    leaves = [i for i, layer in enumerate(layers) if not any(name in consumers for name in layer.outputs if name)]
    stack = [(i, False) for i in leaves]
    seen, ordered = [layer.name not in runs for layer in layers], []
    while stack:
        i, is_left = stack.pop()
        if is_left:
            ordered.append(layers[i])
        elif not seen[i]:
            seen[i] = True
            stack.append((i, True))
            needed = sorted({producers[name] for name in layers[i].reads if name in producers})
            stack.extend((j, False) for j in needed if not seen[j])
    return tuple(ordered)
