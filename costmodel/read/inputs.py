"""The inputs of a network: what the file declares of them, and what a caller frees or fixes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Union

from costmodel.dims import Dim, Extent
from costmodel.errors import ParseError, UnknownSize
from costmodel.graph import Tensor
from costmodel.read.declared import declared_tensor

if TYPE_CHECKING:
    import onnx

Sizes = Mapping[str, Sequence[Union[int, str, None]]]


def input_tensors(infos: Iterable[onnx.ValueInfoProto], sizes: Sizes) -> dict[str, Tensor]:
    declared = {info.name: declared_tensor(info) for info in infos}
    extents = [extent for tensor in declared.values() for extent in tensor.shape or () if isinstance(extent, Dim)]
    names = {name for extent in extents for name in extent.names}
    return {name: _sized(name, tensor, sizes.get(name), names) for name, tensor in declared.items()}


def _sized(name: str, tensor: Tensor, wanted: Sequence[int | str | None] | None, names: set[str]) -> Tensor:
    if tensor.shape is None:
        return tensor if wanted is None else replace(tensor, shape=tuple(map(_wanted_extent, wanted, wanted)))
    shape = tuple(_sum_of_sizes(extent, names) for extent in tensor.shape)
    if wanted is None:
        return replace(tensor, shape=shape)
    if len(wanted) != len(shape):
        raise UnknownSize(f"sizes: input {name!r} has {len(shape)} dimensions, {len(wanted)} are given: {tuple(wanted)}")
    return replace(tensor, shape=tuple(_wanted_extent(given, extent) for given, extent in zip(wanted, shape, strict=True)))


def _wanted_extent(given: int | str | None, declared: Any) -> Extent:
    if given is None:
        return declared if isinstance(declared, (int, Dim)) else 1
    if isinstance(given, str):
        return Dim.parse(given)
    if given < 0:
        raise UnknownSize(f"sizes: an extent must be at least 0, not {given}")
    return given


def _sum_of_sizes(extent: Extent, names: set[str]) -> Extent:
    """A dim_param such as 'past + seq' is a sum of sizes where the inputs have those; otherwise it is just a name."""
    if isinstance(extent, int):
        return extent
    name = next(iter(extent.names))
    try:
        parsed = Dim.parse(name)
    except ParseError:
        return extent
    if isinstance(parsed, Dim) and parsed != extent and parsed.names <= names - {name}:
        return parsed
    return extent
