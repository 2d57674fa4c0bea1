"""Classical machine learning: outputs against ONNX Runtime and ONNX's own tests, counts against trees that are walked."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import onnx
import pytest
from official import cases_of
from official import faults as official_faults
from one_node import executed, faults, feeds_of, floats, ids, layer_of, model_of, stored
from onnx import helper, numpy_helper

from costmodel.counts import count
from costmodel.dims import Dim
from costmodel.errors import MalformedModel
from costmodel.graph import Cost, MapOf, SequenceOf
from costmodel.ops.trees import depth
from costmodel.read.onnx import load

DOMAIN = "ai.onnx.ml"
OPS = {schema.name for schema in onnx.defs.get_all_schemas_with_history() if schema.domain == DOMAIN}
OFFICIAL = cases_of(*OPS)


@pytest.mark.parametrize("constants", [False, True])
@pytest.mark.parametrize("name", sorted(OFFICIAL))
def test_official(name: str, constants: bool) -> None:
    assert official_faults(OFFICIAL[name], constants=constants) == []


def texts(*words: str) -> Any:
    return np.array(words, dtype=object)


# two trees over 5 features: the first asks twice on its longest way, the second is a leaf
NODES = {
    "nodes_treeids": [0, 0, 0, 0, 0, 1],
    "nodes_nodeids": [0, 1, 2, 3, 4, 0],
    "nodes_featureids": [0, 0, 1, 0, 0, 0],
    "nodes_modes": ["BRANCH_LEQ", "LEAF", "BRANCH_LT", "LEAF", "LEAF", "LEAF"],
    "nodes_values": [0.5, 0.0, 0.2, 0.0, 0.0, 0.0],
    "nodes_truenodeids": [1, 0, 3, 0, 0, 0],
    "nodes_falsenodeids": [2, 0, 4, 0, 0, 0],
}
VOTES = [0, 0, 0, 1], [1, 3, 4, 0], [0, 1, 2, 1], [1.0, 2.0, 3.0, 4.0]
CLASSES = dict(zip(("class_treeids", "class_nodeids", "class_ids", "class_weights"), VOTES, strict=True))
TARGETS = dict(zip(("target_treeids", "target_nodeids", "target_ids", "target_weights"), VOTES, strict=True))


def svm(classes: int, *, probabilities: bool = False) -> dict[str, Any]:
    vectors, pairs = 2 * classes, classes * (classes - 1) // 2
    more = {"prob_a": [0.1] * pairs, "prob_b": [0.1] * pairs} if probabilities else {}
    return {
        "classlabels_ints": list(range(classes)),
        "coefficients": [0.1] * (vectors * (classes - 1)),
        "support_vectors": [0.2] * (vectors * 5),
        "vectors_per_class": [2] * classes,
        "rho": [0.1] * pairs,
        "kernel_type": "RBF",
        "kernel_params": [0.1, 0.0, 3.0],
        "outputs": 2,
        **more,
    }


def array(*numbers: float, dtype: Any = np.float64) -> onnx.TensorProto:
    return numpy_helper.from_array(np.array(numbers, dtype))


CASES: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = [
    *(("SVMClassifier", (floats(3, 5),), svm(n, probabilities=p)) for n, p in itertools.product((2, 3, 4), (False, True))),
    (
        "SVMClassifier",
        (floats(3, 5),),
        {"classlabels_strings": ["a", "b", "c"], "coefficients": [0.1] * 15, "rho": [0.1] * 3,
         "kernel_params": [0.1, 0.0, 3.0], "outputs": 2},
    ),
    (
        "SVMRegressor",
        (floats(3, 5),),
        {"coefficients": [0.1] * 4, "support_vectors": [0.1] * 20, "n_supports": 4, "rho": [0.1], "kernel_type": "POLY",
         "kernel_params": [0.1, 0.0, 3.0]},
    ),
    (
        "LinearClassifier",
        (floats(3, 5),),
        {"classlabels_ints": [0, 1], "coefficients": [0.1] * 5, "intercepts": [0.1], "outputs": 2},
    ),
    (
        "LinearClassifier",
        (floats(3, 5),),
        {"classlabels_strings": ["a", "b", "c"], "coefficients": [0.1] * 15, "intercepts": [0.1] * 3, "outputs": 2,
         "post_transform": "SOFTMAX"},
    ),
    ("LinearRegressor", (floats(3, 5),), {"coefficients": [0.1] * 5}),
    ("LinearRegressor", (floats(3, 5),), {"coefficients": [0.1] * 10, "targets": 2, "intercepts": [0.1] * 2}),
    ("Scaler", (ids(3, 5),), {"offset": [0.1], "scale": [0.2]}),
    ("Scaler", (floats(3, 5).astype(np.float64),), {"offset": [0.1] * 5, "scale": [0.2] * 5}),
    ("Normalizer", (floats(3, 5),), {"norm": "L2"}),
    ("Normalizer", (ids(3, 5),), {"norm": "MAX"}),
    ("Binarizer", (floats(3, 5),), {"threshold": 0.5}),
    ("Imputer", (floats(3, 5),), {"imputed_value_floats": [0.5], "replaced_value_float": 0.1}),
    ("Imputer", (ids(3, 5),), {"imputed_value_int64s": [5], "replaced_value_int64": 1}),
    ("OneHotEncoder", (ids(3, 5),), {"cats_int64s": [0, 1, 2, 3]}),
    ("OneHotEncoder", (texts("a", "b"),), {"cats_strings": ["a", "b", "c"]}),
    ("LabelEncoder", (texts("a", "b"),), {"classes_strings": ["a", "b"], "opset": 1}),
    ("LabelEncoder", (ids(3),), {"classes_strings": ["a", "b"], "opset": 1}),
    ("LabelEncoder", (texts("a", "b"),), {"keys_strings": ["a", "b"], "values_int64s": [1, 2]}),
    ("LabelEncoder", (ids(3),), {"keys_int64s": [1, 2], "values_strings": ["a", "b"]}),
    ("LabelEncoder", (ids(3),), {"keys_int64s": [1, 2], "values_floats": [1.0, 2.0]}),
    (
        "LabelEncoder",
        (floats(3).astype(np.float64),),
        {"keys_tensor": array(1, 2), "values_tensor": array(3, 4), "default_tensor": array(0), "opset": 4},
    ),
    ("CategoryMapper", (texts("a", "b"),), {"cats_strings": ["a", "b"], "cats_int64s": [1, 2]}),
    ("CategoryMapper", (ids(3),), {"cats_strings": ["a", "b"], "cats_int64s": [1, 2]}),
    ("FeatureVectorizer", (floats(3, 5), floats(3, 2)), {"inputdimensions": [5, 2]}),
    ("FeatureVectorizer", (floats(5), floats(2)), {"inputdimensions": [5, 2]}),
    ("ArrayFeatureExtractor", (floats(3, 5), stored([0, 2, 4])), {}),
    ("ArrayFeatureExtractor", (floats(5), stored([[0, 2, 4]])), {}),
    ("ArrayFeatureExtractor", (floats(2, 3, 5), ids(2)), {}),
    ("TreeEnsembleClassifier", (floats(3, 5),), {**NODES, **CLASSES, "classlabels_int64s": [0, 1, 2], "outputs": 2}),
    ("TreeEnsembleClassifier", (ids(3, 5),), {**NODES, **CLASSES, "classlabels_strings": ["a", "b", "c"], "outputs": 2}),
    ("TreeEnsembleRegressor", (floats(3, 5),), {**NODES, **TARGETS, "n_targets": 3}),
    ("TreeEnsembleRegressor", (floats(3, 5).astype(np.float64),), {**NODES, **TARGETS, "n_targets": 3}),
]


@pytest.mark.parametrize(("op", "inputs", "node"), CASES, ids=[f"{case[0]}-{i}" for i, case in enumerate(CASES)])
def test_outputs_equal_those_of_onnx_runtime(op: str, inputs: tuple[Any, ...], node: dict[str, Any]) -> None:
    assert faults(op, inputs, **{"domain": DOMAIN, "opset": 3, **node}) == []


def cost_of(op: str, *inputs: Any, opset: int = 3, **attributes: Any) -> Cost:
    cost = layer_of(load(model_of(op, *inputs, domain=DOMAIN, opset=opset, **attributes))).cost
    assert cost is not None
    return cost


# -- counts -------------------------------------------------------------------------------------------------------


def longest_way(children: dict[int, tuple[int, int]], node: int) -> int:
    return 0 if node not in children else 1 + max(longest_way(children, child) for child in children[node])


def test_trees_count_their_longest_ways_and_the_votes_at_the_end() -> None:
    comparisons = longest_way({0: (1, 2), 2: (3, 4)}, 0)
    votes = 2  # one leaf of each tree
    regressor = cost_of("TreeEnsembleRegressor", floats(7, 5), **NODES, **TARGETS, n_targets=3)
    assert regressor.other_flops == 7 * (comparisons + votes)
    classifier = cost_of("TreeEnsembleClassifier", floats(7, 5), **NODES, **CLASSES, classlabels_int64s=[0, 1, 2])
    assert classifier.other_flops == 7 * (comparisons + votes + 3)
    assert [weights.size for weights in classifier.attribute_weights] == [6, 4]


@pytest.mark.parametrize("seed", range(5))
def test_depths_of_random_trees(seed: int) -> None:
    random = np.random.default_rng(seed)
    children: dict[int, tuple[int, int]] = {}
    leaves, following = [0], 1
    for _ in range(40):
        node = leaves.pop(int(random.integers(len(leaves))))
        children[node] = following, following + 1
        leaves += children[node]
        following += 2
    assert depth(0, children) == longest_way(children, 0)


def test_tree_ensemble_of_opset_5() -> None:
    """Three inner nodes in two trees; the first tree asks twice at most."""
    attributes = {
        "tree_roots": [0, 2],
        "nodes_featureids": [0, 1, 0],
        "nodes_splits": array(0.5, 0.2, 0.1, dtype=np.float32),
        "nodes_modes": array(0, 0, 0, dtype=np.uint8),
        "nodes_truenodeids": [0, 1, 3],
        "nodes_trueleafs": [1, 1, 1],
        "nodes_falsenodeids": [1, 2, 4],
        "nodes_falseleafs": [0, 1, 1],
        "leaf_targetids": [0, 1, 0, 1, 0],
        "leaf_weights": array(1, 2, 3, 4, 5, dtype=np.float32),
        "n_targets": 2,
    }
    assert faults("TreeEnsemble", (floats(3, 5),), domain=DOMAIN, opset=5, **attributes) == []
    cost = cost_of("TreeEnsemble", floats(7, 5), opset=5, **attributes)
    assert cost.other_flops == 7 * ((2 + 1) + 2)
    assert [weights.size for weights in cost.attribute_weights] == [3, 5]


def test_support_vectors_count_a_product_each_and_one_per_decision() -> None:
    cost = cost_of("SVMClassifier", floats(7, 5), **svm(3))
    vectors, decisions = 6, [(a, b) for a, b in itertools.combinations(range(3), 2)]
    assert cost.macs == 7 * (vectors * 5 + sum(2 + 2 for _ in decisions))
    assert [weights.size for weights in cost.attribute_weights] == [30, 12, 3]


def test_linear_models_count_their_coefficients() -> None:
    attributes = {"coefficients": [0.1] * 10, "targets": 2, "intercepts": [1.0, 2.0]}
    total = count(load(model_of("LinearRegressor", floats(7, 5), domain=DOMAIN, **attributes))).total.at()
    assert (total.macs, total.params, total.weight_bytes) == (7 * 2 * 5, 12, 48)


# -- maps ---------------------------------------------------------------------------------------------------------


def test_zip_map() -> None:
    proto = model_of("ZipMap", floats(3, 2), domain=DOMAIN, classlabels_strings=["a", "b"])
    zipped = load(proto).outputs["y0"]
    assert zipped == SequenceOf.of(MapOf.of("string", "float32", 2), 3)
    reference, = executed(proto, feeds_of((floats(3, 2),)))
    assert [len(scores) for scores in reference] == [2, 2, 2]


def of_map(op: str, key: int, value: int, **attributes: Any) -> onnx.ModelProto:
    """A model of one node whose input is a map."""
    node = helper.make_node(op, ["x"], ["y"], name="node", domain=DOMAIN, **attributes)
    kind = helper.make_map_type_proto(key, helper.make_tensor_type_proto(value, None))
    graph = helper.make_graph([node], "one", [helper.make_value_info("x", kind)], [onnx.ValueInfoProto(name="y")])
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid(DOMAIN, 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8)


INT64, STRING, FLOAT = onnx.TensorProto.INT64, onnx.TensorProto.STRING, onnx.TensorProto.FLOAT
MAPS = [
    ("DictVectorizer", STRING, FLOAT, {"string_vocabulary": ["a", "b", "c"]}, {"a": 1.0}, {}),
    ("DictVectorizer", INT64, FLOAT, {"int64_vocabulary": [1, 5]}, {5: 1.0}, {}),
    ("CastMap", INT64, FLOAT, {"cast_to": "TO_FLOAT"}, {0: 1.0, 1: 2.0, 4: 3.0}, {"x_length": 3}),
    ("CastMap", INT64, FLOAT, {"cast_to": "TO_INT64", "map_form": "SPARSE", "max_map": 7}, {0: 1.0, 4: 3.0}, {}),
]


@pytest.mark.parametrize(("op", "key", "value", "attributes", "given", "sizes"), MAPS)
def test_tensors_of_maps(
    op: str, key: int, value: int, attributes: dict[str, Any], given: dict[Any, float], sizes: dict[str, int]
) -> None:
    proto = of_map(op, key, value, **attributes)
    y = load(proto).outputs["y"]
    reference, = executed(proto, {"x": given})
    assert y.dtype == reference.dtype.name
    assert [extent.at(sizes) if isinstance(extent, Dim) else extent for extent in y.dims] == list(reference.shape)


WRONG: list[tuple[str, tuple[Any, ...], dict[str, Any], str]] = [
    ("Normalizer", (floats(3, 5),), {"norm": "L3"}, "norm 'L3' is none of MAX, L1, L2"),
    ("SVMRegressor", (floats(3, 5),), {"kernel_type": "CUBIC"}, "kernel_type 'CUBIC' is none of LINEAR, POLY, RBF, SIGMOID"),
    ("LinearRegressor", (floats(3, 5),), {"coefficients": [0.1] * 4}, "the coefficients and features .* 4 against 5"),
    (
        "LinearClassifier",
        (floats(3, 5),),
        {"coefficients": [0.1] * 5, "post_transform": "SQUARE"},
        "post_transform 'SQUARE' is none of NONE, SOFTMAX, LOGISTIC",
    ),
    ("LabelEncoder", (ids(3),), {"keys_int64s": [1]}, "exactly one of the attributes values_"),
    (
        "TreeEnsembleRegressor",
        (floats(3, 5),),
        {**NODES, **TARGETS, "nodes_truenodeids": [1, 0, 9, 0, 0, 0]},
        "tree 0 has no node 9",
    ),
    (
        "TreeEnsembleRegressor",
        (floats(3, 5),),
        {**NODES, **TARGETS, "nodes_truenodeids": [1, 0, 0, 0, 0, 0]},
        "a node of a tree has two parents",
    ),
    (
        "TreeEnsembleRegressor",
        (floats(3, 5),),
        {**NODES, **TARGETS, "nodes_treeids": [0]},
        "the attributes nodes_.* must have one element for each node",
    ),
    ("DictVectorizer", (floats(3),), {"string_vocabulary": ["a"]}, "a map is needed here, not a tensor"),
]


@pytest.mark.parametrize(("op", "inputs", "attributes", "message"), WRONG)
def test_messages(op: str, inputs: tuple[Any, ...], attributes: dict[str, Any], message: str) -> None:
    with pytest.raises(MalformedModel, match=message):
        cost_of(op, *inputs, **attributes)
