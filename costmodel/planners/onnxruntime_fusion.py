"""The graph that ONNX Runtime runs on a CPU after its optimisers, as far as they change which tensors exist.

Sources: onnxruntime/core/optimizer (conv_bn_fusion, nchwc_transformer, quick_gelu_fusion, bias_gelu_fusion,
skip_layer_norm_fusion, matmul_transpose_fusion, matmul_scale_fusion). Compared with the heap in docs/memory.md.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from costmodel.graph import Cost, Layer, Network
from costmodel.planners.depth_first import depth_first

ACTIVATIONS = frozenset({"Relu", "Clip", "LeakyRelu", "Sigmoid", "Tanh", "HardSigmoid", "HardSwish"})
SCALES = frozenset({"Mul", "Div"})


def optimized(network: Network) -> Network:
    """The network with the layers that are left, and those that take the place of others.

    >>> from costmodel.build import Builder
    >>> b = Builder("block")
    >>> x = b.input("x", (1, 8, 14, 14))
    >>> y = b.relu(b.add(b.conv(x, 8, kernel=3, padding=1), x))
    >>> [layer.op for layer in optimized(b.finish(y)).layers]
    ['FusedConv']
    """
    graph = _Graph(network)
    for rewrite in (_folded_scales, _gated, _bias_gelu, _skip_norm, _transposed_products, _sums, _activated):
        for step in list(graph.steps()):
            if graph.layers[step] is not None:
                rewrite(graph, step)
    return replace(network, layers=tuple(layer for layer in graph.layers if layer is not None))


class _Graph:
    """Layers that run, some of which are taken out or replaced, and who reads what."""

    def __init__(self, network: Network) -> None:
        self.network, self.tensors = network, network.tensors
        # blocked convolutions are new nodes, made in the order in which the graph would have run
        self.layers: list[Layer | None] = list(depth_first(network, network.running_layers))
        self.readers: dict[str, list[int]] = {}
        self.producer: dict[str, int] = {}
        for step in self.steps():
            self._register(step)

    def steps(self) -> Iterator[int]:
        return (step for step, layer in enumerate(self.layers) if layer is not None)

    def _register(self, step: int) -> None:
        layer = self.layers[step]
        if layer is not None:
            for name in layer.reads:
                self.readers.setdefault(name, []).append(step)
            self.producer.update((name, step) for name in layer.outputs if name)

    def remove(self, step: int) -> None:
        layer = self.layers[step]
        if layer is not None:
            for name in layer.reads:
                self.readers[name].remove(step)
            for name in layer.outputs:
                self.producer.pop(name, None)
        self.layers[step] = None

    def put(self, step: int, layer: Layer) -> None:
        self.remove(step)
        self.layers[step] = layer
        self._register(step)

    def made_by(self, name: str, *ops: str) -> int | None:
        """The layer that makes a tensor for one reader only, where it is of one of these ops."""
        step = self.producer.get(name)
        layer = None if step is None else self.layers[step]
        if layer is None or layer.op not in ops or len(self.readers.get(name, ())) != 1 or name in self.network.outputs:
            return None
        return step

    def varying(self, layer: Layer) -> list[str]:
        """What the layer reads that is not stored."""
        return [name for name in layer.inputs if name and not self.tensors[name].constant]

    def layer(self, step: int) -> Layer:
        found = self.layers[step]
        assert found is not None
        return found


def _folded_scales(graph: _Graph, step: int) -> None:
    """Batch norm, and a number for each channel added or multiplied, become part of the convolution before them."""
    layer = graph.layer(step)
    varying = graph.varying(layer)
    if layer.op not in ("BatchNormalization", "Mul", "Add") or len(varying) != 1:
        return
    conv = graph.made_by(varying[0], "Conv")
    if conv is not None and _per_channel(graph, layer):
        before = graph.layer(conv)
        graph.remove(step)
        graph.put(conv, before._replace(outputs=layer.outputs[:1]))


def _per_channel(graph: _Graph, layer: Layer) -> bool:
    """Whether what is stored holds one number a channel."""
    if layer.op == "BatchNormalization":
        return True
    y = graph.tensors[layer.outputs[0]]
    stored = [graph.tensors[name] for name in layer.inputs if name and graph.tensors[name].constant]
    return all(tensor.size in (1, y.dims[1]) and tensor.rank >= y.rank - 1 for tensor in stored)


def _gated(graph: _Graph, step: int) -> None:
    """X * sigmoid(x) is one kernel."""
    layer = graph.layer(step)
    if layer.op != "Mul" or len(layer.inputs) != 2:
        return
    for gate, x in (layer.inputs, layer.inputs[::-1]):
        sigmoid = graph.made_by(gate, "Sigmoid")
        if sigmoid is not None and graph.layer(sigmoid).inputs[0] == x:
            graph.remove(sigmoid)
            graph.put(step, _made(layer, "QuickGelu", (x,)))
            return


def _bias_gelu(graph: _Graph, step: int) -> None:
    """A bias before a GELU is added in its kernel, which keeps a result between."""
    layer = graph.layer(step)
    add = graph.made_by(layer.inputs[0], "Add") if layer.op == "Gelu" and layer.inputs else None
    if add is None:
        return
    bias = graph.layer(add)
    varying = graph.varying(bias)
    if len(varying) == 1 and all(graph.tensors[name].rank == 1 for name in bias.inputs if name not in varying):
        graph.remove(add)
        scratch = graph.tensors[layer.outputs[0]].nbytes
        graph.put(step, _made(layer, "BiasGelu", bias.inputs, scratch_bytes=scratch))


def _skip_norm(graph: _Graph, step: int) -> None:
    """A sum and the layer norm over it are one kernel, which gives both."""
    layer = graph.layer(step)
    if layer.op != "LayerNormalization" or graph.tensors[layer.outputs[0]].rank != 3:
        return
    add = graph.producer.get(layer.inputs[0])
    if add is None or graph.layer(add).op != "Add" or layer.inputs[0] in graph.network.outputs:
        return
    total = graph.layer(add)
    if len(graph.varying(total)) != 2 or len({graph.tensors[name].shape for name in total.inputs}) != 1:
        return
    is_kept = len(graph.readers[layer.inputs[0]]) > 1
    outputs = (layer.outputs[0], *((layer.inputs[0],) if is_kept else ()))
    graph.remove(add)
    graph.put(step, _made(layer, "SkipLayerNormalization", (*total.inputs, *layer.inputs[1:]))._replace(outputs=outputs))


def _transposed_products(graph: _Graph, step: int) -> None:
    """A matrix product reads what is transposed or scaled before it as it was."""
    layer = graph.layer(step)
    if layer.op != "MatMul":
        return
    inputs = list(layer.inputs)
    for position, name in enumerate(inputs):
        while (found := graph.made_by(name, "Transpose", "Mul", "Div")) is not None:
            before = graph.layer(found)
            if not (_swaps_last_two(graph, before) or _is_scale(graph, before)):
                break
            name = next(iter(graph.varying(before)))
            graph.remove(found)
        inputs[position] = name
    if tuple(inputs) != layer.inputs:
        graph.put(step, layer._replace(inputs=tuple(inputs)))


def _swaps_last_two(graph: _Graph, layer: Layer) -> bool:
    perm, rank = layer.attributes.get("perm"), graph.tensors[layer.outputs[0]].rank
    return layer.op == "Transpose" and rank >= 2 and perm == (*range(rank - 2), rank - 1, rank - 2)


def _is_scale(graph: _Graph, layer: Layer) -> bool:
    stored = [name for name in layer.inputs if name and graph.tensors[name].constant]
    return layer.op in SCALES and len(stored) == 1 and graph.tensors[stored[0]].size == 1


def _sums(graph: _Graph, step: int) -> None:
    """A convolution adds onto what its result is added to."""
    layer = graph.layer(step)
    if layer.op != "Add" or len(graph.varying(layer)) != 2:
        return
    for mine, other in (layer.inputs, layer.inputs[::-1]):
        conv = graph.made_by(mine, "Conv")
        if conv is None or graph.tensors[mine].shape != graph.tensors[other].shape or mine == other:
            continue
        before = graph.layer(conv)
        padded = (*before.inputs, *("",) * (3 - len(before.inputs)), other)
        graph.remove(conv)
        # it runs where the sum did, when both are there
        graph.put(
            step,
            before._replace(
                op="FusedConv",
                domain="com.microsoft",
                inputs=padded,
                outputs=layer.outputs,
                cost=_with(before.cost, in_place=(3,)),
            ),
        )
        return


def _activated(graph: _Graph, step: int) -> None:
    """A convolution applies the activation that follows it."""
    layer = graph.layer(step)
    conv = graph.made_by(layer.inputs[0], "Conv", "FusedConv") if layer.op in ACTIVATIONS else None
    if conv is not None and len(graph.varying(layer)) == 1:
        before = graph.layer(conv)
        graph.remove(step)
        graph.put(conv, before._replace(outputs=layer.outputs))


def _made(layer: Layer, op: str, inputs: tuple[str, ...], *, scratch_bytes: object = 0) -> Layer:
    cost = _with(layer.cost, in_place=(), view_of=None, scratch_bytes=scratch_bytes)
    return layer._replace(op=op, domain="com.microsoft", inputs=inputs, cost=cost)


def _with(cost: Cost | None, **changed: object) -> Cost | None:
    return None if cost is None else replace(cost, **changed)  # type: ignore[arg-type]
