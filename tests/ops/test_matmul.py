"""Matrix products: ONNX's cases, every opset in ONNX Runtime, numpy's count of operations, open sizes."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from costmodel.dims import Dim
from costmodel.errors import MalformedModel, ShapeMismatch
from costmodel.graph import Tensor
from costmodel.ops.matmul import matrix_product
from tests.ops.official import at, cases_of, differences, faults, run, tensor_of

N, S, D = Dim.size("N"), Dim.size("S"), Dim.size("D")
CASES = cases_of("MatMul", "Gemm", "Einsum")


def numbers(*shape: int) -> Any:
    return np.arange(np.prod(shape, dtype=int)).reshape(shape).astype(np.float32)


def floats(*shape: Any) -> Tensor:
    return Tensor("float32", shape)


@pytest.mark.parametrize("constants", [False, True])
@pytest.mark.parametrize("name", CASES)
def test_onnx_cases(name: str, constants: bool) -> None:
    assert faults(CASES[name], constants=constants) == []


HISTORY: list[tuple[str, tuple[int, ...], tuple[Any, ...], dict[str, Any]]] = [
    ("MatMul", (7, 9, 13), (numbers(2, 3), numbers(3, 4)), {}),
    ("MatMul", (7, 9, 13), (numbers(5, 1, 2, 3), numbers(6, 3, 4)), {}),
    ("MatMul", (9, 13), (numbers(3), numbers(5, 3, 4)), {}),
    ("MatMul", (9, 13), (numbers(5, 2, 3), numbers(3)), {}),
    ("MatMul", (9, 13), (numbers(3), numbers(3)), {}),
    ("Gemm", (7, 9, 11, 13), (numbers(2, 3), numbers(3, 4), numbers(4)), {}),
    ("Gemm", (7, 9, 11, 13), (numbers(3, 2), numbers(4, 3), numbers(2, 1)), {"transA": 1, "transB": 1, "alpha": 0.5}),
    ("Gemm", (7, 9, 11, 13), (numbers(2, 3), numbers(3, 4), numbers()), {"beta": 0.5}),
    ("Gemm", (11, 13), (numbers(2, 3), numbers(3, 4)), {}),
    ("Einsum", (12,), (numbers(2, 3), numbers(3, 4)), {"equation": "ij,jk->ik"}),
    ("Einsum", (12,), (numbers(2, 3), numbers(3, 4)), {"equation": "ij, jk"}),
    ("Einsum", (12,), (numbers(5, 2, 3), numbers(5, 3, 4)), {"equation": "...ij,...jk->...ik"}),
    ("Einsum", (12,), (numbers(5, 2, 3), numbers(1, 3, 4)), {"equation": "...ij,...jk"}),
    ("Einsum", (12,), (numbers(3, 3, 2),), {"equation": "iij->ji"}),
    ("Einsum", (12,), (numbers(2, 3), numbers(1, 3)), {"equation": "ij,ij->i"}),
    ("Einsum", (12,), (numbers(2, 3), numbers(4, 3), numbers(4, 2)), {"equation": "ij,kj,kl->il"}),
    ("Einsum", (12,), (numbers(2, 3, 4),), {"equation": "...->..."}),
    ("Einsum", (12,), (numbers(2), numbers(3)), {"equation": "b,a"}),
]
BY_OPSET = [(op, opset, inputs, attributes) for op, opsets, inputs, attributes in HISTORY for opset in opsets]


@pytest.mark.parametrize("names", [None, {2: "N", 3: "D", 5: "B"}])
@pytest.mark.parametrize(("op", "opset", "inputs", "attributes"), BY_OPSET)
def test_every_opset_in_onnx_runtime(op: str, opset: int, inputs: Any, attributes: dict[str, Any], names: Any) -> None:
    assert differences(op, inputs, names=names, opset=opset, **attributes) == []


@pytest.mark.parametrize("opset", [1, 6])
def test_gemm_before_opset_7(opset: int) -> None:
    cost = run("Gemm", floats(3, N), floats(3, 4), floats(4), transA=1, broadcast=1, opset=opset)
    assert (cost.outputs[0].shape, cost.macs, cost.other_flops) == ((N, 4), 12 * N, 4 * N)


# -- what is counted ----------------------------------------------------------------------------------------------


def counted_by_hand(a: Any, b: Any) -> int:
    """Multiply-adds of a matrix product, by making every one of them."""
    rows_a = a.reshape(1, -1) if a.ndim == 1 else a
    columns_b = b.reshape(-1, 1) if b.ndim == 1 else b
    batch = np.broadcast_shapes(rows_a.shape[:-2], columns_b.shape[:-2])
    return sum(
        1 for _ in np.ndindex(*batch) for _ in range(rows_a.shape[-2]) for _ in range(columns_b.shape[-1])
        for _ in range(rows_a.shape[-1])
    )  # fmt: skip


@pytest.mark.parametrize(
    ("a", "b"),
    [((2, 3), (3, 4)), ((5, 1, 2, 3), (6, 3, 4)), ((3,), (5, 3, 4)), ((5, 2, 3), (3,)), ((3,), (3,)), ((2, 0), (0, 4))],
)
def test_products_of_matrices(a: tuple[int, ...], b: tuple[int, ...]) -> None:
    cost = run("MatMul", floats(*a), floats(*b))
    assert (cost.macs, cost.other_flops) == (counted_by_hand(numbers(*a), numbers(*b)), 0)


@pytest.mark.parametrize(
    ("inputs", "attributes", "other"),
    [
        ((floats(N, 3), floats(3, 4)), {}, 0),
        ((floats(N, 3), floats(3, 4)), {"alpha": 0.5, "beta": 0.5}, 1),
        ((floats(N, 3), floats(3, 4), floats(4)), {}, 1),
        ((floats(N, 3), floats(3, 4), floats(4)), {"beta": 0.5}, 2),
        ((floats(N, 3), floats(3, 4), floats(N, 4)), {"alpha": 2.0, "beta": 0.5}, 3),
    ],
)
def test_what_gemm_adds(inputs: Any, attributes: dict[str, Any], other: int) -> None:
    cost = run("Gemm", *inputs, **attributes)
    assert (cost.macs, cost.other_flops) == (12 * N, other * 4 * N)


def flops_of_numpy(equation: str, *shapes: tuple[int, ...]) -> float:
    """What numpy counts along the path from left to right; its report adds 1, and has four digits."""
    path: list[Any] = ["einsum_path", *((0, 1) if i == 0 else (0, len(shapes) - 1 - i) for i in range(len(shapes) - 1))]
    _, report = np.einsum_path(equation, *map(np.empty, shapes), optimize=path if len(shapes) > 1 else False)
    found = re.search(r"Optimized FLOP count:\s+(\S+)", report)
    assert found is not None
    return float(found.group(1)) - 1


@pytest.mark.parametrize(
    ("equation", "shapes"),
    [
        ("ij,jk->ik", [(2, 3), (3, 4)]),
        ("bij,bjk->bik", [(5, 2, 3), (5, 3, 4)]),
        ("bhqd,bhkd->bhqk", [(2, 4, 5, 8), (2, 4, 7, 8)]),
        ("ij,ij->ij", [(2, 3), (2, 3)]),
        ("i,j->ij", [(2,), (3,)]),
        ("ij,ij->", [(2, 3), (2, 3)]),
        ("ij,j->i", [(2, 3), (3,)]),
        ("ij,jk,kl->il", [(2, 3), (3, 4), (4, 5)]),
        ("ij,kl,jl->ik", [(2, 3), (4, 5), (3, 5)]),
        ("abc,cd,de,ef->abf", [(2, 3, 4), (4, 5), (5, 6), (6, 7)]),
        ("i,i,i->", [(7,), (7,), (7,)]),
    ],
)
def test_einsum_counts_what_numpy_counts(equation: str, shapes: list[tuple[int, ...]]) -> None:
    cost = run("Einsum", *(floats(*shape) for shape in shapes), equation=equation)
    assert cost.flops == flops_of_numpy(equation, *shapes)


@pytest.mark.parametrize(
    ("equation", "shapes", "macs", "other"),
    [
        ("ij->ji", [(S, D)], 0, 0),
        ("ii->i", [(S, S)], 0, 0),
        ("ii->", [(S, S)], 0, S),
        ("ij->i", [(S, D)], 0, S * D),
        ("ij,kj->k", [(S, D), (N, D)], N * D, S * D),
        ("bsd,de->bse", [(N, S, 768), (768, 64)], N * S * 768 * 64, 0),
        ("...sd,...de->...se", [(N, 12, S, D), (D, 64)], N * 12 * S * D * 64, 0),
        ("bs,bs->bs", [(N, S), (N, 1)], 0, N * S),
    ],
)
def test_einsum_by_hand(equation: str, shapes: Any, macs: Any, other: Any) -> None:
    cost = run("Einsum", *(floats(*shape) for shape in shapes), equation=equation)
    assert (cost.macs, cost.other_flops, cost.scratch_bytes) == (macs, other, 0)


def test_einsum_keeps_results_between_the_contractions() -> None:
    cost = run("Einsum", floats(N, 3), floats(3, 4), floats(4, 5), equation="ij,jk,kl->il")
    assert cost.scratch_bytes == 4 * N * 4


@given(st.data())
def test_einsum_at_random_as_numpy(data: st.DataObject) -> None:
    extents = {"i": 2, "j": 3, "k": 4, "l": 5}
    sizes = {"i": N, "j": 3, "k": S, "l": 5}
    terms = data.draw(st.lists(st.text("ijkl", min_size=1, max_size=4), min_size=1, max_size=3))
    used = sorted(set("".join(terms)))
    result = data.draw(st.lists(st.sampled_from(used), unique=True))
    equation = ",".join(terms) + ("" if data.draw(st.booleans()) else "->" + "".join(result))
    real = np.einsum(equation, *(np.empty([extents[c] for c in term]) for term in terms))
    y, = run("Einsum", *(floats(*(sizes[c] for c in term)) for term in terms), equation=equation).outputs
    assert tuple(at(extent, {"N": 2, "S": 4}) for extent in y.dims) == real.shape


# -- open sizes and faults ----------------------------------------------------------------------------------------


def test_open_sizes() -> None:
    heads = run("MatMul", floats(N, 12, S, 64), floats(N, 12, 64, S))
    assert (heads.outputs[0].shape, heads.macs) == ((N, 12, S, S), N * 12 * S * S * 64)
    assert matrix_product((N, S, 768), (768, 3072)) == ((N, S, 3072), 768)


@pytest.mark.parametrize(
    ("op", "inputs", "attributes", "error", "words"),
    [
        ("MatMul", (numbers(2, 3), numbers(4, 5)), {}, ShapeMismatch, "columns of A and rows of B must be"),
        ("MatMul", (numbers(), numbers(3)), {}, MalformedModel, "at least one axis"),
        ("Gemm", (numbers(2, 3), numbers(3, 4), numbers(5)), {}, ShapeMismatch, "do not broadcast"),
        ("Gemm", (numbers(2, 3, 4), numbers(4, 5)), {}, MalformedModel, "do not fit the op"),
        ("Einsum", (numbers(2, 3),), {"equation": "ij,jk->ik"}, MalformedModel, "2 terms for 1 inputs"),
        ("Einsum", (numbers(2, 3),), {"equation": "ijk->ik"}, MalformedModel, "term 'ijk' does not fit an input of rank 2"),
        ("Einsum", (numbers(2, 3),), {"equation": "ij->ik"}, MalformedModel, "each index of the result"),
        ("Einsum", (numbers(2, 3),), {"equation": "ij->ii"}, MalformedModel, "each index of the result"),
        ("Einsum", (numbers(2, 3), numbers(4, 5)), {"equation": "ij,jk"}, ShapeMismatch, "the index 'j'"),
    ],
)
def test_contradictions_are_told(op: str, inputs: Any, attributes: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        run(op, *map(tensor_of, inputs), **attributes)
