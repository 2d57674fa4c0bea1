"""Network -> the same network in another precision.

A pass over a finished network rather than an option of the builder: the quantised twin has other layers than the float
network (batch norms are folded, quantisers stand between), and so it works for networks of any origin. Every layer goes
through the rules again, so shapes and costs are what a reader would derive from the exported file.

``fp16`` and ``bf16`` store and compute in that type. ``int8`` is the network as ONNX Runtime's static quantisation leaves
it ("Quantize ONNX models", QDQ format): see ``costmodel.quantization``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from costmodel.errors import InvalidChoice, nearest
from costmodel.graph import NUMBERED_DTYPES, Layer, Network, Node, Tensor
from costmodel.ops.engine import Engine

PRECISIONS = ("fp32", "fp16", "bf16", "int8")
DTYPES: Mapping[str, str] = {"fp16": "float16", "bf16": "bfloat16"}
# what the ONNX specification wants in float32 in any case: operand positions by op
FLOAT32_OPERANDS: Mapping[str, tuple[int, ...]] = {"Resize": (2,), "Upsample": (1,)}


def in_precision(network: Network, precision: str) -> Network:
    """The network, a float32 one, in another precision.

    >>> import costmodel as cm
    >>> half = in_precision(cm.zoo("resnet18"), "fp16")
    >>> half.inputs["image"].dtype, list(cm.count(half).macs_by_dtype())
    ('float16', ['float16'])
    >>> list(cm.count(in_precision(cm.zoo("resnet18"), "int8")).macs_by_dtype())
    ['int8']

    Raises InvalidChoice for a precision that there is not.
    """
    if precision not in PRECISIONS:
        known = nearest(str(precision), PRECISIONS)
        raise InvalidChoice(f"precision must be one of {', '.join(PRECISIONS)}, not {precision!r}; {known}")
    if precision == "fp32":
        return network
    if precision == "int8":
        from costmodel.quantization import quantized

        return quantized(network)
    return _stored_as(network, DTYPES[precision])


def _stored_as(network: Network, dtype: str) -> Network:
    """The network with every float32 tensor of another type, but for what ONNX wants in float32."""
    kept = {layer.inputs[i] for layer in network.layers for i in FLOAT32_OPERANDS.get(layer.op, ()) if i < len(layer.inputs)}

    def narrowed(name: str) -> Tensor:
        tensor = network.tensors[name]
        return replace(tensor, dtype=dtype) if tensor.dtype == "float32" and name not in kept else tensor

    engine = Engine(network.opsets)
    engine.tensors.update((name, narrowed(name)) for name in sources(network))
    for layer in network.layers:
        engine.add(node_of(layer, attributes=_narrowed_attributes(layer, dtype)))
    return remade(network, engine)


def _narrowed_attributes(layer: Layer, dtype: str) -> Mapping[str, Any]:
    """Attributes that name or hold float32 name or hold the other type."""
    changed = dict(layer.attributes)
    for name in ("to", "dtype"):
        if changed.get(name) == NUMBERED_DTYPES.index("float32"):
            changed[name] = NUMBERED_DTYPES.index(dtype)
    for name, value in changed.items():
        if isinstance(value, Tensor) and value.dtype == "float32":
            changed[name] = replace(value, dtype=dtype)
    return changed


# -- what passes over a network share -----------------------------------------------------------------------------


def sources(network: Network) -> list[str]:
    """The tensors that no layer writes: inputs and what is stored."""
    return [name for name in network.tensors if name not in network.producers]


def node_of(layer: Layer, **changes: Any) -> Node:
    """A layer as the node that it was, with some of it changed."""
    node = Node(layer.name, layer.op, layer.inputs, layer.outputs, layer.attributes, layer.domain, place=layer.place)
    return node._replace(**changes)


def remade(network: Network, engine: Engine) -> Network:
    """The network with the layers and tensors that an engine has derived."""
    return replace(
        network,
        inputs={name: engine.tensors[name] for name in network.inputs},
        outputs={name: engine.tensors[name] for name in network.outputs},
        tensors=engine.tensors,
        layers=tuple(engine.layers),
    )
