"""Ops on strings: ONNX's cases, ONNX Runtime, what depends on data."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from costmodel.dims import Dim
from costmodel.errors import MalformedModel
from costmodel.graph import Tensor
from tests.ops.official import cases_of, differences, faults, run

N, S = Dim.size("N"), Dim.size("S")
OPS = ("StringNormalizer", "StringConcat", "StringSplit", "RegexFullMatch", "TfIdfVectorizer")
CASES = cases_of(*OPS)
GRAMS = {
    "mode": "TF", "min_gram_length": 1, "max_gram_length": 2, "max_skip_count": 1, "ngram_counts": [0, 2],
    "ngram_indexes": [0, 1, 2, 3], "pool_int64s": [2, 3, 5, 4, 5, 6],
}  # fmt: skip


@pytest.mark.parametrize("constants", [False, True])
@pytest.mark.parametrize("name", CASES)
def test_onnx_cases(name: str, constants: bool) -> None:
    assert faults(CASES[name], constants=constants) == []


def test_there_are_cases_of_every_op() -> None:
    assert {node.op_type for case in CASES.values() for node in case.model.graph.node} == set(OPS)


def words(*values: Any) -> Any:
    return np.array(values, dtype=object)


HISTORY: list[tuple[str, int, int, tuple[Any, ...], dict[str, Any]]] = [
    ("StringNormalizer", 10, 1, (words("Monday", "tuesday"),), {"stopwords": ["monday"], "locale": "C"}),
    ("StringNormalizer", 10, 1, (words("Monday", "tuesday"),), {"stopwords": ["monday"], "is_case_sensitive": 1}),
    ("StringNormalizer", 10, 1, (words(["a", "b", "a"]),), {"stopwords": ["a", "b"], "locale": "C"}),
    ("StringConcat", 20, 1, (words(["a"], ["b"]), words("c", "d", "e")), {}),
    ("StringSplit", 20, 2, (words(["a b", " c  d e "],),), {}),
    ("StringSplit", 20, 2, (words("a,b,,c", "d"),), {"delimiter": ",", "maxsplit": 2}),
    ("RegexFullMatch", 20, 1, (words("a@b.c", "d"),), {"pattern": ".*@.*"}),
    ("TfIdfVectorizer", 9, 1, (np.array([[1, 2, 3], [4, 5, 6]]),), GRAMS),
    ("TfIdfVectorizer", 9, 1, (np.array([1, 2, 3]),), GRAMS),
]


@pytest.mark.parametrize(("op", "opset", "n_outputs", "inputs", "attributes"), HISTORY)
def test_as_onnx_runtime_runs_it(op: str, opset: int, n_outputs: int, inputs: Any, attributes: dict[str, Any]) -> None:
    assert differences(op, inputs, opset=opset, n_outputs=n_outputs, **attributes) == []


def strings(*shape: Any) -> Tensor:
    return Tensor("string", shape)


@pytest.mark.parametrize(
    ("op", "inputs", "attributes", "shapes", "bounds"),
    [
        ("StringNormalizer", (strings(S),), {"case_change_action": "UPPER"}, [(S,)], ()),
        ("StringNormalizer", (strings(1, S),), {"stopwords": ("a",)}, [(1, "kept")], (("node.kept", S),)),
        ("StringConcat", (strings(N, 1), strings(S)), {}, [(N, S)], ()),
        ("StringSplit", (strings(N, S),), {}, [(N, S, "parts"), (N, S)], ()),
        ("StringSplit", (strings(N),), {"maxsplit": 2}, [(N, "parts"), (N,)], (("node.parts", 3),)),
        ("RegexFullMatch", (strings(N, S),), {"pattern": "a"}, [(N, S)], ()),
        ("TfIdfVectorizer", (Tensor("int64", (N, S)),), GRAMS, [(N, 4)], ()),
    ],
)
def test_open_sizes(op: str, inputs: Any, attributes: Any, shapes: list[Any], bounds: Any) -> None:
    given = {name: tuple(value) if isinstance(value, list) else value for name, value in attributes.items()}
    cost = run(op, *inputs, n_outputs=len(shapes), **given)
    wanted = [tuple(Dim.size(f"node.{e}") if isinstance(e, str) else e for e in shape) for shape in shapes]
    assert [y.shape for y in cost.outputs] == wanted
    assert cost.bounds == bounds
    assert cost.macs == 0


def test_grams_are_looked_up() -> None:
    """Four look-ups per token: grams of one and of two, with no skip and with one."""
    given = {name: tuple(value) if isinstance(value, list) else value for name, value in GRAMS.items()}
    assert run("TfIdfVectorizer", Tensor("int64", (N, S)), **given).other_flops == 4 * N * S
    assert run("TfIdfVectorizer", Tensor("int64", (N, S)), **{**given, "mode": "IDF"}).other_flops == 4 * N * S + 4 * N


def test_words_to_normalise_lie_in_one_row() -> None:
    with pytest.raises(MalformedModel, match="strings to normalise"):
        run("StringNormalizer", strings(2, 3))
