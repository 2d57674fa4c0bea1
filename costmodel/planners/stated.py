"""What ONNX Runtime knows of shapes before it knows the sizes: the numbers and names that ONNX's shape inference finds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from costmodel.dims import Dim, Extent
from costmodel.errors import CostModelError
from costmodel.graph import DTYPE_BITS, Container, Network

if TYPE_CHECKING:
    import onnx

Known = tuple[object, ...]
_INFERRED: WeakKeyDictionary[Network, Mapping[str, tuple[Extent | None, ...]]] = WeakKeyDictionary()


def stated_shape(network: Network, name: str) -> Known | None:
    """Width and shape of a tensor as they compare, numbers and names; None where an extent is not known.

    A file's own statement counts first: exporters write down what inference found. Where there is none, it is inferred.
    """
    tensor = network.tensors[name]
    if isinstance(tensor, Container) or not tensor.shape:
        return None
    stated = network.declared.stated(name) if network.declared is not None else None
    shape: tuple[Extent | None, ...] | None = tensor.shape
    if stated is not None and stated.shape is not None:
        shape = stated.shape
    elif any(isinstance(extent, Dim) for extent in tensor.shape):
        shape = inferred_shapes(network).get(name, tensor.shape)
    if shape is None or not all(map(_is_plain, shape)):
        return None
    return (DTYPE_BITS[tensor.dtype], *shape)


def _is_plain(extent: Extent | None) -> bool:
    if isinstance(extent, Dim):
        return len(extent.names) == 1 and extent == Dim.size(next(iter(extent.names)))
    return extent is not None


def inferred_shapes(network: Network) -> Mapping[str, tuple[Extent | None, ...]]:
    """The shapes that ``onnx.shape_inference`` finds, with None for what it does not; empty where it cannot be asked."""
    if network not in _INFERRED:
        _INFERRED[network] = _infer(network)
    return _INFERRED[network]


def _infer(network: Network) -> Mapping[str, tuple[Extent | None, ...]]:
    from onnx.shape_inference import InferenceError, infer_shapes

    from costmodel.export import to_onnx

    try:
        model = infer_shapes(to_onnx(network, weights="none"), data_prop=True)
    except (CostModelError, InferenceError, ValueError):
        return {}
    return {
        info.name: tuple(_extent(network, dim) for dim in info.type.tensor_type.shape.dim)
        for info in (*model.graph.value_info, *model.graph.output)
        if info.type.tensor_type.HasField("shape")
    }


def _extent(network: Network, dim: onnx.TensorShapeProto.Dimension) -> Extent | None:
    """A number, or a size of the network; names that inference makes up say nothing."""
    if dim.HasField("dim_value"):
        return int(dim.dim_value)
    return Dim.size(dim.dim_param) if dim.dim_param in network.sizes else None
