"""What one launch of a runtime does: the layers that it runs, and what it reads and writes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from costmodel.dims import Extent, total
from costmodel.graph import Layer, Network, Tensor


@dataclass(frozen=True, slots=True)
class Kernel:
    """Layers that run as one: its anchor, the first, names it; what lies between its layers touches no memory."""

    name: str
    op: str
    layers: tuple[Layer, ...]
    macs: Extent
    other_flops: Extent
    read_bytes: Extent
    write_bytes: Extent
    weight_bytes: Extent

    @property
    def anchor(self) -> Layer:
        return self.layers[0]

    @property
    def inside(self) -> frozenset[str]:
        """The tensors that never reach memory."""
        return frozenset(name for layer in self.layers[:-1] for name in layer.outputs)


def is_launched(network: Network, layer: Layer) -> bool:
    """Whether a layer does work of its own: views, constants and arithmetic on shapes cost a runtime next to nothing."""
    if layer.cost is None or layer.cost.view_of is not None or network.is_constant(layer):
        return False
    return any(network.tensors[name].value is None for name in layer.outputs if name)


def kernel_of(network: Network, layers: Sequence[Layer], views: Sequence[Layer] = ()) -> Kernel:
    """The kernel that runs these layers; it writes what others read, and what the network puts out.

    ``views``: layers inside it that only look at a tensor in another way.
    """
    members = [*layers, *views]
    inside = {name for layer in members for name in layer.outputs if name}
    outside = dict.fromkeys(name for layer in members for name in layer.inputs if name and name not in inside)
    positions = {network.producers[name] for name in inside}
    written = [name for name in inside if _is_kept(network, name, positions)]
    costs = [layer.cost for layer in layers if layer.cost]

    def is_stored(name: str) -> bool:
        return network.tensors[name].constant

    return Kernel(
        name=layers[0].name,
        op=layers[0].op,
        layers=tuple(layers),
        macs=total(cost.macs for cost in costs),
        other_flops=total(cost.other_flops for cost in costs),
        read_bytes=total(read_bytes(network.tensors, members, name) for name in outside if not is_stored(name)),
        write_bytes=total(network.tensors[name].nbytes for name in written if network.tensors[name].is_known),
        weight_bytes=total(read_bytes(network.tensors, members, name) for name in outside if is_stored(name)),
    )


def _is_kept(network: Network, name: str, members: set[int]) -> bool:
    """Whether anything but these layers needs a tensor."""
    return name in network.outputs or any(reader not in members for reader in network.consumers.get(name, ()))


def read_bytes(tensors: Mapping[str, Tensor], layers: Sequence[Layer], name: str) -> Extent:
    """Bytes that a kernel reads of a tensor: all, unless a rule says that fewer elements are touched."""
    tensor = tensors[name]
    if not tensor.is_known:
        return 0
    for layer in layers:
        if layer.cost and layer.cost.reads is not None and name in layer.inputs:
            elements = layer.cost.reads[layer.inputs.index(name)]
            return tensor.to((elements,)).nbytes
    return tensor.nbytes
