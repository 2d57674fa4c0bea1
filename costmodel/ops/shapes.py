"""Shape arithmetic that many rules share."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce

from costmodel.dims import Dim, Extent, bounds, ceil_divide, maximum, minimum, product
from costmodel.errors import MalformedModel, ShapeMismatch
from costmodel.graph import DTYPE_BITS, Element, Shape, Tensor

VALUE_LIMIT = 1024  # longer integer tensors are data, not shapes


def normal_axis(axis: int, rank: int) -> int:
    """An axis from 0 up, also where it is counted from the end. Raises MalformedModel outside [-rank, rank).

    >>> normal_axis(-1, 4)
    3
    """
    if not -rank <= axis < rank:
        raise MalformedModel(f"axis {axis} does not exist in a tensor of rank {rank}")
    return axis % rank


def normal_axes(axes: Sequence[int], rank: int) -> tuple[int, ...]:
    found = tuple(normal_axis(axis, rank) for axis in axes)
    if len(set(found)) != len(found):
        raise MalformedModel(f"axes {tuple(axes)} name one axis twice")
    return found


def same(left: Extent, right: Extent, what: str) -> Extent:
    """Two extents that the op needs to be equal, as one. Raises ShapeMismatch where they differ.

    >>> same(64, 64, "channels")
    64
    >>> h = Dim.size("H")
    >>> same(2 * ((h + 1) // 2), h, "heights")
    Dim('H')
    """
    if left == right:
        return left
    if may_agree(left, right):
        return _simpler(left, right)
    raise ShapeMismatch(f"{what} must be equal: {left} against {right}", left, right)


def may_agree(left: Extent, right: Extent) -> bool:
    """Whether two open extents in the same sizes are equal for some of them, so that the network asks for those.

    So may a maximum or minimum be equal to one of its arguments.

    >>> s, t = Dim.size("S"), Dim.size("T")
    >>> may_agree(2 * (s // 2), s), may_agree(s, s + 1), may_agree(s, 7), may_agree(s, t), may_agree(s, maximum(s, t))
    (True, False, False, False, True)
    """
    if not isinstance(left, Dim) or not isinstance(right, Dim):
        return False
    if left.names != right.names:
        return left in _arguments(right) or right in _arguments(left)
    low, high = bounds(left - right)
    return low <= 0 <= high


def _arguments(extent: Dim) -> tuple[Extent, ...]:
    """Of a maximum or minimum that stands alone."""
    for monomial in extent.terms:
        atom, _ = monomial[0] if monomial else (None, 0)
        if atom is not None and atom.kind in ("max", "min") and extent.terms == {((atom, 1),): 1}:
            arguments: tuple[Extent, ...] = atom.args
            return arguments
    return ()


def _simpler(left: Extent, right: Extent) -> Extent:
    return min(left, right, key=lambda extent: len(str(extent)))


def broadcast(*shapes: Shape) -> Shape:
    """The shape that numpy-style broadcasting gives. An open extent meets 1 or its equal.

    >>> n, h = Dim.size("N"), Dim.size("H")
    >>> broadcast((n, 1, 8), (16, 1))
    (Dim('N'), 16, 8)
    >>> broadcast((2 * ((h + 1) // 2),), (h,))
    (Dim('H'),)

    Raises ShapeMismatch where two extents differ and neither is 1.
    """
    rank = max(map(len, shapes))
    padded = [(1,) * (rank - len(shape)) + tuple(shape) for shape in shapes]
    return tuple(_broadcast_extent(column) for column in zip(*padded, strict=True))


def _broadcast_extent(column: Sequence[Extent]) -> Extent:
    kept = list(dict.fromkeys(extent for extent in column if extent != 1))
    numbers = [extent for extent in kept if isinstance(extent, int)]
    if len(numbers) > 1:
        raise ShapeMismatch(f"extents {numbers[0]} and {numbers[1]} do not broadcast", numbers[0], numbers[1])
    if numbers:
        return numbers[0]
    return reduce(_met, kept) if kept else 1


def _met(left: Extent, right: Extent) -> Extent:
    """Two open extents as one: nets that add feature maps of several resolutions ask that they are equal."""
    return _simpler(left, right) if may_agree(left, right) else maximum(left, right)


def window(
    extent: Extent,
    *,
    kernel: Extent,
    stride: int = 1,
    dilation: int = 1,
    pads: tuple[Extent, Extent] = (0, 0),
    ceil: bool = False,
) -> Extent:
    """How many positions a sliding window takes along one axis (ONNX operators, Conv and MaxPool: output shape).

    With ``ceil``, a last window that would start in the end padding is left out.

    >>> window(Dim.size("H"), kernel=3, stride=2, pads=(1, 1))
    Dim('(H + 1)//2')
    """
    begin, end = pads
    span = dilation * (kernel - 1) + 1
    room = extent + begin + end - span
    if isinstance(room, int) and room < 0:
        raise MalformedModel(f"a window of {span} is larger than the padded extent {extent + begin + end}")
    if not ceil:
        return room // stride + 1
    return minimum(ceil_divide(room, stride) + 1, ceil_divide(extent + begin, stride))


def window_pads(
    extents: Shape,
    *,
    kernel: Shape,
    strides: Sequence[int],
    dilations: Sequence[int],
    pads: Sequence[int] | None,
    auto_pad: str,
) -> tuple[tuple[Extent, Extent], ...]:
    """Padding before and after each spatial axis, from ``pads`` or ``auto_pad`` (SAME: ceil(extent / stride) positions)."""
    if auto_pad in ("NOTSET", "") or auto_pad == "VALID":
        flat = tuple(pads or ()) if auto_pad != "VALID" else ()
        flat = flat or (0,) * (2 * len(extents))
        if len(flat) != 2 * len(extents):
            raise MalformedModel(f"pads {flat} must have two numbers for each of {len(extents)} spatial axes")
        return tuple(zip(flat[: len(extents)], flat[len(extents) :], strict=True))
    if auto_pad not in ("SAME_UPPER", "SAME_LOWER"):
        raise MalformedModel(f"auto_pad {auto_pad!r} is none of NOTSET, VALID, SAME_UPPER, SAME_LOWER")
    sides = []
    for extent, size, stride, dilation in zip(extents, kernel, strides, dilations, strict=True):
        needed = maximum((ceil_divide(extent, stride) - 1) * stride + dilation * (size - 1) + 1 - extent, 0)
        small, large = needed // 2, needed - needed // 2
        sides.append((small, large) if auto_pad == "SAME_UPPER" else (large, small))
    return tuple(sides)


def windows(
    extents: Shape,
    *,
    kernel: Shape,
    strides: Sequence[int] | None = None,
    dilations: Sequence[int] | None = None,
    pads: Sequence[int] | None = None,
    auto_pad: str = "NOTSET",
    ceil: bool = False,
) -> Shape:
    """Spatial extents after a sliding window, for any number of axes; SAME gives ceil(extent / stride)."""
    steps = tuple(strides or (1,) * len(extents))
    gaps = tuple(dilations or (1,) * len(extents))
    if any(step < 1 for step in steps) or any(gap < 1 for gap in gaps):
        raise MalformedModel(f"strides {steps} and dilations {gaps} must be at least 1")
    if not len(extents) == len(kernel) == len(steps) == len(gaps):
        raise MalformedModel(f"kernel {kernel}, strides {steps} and dilations {gaps} must have {len(extents)} numbers each")
    if auto_pad in ("SAME_UPPER", "SAME_LOWER"):
        return tuple(ceil_divide(extent, step) for extent, step in zip(extents, steps, strict=True))
    sides = window_pads(extents, kernel=kernel, strides=steps, dilations=gaps, pads=pads, auto_pad=auto_pad)
    return tuple(
        window(extent, kernel=size, stride=step, dilation=gap, pads=side, ceil=ceil)
        for extent, size, step, gap, side in zip(extents, kernel, steps, gaps, sides, strict=True)
    )


def reshape(size: Extent, wanted: Sequence[Extent]) -> Shape:
    """The shape that a Reshape gives: one -1 takes what is left.

    >>> n, s = Dim.size("N"), Dim.size("S")
    >>> reshape(n * s * 768, (n, s, 12, -1))
    (Dim('N'), Dim('S'), 12, 64)

    Raises ShapeMismatch where the elements do not come out even.
    """
    holes = [i for i, extent in enumerate(wanted) if isinstance(extent, int) and extent == -1]
    if len(holes) > 1:
        raise MalformedModel(f"a target shape has at most one -1, not {tuple(wanted)}")
    known = product(extent for i, extent in enumerate(wanted) if i not in holes)
    if not holes:
        if known != size and not may_agree(known, size):
            raise ShapeMismatch(f"the target shape {_text(wanted)} holds {known} elements, the input {size}", known, size)
        return tuple(wanted)
    if known == 0:
        raise MalformedModel(f"-1 in the target shape {_text(wanted)} beside a 0 has no meaning")
    rest = size // known
    if isinstance(rest, int) and isinstance(known, int) and rest * known != size:
        raise ShapeMismatch(f"{size} elements do not fill the target shape {_text(wanted)}", rest * known, size)
    return tuple(rest if i in holes else extent for i, extent in enumerate(wanted))


def _text(shape: Sequence[Extent]) -> str:
    return "[" + ", ".join(str(extent) for extent in shape) + "]"


def integers(tensor: Tensor, what: str) -> tuple[Extent, ...]:
    """The value of a small integer tensor. Raises MalformedModel where it depends on data."""
    value = known_integers(tensor)
    if value is None:
        raise MalformedModel(f"{what} depends on data; it must be a constant or follow from shapes")
    return value


def known_integers(tensor: Tensor | None) -> tuple[Extent, ...] | None:
    """The value of an integer tensor if every element is known."""
    if tensor is None or tensor.value is None:
        return None
    whole = tuple(int(e) if isinstance(e, float) and e.is_integer() else e for e in tensor.value)
    return whole if all(isinstance(element, (int, Dim)) for element in whole) else None  # type: ignore[return-value]


def with_value(tensor: Tensor, value: Sequence[Element] | None) -> Tensor:
    """The tensor together with its value, unless that is too long to be a shape."""
    if value is None or len(value) > VALUE_LIMIT:
        return tensor
    return Tensor(tensor.dtype, tensor.shape, tuple(value), tensor.constant)


def reusable(y: Tensor, *inputs: Tensor | None) -> tuple[int, ...]:
    """Positions of the inputs whose memory a result of this shape and element width may take over.

    >>> y = Tensor("float32", (8, 8))
    >>> reusable(y, Tensor("int32", (8, 8)), Tensor("float32", (8, 1)), None)
    (0,)
    """
    width = DTYPE_BITS[y.dtype]
    return tuple(
        i for i, x in enumerate(inputs) if x and not x.constant and x.shape == y.shape and DTYPE_BITS[x.dtype] == width
    )
