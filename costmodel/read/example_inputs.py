"""The example inputs of a torch module: which of their axes are open, and fake tensors in their place."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from inspect import signature
from typing import TYPE_CHECKING, Any, NamedTuple, Union

from costmodel.dims import Dim, value_at
from costmodel.errors import CannotExport, UnknownSize, nearest

if TYPE_CHECKING:
    import torch

Axis = Union[str, int, None]  # open under a name or an expression, fixed at a number, as in the example
Extents = Mapping[str, int]


class Leaf(NamedTuple):
    """One tensor (or other value) among the inputs: what of them it is, and its axes, none if it is no tensor."""

    place: str
    value: Any
    axes: tuple[Axis, ...]

    @property
    def is_open(self) -> bool:
        return any(isinstance(axis, str) for axis in self.axes)


def arguments(example_inputs: Any, kwargs: Mapping[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Positional inputs and inputs by name."""
    if isinstance(example_inputs, Mapping):
        return (), {**example_inputs, **kwargs}
    if isinstance(example_inputs, (tuple, list)):
        return tuple(example_inputs), dict(kwargs)
    return (example_inputs,), dict(kwargs)


def leaves_of(
    module: torch.nn.Module, args: Sequence[Any], kwargs: Mapping[str, Any], dynamic: Mapping[str, Any]
) -> list[Leaf]:
    """Every tensor and other value of the inputs, in torch's order, with what ``dynamic`` says of its axes.

    Raises UnknownSize where ``dynamic`` does not fit the inputs, CannotExport where the inputs do not fit the module.
    """
    try:
        given = {**signature(module.forward).bind_partial(*args).arguments, **kwargs}
    except TypeError as error:
        raise CannotExport(f"the example inputs do not fit {type(module).__name__}.forward: {error}") from error
    unknown = [parameter for parameter in dynamic if parameter not in given]
    if unknown:
        raise UnknownSize(f"dynamic: no example input is called {unknown[0]!r}; {nearest(unknown[0], given)}")
    return [leaf for name, value in given.items() for leaf in _leaves(value, dynamic.get(name), name)]


def _leaves(value: Any, stated: Any, place: str) -> Iterable[Leaf]:
    import torch
    from torch.utils import _pytree as pytree

    if isinstance(value, torch.Tensor):
        yield Leaf(place, value, _axes(value, stated, place))
    elif stated is None:
        for part in pytree.tree_leaves(value):
            yield Leaf(place, part, (None,) * part.dim() if isinstance(part, torch.Tensor) else ())
    elif isinstance(value, Mapping) and isinstance(stated, Mapping) and stated.keys() <= value.keys():
        for key, part in value.items():
            yield from _leaves(part, stated.get(key), f"{place}[{key!r}]")
    elif isinstance(value, (tuple, list)) and isinstance(stated, (tuple, list)) and len(stated) == len(value):
        for i, (part, of_part) in enumerate(zip(value, stated, strict=True)):
            yield from _leaves(part, of_part, f"{place}[{i}]")
    else:
        raise UnknownSize(
            f"dynamic: {place!r} is a {type(value).__name__}, for which {stated!r} is given; give the axes of a tensor, "
            "or one entry for each part of a tuple, list or mapping"
        )


def _axes(tensor: torch.Tensor, stated: Any, place: str) -> tuple[Axis, ...]:
    if stated is None:
        return tuple(None for _ in tensor.shape)
    by_axis = dict(stated) if isinstance(stated, Mapping) else dict(enumerate(stated))
    is_whole = isinstance(stated, Mapping) or len(by_axis) == tensor.dim()
    if not is_whole or not by_axis.keys() <= set(range(tensor.dim())):
        raise UnknownSize(f"dynamic: {place!r} has {tensor.dim()} axes; {stated!r} is given for them")
    return tuple(_axis(by_axis.get(axis), f"{place}_dim{axis}") for axis, _ in enumerate(tensor.shape))


def _axis(stated: Any, unnamed: str) -> Axis:
    """An axis as torch.export takes it too: a Dim has a name, and of the hints AUTO and DYNAMIC mean open."""
    import torch

    if stated is None or isinstance(stated, (str, int)):
        return stated
    hints = torch.export.Dim
    if stated in (hints.AUTO, hints.DYNAMIC):
        return unnamed
    return None if stated == hints.STATIC else str(stated.__name__)


def extents_of(leaves: Iterable[Leaf]) -> Extents:
    """The extent of each open size in the examples, but for 0 and 1, which torch takes for fixed: another one instead.

    Raises UnknownSize where the examples give one size two extents.
    """
    found: dict[str, tuple[int, str]] = {}
    for leaf in leaves:
        for axis, extent in zip(leaf.axes, getattr(leaf.value, "shape", ()), strict=False):
            if not isinstance(axis, str) or Dim.parse(axis) != Dim.size(axis):
                continue
            known, place = found.setdefault(axis, (int(extent), leaf.place))
            if known != extent:
                raise UnknownSize(f"dynamic: size {axis} is {known} in {place!r} and {int(extent)} in {leaf.place!r}")
    taken = {extent for extent, _ in found.values()}
    unused = (extent for extent in itertools.count(2) if extent not in taken)
    return {name: extent if extent > 1 else next(unused) for name, (extent, _) in found.items()}


def faked(leaf: Leaf, extents: Extents, mode: Any) -> Any:
    """A tensor of the leaf's dtype and shape without data, off the meta device; another value as it is."""
    import torch

    if not isinstance(leaf.value, torch.Tensor):
        return leaf.value
    shape = [_extent(axis, int(extent), extents) for axis, extent in zip(leaf.axes, leaf.value.shape, strict=True)]
    device = "cpu" if leaf.value.device.type == "meta" else leaf.value.device
    with mode:
        return torch.empty(shape, dtype=leaf.value.dtype, device=device)


def _extent(axis: Axis, example: int, extents: Extents) -> int:
    if axis is None:
        return example
    if isinstance(axis, int):
        return axis
    stated = Dim.of(Dim.parse(axis))
    return value_at(stated, extents) if stated.names <= extents.keys() else example
