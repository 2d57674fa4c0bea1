"""Matrix products."""

from __future__ import annotations

from costmodel.dims import Extent, product
from costmodel.errors import MalformedModel
from costmodel.graph import Cost, Shape, Tensor
from costmodel.ops.registry import rule
from costmodel.ops.shapes import broadcast as broadcast_shapes
from costmodel.ops.shapes import same


def matrix_product(a: Shape, b: Shape) -> tuple[Shape, Extent]:
    """The shape of numpy's matmul, and how many products each element sums.

    >>> matrix_product((8, 1, 5, 64), (3, 64, 7))
    ((8, 3, 5, 7), 64)
    """
    if not a or not b:
        raise MalformedModel("a matrix product needs at least one axis on either side; an operand is a scalar")
    *batch_a, rows, depth = a if len(a) > 1 else (1, *a)
    *batch_b, depth_b, columns = b if len(b) > 1 else (*b, 1)
    depth = same(depth, depth_b, "columns of A and rows of B")
    outer = (*((rows,) if len(a) > 1 else ()), *((columns,) if len(b) > 1 else ()))
    return (*broadcast_shapes(tuple(batch_a), tuple(batch_b)), *outer), depth


@rule("MatMul")
def matmul(a, b):
    """One multiply-add per output element and element of the summed axis."""
    shape, depth = matrix_product(a.dims, b.dims)
    y = a.to(shape)
    return Cost((y,), macs=y.size * depth)


def transposed(shape: Shape, wanted: int) -> Shape:
    """A shape with its last two axes swapped, if that is wanted."""
    *batch, rows, columns = shape
    return (*batch, columns, rows) if wanted else tuple(shape)


@rule("Gemm")
@rule("Gemm", since=7)
def gemm(a, b, c=None, *, alpha=1.0, beta=1.0, transA=0, transB=0, broadcast=0):  # noqa: N803 - ONNX's names
    """One multiply-add per output element and element of the summed axis; one operation per output element each for
    adding C, and for alpha and beta other than 1.
    """
    rows, depth = transposed(a.dims, transA)
    depth_b, columns = transposed(b.dims, transB)
    depth = same(depth, depth_b, "columns of A and rows of B")
    y = a.to((rows, columns))
    if c is not None:
        broadcast_shapes(c.dims, y.dims)
    extra = int(alpha != 1) + (0 if c is None else 1 + int(beta != 1))
    return Cost((y,), macs=y.size * depth, other_flops=y.size * extra)


# -- Einsum -------------------------------------------------------------------------------------------------------


@rule("Einsum", since=12)
def einsum(*inputs, equation):
    """The operands are contracted from left to right: one multiply-add per combination of the indices of a pair, if it
    sums any of them, else one multiplication; indices of a single operand are summed first, one addition per element.
    """
    terms, result = _indices(equation, [tensor.rank for tensor in inputs])
    extents = _extents(terms, inputs)
    y = inputs[0].to(extents[index] for index in result)
    macs, other_flops, held = _contraction(terms, result, extents)
    scratch = sum((y.to((elements,)).nbytes for elements in held), 0)
    return Cost((y,), macs=macs, other_flops=other_flops, scratch_bytes=scratch)


def _indices(equation: str, ranks: list[int]) -> tuple[list[tuple[str, ...]], tuple[str, ...]]:
    """The indices of each operand and of the result; an axis under an ellipsis is numbered from the last one."""
    left, arrow, right = equation.replace(" ", "").partition("->")
    terms = left.split(",")
    if len(terms) != len(ranks):
        raise MalformedModel(f"einsum equation {equation!r} has {len(terms)} terms for {len(ranks)} inputs")
    named = [_term_indices(term, rank, equation) for term, rank in zip(terms, ranks, strict=True)]
    flat = [index for term in named for index in term]
    hidden = sorted((index for index in set(flat) if not index.isalpha()), reverse=True, key=lambda index: int(index[1:]))
    if arrow:
        before, dots, after = right.partition("...")
        result = (*before, *(hidden if dots else ()), *after)
    else:
        result = (*hidden, *sorted(index for index in set(flat) if index.isalpha() and flat.count(index) == 1))
    if len(set(result)) != len(result) or not set(result) <= set(flat):
        raise MalformedModel(f"einsum equation {equation!r}: each index of the result must stand once, and in a term")
    return named, result


def _term_indices(term: str, rank: int, equation: str) -> tuple[str, ...]:
    before, dots, after = term.partition("...")
    covered = rank - len(before) - len(after)
    if not (before + after + "a").isalpha() or covered < 0 or (covered and not dots):
        raise MalformedModel(f"einsum equation {equation!r}: term {term!r} does not fit an input of rank {rank}")
    return (*before, *(f".{axis}" for axis in reversed(range(covered))), *after)


def _extents(terms: list[tuple[str, ...]], inputs: tuple[Tensor, ...]) -> dict[str, Extent]:
    """The extent of each index; 1 broadcasts."""
    found: dict[str, Extent] = {}
    for term, tensor in zip(terms, inputs, strict=True):
        for index, extent in zip(term, tensor.dims, strict=True):
            known = found.get(index, 1)
            if not index.isalpha():
                (found[index],) = broadcast_shapes((known,), (extent,))
            elif known == 1 or extent == 1:
                found[index] = known * extent
            else:
                found[index] = same(known, extent, f"extents of the index {index!r}")
    return found


def _contraction(
    terms: list[tuple[str, ...]], result: tuple[str, ...], extents: dict[str, Extent]
) -> tuple[Extent, Extent, list[Extent]]:
    """Multiply-adds, other operations, and the elements of each intermediate result."""

    def elements(indices: frozenset[str]) -> Extent:
        return product(extents[index] for index in sorted(indices))

    macs: Extent = 0
    other: Extent = 0
    intermediate: list[Extent] = []
    held = frozenset(terms[0])
    for i, term in enumerate(terms[1:], 1):
        needed = frozenset(result).union(*terms[i + 1 :])
        new = frozenset(term)
        joint = (held | new) & (needed | held & new)
        other += sum((elements(operand) for operand in (held, new) if not operand <= joint), 0)
        if joint <= needed:
            other += elements(joint)
        else:
            macs += elements(joint)
        held = joint & needed
        intermediate.append(elements(held))
    if held != frozenset(result):
        other += elements(held)
    return macs, other, intermediate[:-1]
