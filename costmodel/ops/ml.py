"""Classical machine learning (domain ai.onnx.ml): trees, linear models, support vectors, and what prepares features.

The models are stored in attributes; ``Cost.attribute_weights`` tells how much that is.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from costmodel.dims import Extent, product, total
from costmodel.errors import MalformedModel
from costmodel.graph import Cost, MapOf, SequenceOf, Tensor
from costmodel.ops.activations import activation_flops
from costmodel.ops.registry import rule
from costmodel.ops.shapes import same
from costmodel.ops.trees import most_votes, numbered, rooted

ml = partial(rule, domain="ai.onnx.ml")

# per score: softmax as everywhere; probit is sqrt(2) * erfinv(2 * x - 1)
POST_TRANSFORMS = {"NONE": 0, "SOFTMAX": 5, "LOGISTIC": activation_flops("Sigmoid"), "SOFTMAX_ZERO": 5, "PROBIT": 4}


def _post_transform(name: str | int) -> int:
    """Operations per score; TreeEnsemble writes the name as a number."""
    if isinstance(name, int):
        name = dict(enumerate(POST_TRANSFORMS)).get(name, str(name))
    if name not in POST_TRANSFORMS:
        raise MalformedModel(f"post_transform {name!r} is none of {', '.join(POST_TRANSFORMS)}")
    return POST_TRANSFORMS[name]


def _rows(x: Tensor) -> tuple[Extent, Extent]:
    """Points and features; a tensor of rank 1 is one point."""
    *points, features = x.dims
    return product(points), features


def _stored(*attributes: Sequence[Any] | Tensor | None, dtype: str = "float32") -> tuple[Tensor, ...]:
    """Numbers that attributes hold, as tensors."""
    sizes = [given if isinstance(given, Tensor) else Tensor(dtype, (len(given),)) for given in attributes if given]
    return tuple(sizes)


def _labels(strings: Sequence[str] | None, integers: Sequence[int] | None) -> tuple[str, int]:
    """The dtype of class labels, and how many there are."""
    return ("string", len(strings)) if strings else ("int64", len(integers or ()))


def _classified(x: Tensor, dtype: str, scores: Extent, **cost: Any) -> Cost:
    points, _ = _rows(x)
    return Cost((x.to((points,), dtype=dtype), x.to((points, scores), dtype="float32")), **cost)


# -- trees --------------------------------------------------------------------------------------------------------


@ml("TreeEnsembleClassifier")
def tree_ensemble_classifier(
    x, *, base_values=None, base_values_as_tensor=None, class_ids=(), class_nodeids=(), class_treeids=(), class_weights=(),
    class_weights_as_tensor=None, classlabels_int64s=None, classlabels_strings=None, nodes_falsenodeids=(),
    nodes_featureids=(), nodes_hitrates=(), nodes_hitrates_as_tensor=None, nodes_missing_value_tracks_true=(),
    nodes_modes=(), nodes_nodeids=(), nodes_treeids=(), nodes_truenodeids=(), nodes_values=(), nodes_values_as_tensor=None,
    post_transform="NONE",
):  # fmt: skip
    """Per point and tree a comparison per level, as deep as the tree goes, and an addition per vote of a leaf.

    Per class one comparison to find the best, and the post transform. An input may leave a tree earlier.
    """
    dtype, classes = _labels(classlabels_strings, classlabels_int64s)
    depths = numbered(nodes_treeids, nodes_nodeids, nodes_modes, nodes_truenodeids, nodes_falsenodeids)
    per_point = sum(depths) + most_votes(class_treeids, class_nodeids) + classes * (1 + _post_transform(post_transform))
    weights = _stored(nodes_values or nodes_values_as_tensor, class_weights or class_weights_as_tensor)
    return _classified(x, dtype, classes, other_flops=_rows(x)[0] * per_point, attribute_weights=weights)


@ml("TreeEnsembleRegressor")
def tree_ensemble_regressor(
    x, *, aggregate_function="SUM", base_values=None, base_values_as_tensor=None, n_targets=1, nodes_falsenodeids=(),
    nodes_featureids=(), nodes_hitrates=(), nodes_hitrates_as_tensor=None, nodes_missing_value_tracks_true=(),
    nodes_modes=(), nodes_nodeids=(), nodes_treeids=(), nodes_truenodeids=(), nodes_values=(), nodes_values_as_tensor=None,
    post_transform="NONE", target_ids=(), target_nodeids=(), target_treeids=(), target_weights=(),
    target_weights_as_tensor=None,
):  # fmt: skip
    """Per point and tree a comparison per level, as deep as the tree goes, and an addition per vote of a leaf.

    Per target the post transform. An input may leave a tree earlier.
    """
    points, _ = _rows(x)
    depths = numbered(nodes_treeids, nodes_nodeids, nodes_modes, nodes_truenodeids, nodes_falsenodeids)
    votes = most_votes(target_treeids, target_nodeids)
    return Cost(
        (x.to((points, n_targets), dtype="float32"),),
        other_flops=points * (sum(depths) + votes + n_targets * _post_transform(post_transform)),
        attribute_weights=_stored(nodes_values or nodes_values_as_tensor, target_weights or target_weights_as_tensor),
    )


@ml("TreeEnsemble", since=5)
def tree_ensemble(
    x, *, aggregate_function=1, leaf_targetids, leaf_weights, membership_values=None, n_targets=1, nodes_falseleafs,
    nodes_falsenodeids, nodes_featureids, nodes_hitrates=None, nodes_missing_value_tracks_true=None, nodes_modes,
    nodes_splits, nodes_trueleafs, nodes_truenodeids, post_transform=0, tree_roots,
):  # fmt: skip
    """Per point and tree a comparison per level, as deep as the tree goes, and an addition for its leaf.

    Per target the post transform. An input may leave a tree earlier.
    """
    points, _ = _rows(x)
    depths = rooted(tree_roots, nodes_truenodeids, nodes_trueleafs, nodes_falsenodeids, nodes_falseleafs)
    return Cost(
        (x.to((points, n_targets)),),
        other_flops=points * (sum(depths) + len(depths) + n_targets * _post_transform(post_transform)),
        attribute_weights=_stored(nodes_splits, leaf_weights, membership_values),
    )


# -- linear models and support vectors ----------------------------------------------------------------------------


@ml("LinearClassifier")
def linear_classifier(
    x, *, classlabels_ints=None, classlabels_strings=None, coefficients, intercepts=None, multi_class=0,
    post_transform="NONE",
):  # fmt: skip
    """One multiply-add per point and coefficient; per class an addition, a comparison and the post transform."""
    dtype, classes = _labels(classlabels_strings, classlabels_ints)
    points, features = _rows(x)
    models = len(coefficients) // features
    scores = classes or models
    per_point = len(intercepts or ()) + scores * (1 + _post_transform(post_transform))
    return _classified(
        x,
        dtype,
        scores,
        macs=points * len(coefficients),
        other_flops=points * per_point,
        attribute_weights=_stored(coefficients, intercepts),
    )


@ml("LinearRegressor")
def linear_regressor(x, *, coefficients=(), intercepts=None, post_transform="NONE", targets=1):
    """One multiply-add per point and coefficient; per target an addition for an intercept, and the post transform."""
    points, features = _rows(x)
    same(len(coefficients), features * targets, "the coefficients and features * targets")
    per_point = len(intercepts or ()) + targets * _post_transform(post_transform)
    return Cost(
        (x.to((points, targets), dtype="float32"),),
        macs=points * len(coefficients),
        other_flops=points * per_point,
        attribute_weights=_stored(coefficients, intercepts),
    )


# per support vector and point, beyond the dot product with it: poly (gamma * x.v + c) ** d, sigmoid tanh(gamma * x.v + c)
KERNELS = {"LINEAR": 0, "POLY": 3, "RBF": 2, "SIGMOID": 3}


def _kernel(name: str, features: Extent) -> tuple[Extent, Extent]:
    """Multiply-adds and other arithmetic per support vector; the radial one, exp(-gamma * |x - v|**2), subtracts first."""
    if name not in KERNELS:
        raise MalformedModel(f"kernel_type {name!r} is none of {', '.join(KERNELS)}")
    return features, KERNELS[name] + (features if name == "RBF" else 0)


@ml("SVMClassifier")
def svm_classifier(
    x, *, classlabels_ints=None, classlabels_strings=None, coefficients=(), kernel_params=None, kernel_type="LINEAR",
    post_transform="NONE", prob_a=None, prob_b=None, rho=None, support_vectors=(), vectors_per_class=(),
):  # fmt: skip
    """One multiply-add per point, support vector and feature, and per vector in each decision between two classes.

    The kernel, the offset and vote of every decision, the post transform; a sigmoid per decision for probabilities.
    """
    dtype, classes = _labels(classlabels_strings, classlabels_ints)
    points, features = _rows(x)
    vectors = sum(vectors_per_class)
    if not vectors:
        return linear_classifier(
            x, classlabels_ints=classlabels_ints, classlabels_strings=classlabels_strings, coefficients=coefficients,
            intercepts=rho, post_transform=post_transform,
        )  # fmt: skip
    decisions = classes * (classes - 1) // 2
    scores = classes if prob_a or classes <= 2 else decisions
    macs, flops = _kernel(kernel_type, features)
    per_decision = 2 + (activation_flops("Sigmoid") if prob_a else 0)
    return _classified(
        x,
        dtype,
        scores,
        macs=points * vectors * (macs + classes - 1),
        other_flops=points * (vectors * flops + decisions * per_decision + scores * _post_transform(post_transform)),
        attribute_weights=_stored(support_vectors, coefficients, rho, prob_a, prob_b),
    )


@ml("SVMRegressor")
def svm_regressor(
    x, *, coefficients=(), kernel_params=None, kernel_type="LINEAR", n_supports=0, one_class=0, post_transform="NONE",
    rho=None, support_vectors=(),
):  # fmt: skip
    """One multiply-add per point, support vector and feature, and per point and vector; the kernel, an offset."""
    points, features = _rows(x)
    macs, flops = _kernel(kernel_type, features)
    per_point = n_supports * (macs + 1) if n_supports else features
    return Cost(
        (x.to((points, 1), dtype="float32"),),
        macs=points * per_point,
        other_flops=points * (n_supports * flops + 1 + bool(one_class) + _post_transform(post_transform)),
        attribute_weights=_stored(support_vectors, coefficients, rho),
    )


# -- features -----------------------------------------------------------------------------------------------------


def _elementwise(x: Tensor, flops: int, *stored: Sequence[Any] | None, dtype: str | None = None) -> Cost:
    y = x.to(x.dims, dtype=dtype)
    return Cost((y,), other_flops=y.size * flops, attribute_weights=_stored(*stored))


@ml("Scaler")
def scaler(x, *, offset=None, scale=None):
    """2 per element: subtract the offset, multiply by the scale."""
    return _elementwise(x, 2, offset, scale, dtype="float32")


@ml("Binarizer")
def binarizer(x, *, threshold=0.0):
    """1 per element: compare."""
    return _elementwise(x, 1)


@ml("Imputer")
def imputer(
    x, *, imputed_value_floats=None, imputed_value_int64s=None, replaced_value_float=0.0, replaced_value_int64=0
):
    """1 per element: compare."""
    return _elementwise(x, 1, imputed_value_floats, imputed_value_int64s)


NORMS = {"MAX": 2, "L1": 3, "L2": 3}  # compare, divide; absolute value, add, divide; square, add, divide


@ml("Normalizer")
def normalizer(x, *, norm="MAX"):
    """2 per element for the maximum: compare, divide; 3 for L1 and L2: absolute value or square, add, divide."""
    if norm not in NORMS:
        raise MalformedModel(f"norm {norm!r} is none of {', '.join(NORMS)}")
    return _elementwise(x, NORMS[norm], dtype="float32")


@ml("OneHotEncoder")
def one_hot_encoder(x, *, cats_int64s=None, cats_strings=None, zeros=1):
    """No arithmetic: one look-up per element."""
    _, categories = _labels(cats_strings, cats_int64s)
    return Cost((x.to((*x.dims, categories), dtype="float32"),))


@ml("LabelEncoder")
def label_encoder_by_classes(x, *, classes_strings=None, default_int64=-1, default_string="_Unused"):
    """No arithmetic: one look-up per element."""
    return Cost((x.to(x.dims, dtype="int64" if x.dtype == "string" else "string"),))


@ml("LabelEncoder", since=2)
def label_encoder(
    x, *, default_float=-0.0, default_int64=-1, default_string="_Unused", default_tensor=None, keys_floats=None,
    keys_int64s=None, keys_strings=None, keys_tensor=None, values_floats=None, values_int64s=None, values_strings=None,
    values_tensor=None,
):  # fmt: skip
    """No arithmetic: one look-up per element."""
    by_attribute = {"float32": values_floats, "int64": values_int64s, "string": values_strings}
    found = [dtype for dtype, values in by_attribute.items() if values]
    if values_tensor is not None:
        found.append(values_tensor.dtype)
    if len(found) != 1:
        raise MalformedModel(f"exactly one of the attributes values_* must be given, not {len(found)}")
    return Cost((x.to(x.dims, dtype=found[0]),))


@ml("CategoryMapper")
def category_mapper(x, *, cats_int64s=None, cats_strings=None, default_int64=-1, default_string="_Unused"):
    """No arithmetic: one look-up per element."""
    return Cost((x.to(x.dims, dtype="int64" if x.dtype == "string" else "string"),))


@ml("FeatureVectorizer")
def feature_vectorizer(*inputs, inputdimensions=None):
    """No arithmetic; a copy."""
    points, _ = _rows(inputs[0])
    widths = inputdimensions or [_rows(x)[1] for x in inputs]
    return Cost((inputs[0].to((points, total(widths)), dtype="float32"),))


@ml("ArrayFeatureExtractor")
def array_feature_extractor(x, y):
    """No arithmetic; a copy of the columns that are picked."""
    *points, _ = x.dims
    z = x.to((*(points or (1,)), y.size))
    return Cost((z,), reads=(z.size, y.size), not_learnable=(1,))


# -- maps ---------------------------------------------------------------------------------------------------------


@ml("ZipMap")
def zip_map(x, *, classlabels_int64s=None, classlabels_strings=None):
    """No arithmetic; a map from every label to its score, for each point."""
    points, width = _rows(x)
    dtype, labels = _labels(classlabels_strings, classlabels_int64s)
    same(width, labels, "the columns of the input and the labels")
    return Cost((SequenceOf.of(MapOf.of(dtype, x.dtype, labels), points),))


def _map(value: Tensor) -> MapOf:
    if not isinstance(value, MapOf):
        raise MalformedModel(f"a map is needed here, not a {getattr(value, 'kind', 'tensor')}")
    return value


@ml("DictVectorizer")
def dict_vectorizer(x, *, int64_vocabulary=None, string_vocabulary=None):
    """No arithmetic: one look-up per word of the vocabulary."""
    _, words = _labels(string_vocabulary, int64_vocabulary)
    return Cost((Tensor(_map(x).dtype, (1, words)),))


CAST_TO = {"TO_FLOAT": "float32", "TO_STRING": "string", "TO_INT64": "int64"}


@ml("CastMap")
def cast_map(x, *, cast_to="TO_FLOAT", map_form="DENSE", max_map=1):
    """No arithmetic; a copy, with zeros where a sparse map has no value."""
    if cast_to not in CAST_TO:
        raise MalformedModel(f"cast_to {cast_to!r} is none of {', '.join(CAST_TO)}")
    width = max_map if map_form == "SPARSE" else _map(x).length
    return Cost((Tensor(CAST_TO[cast_to], (1, width)),))
