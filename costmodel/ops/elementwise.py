"""Ops that treat every element alike: arithmetic, comparisons, logic, activations, casts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from inspect import Parameter, Signature, signature
from typing import Any, NamedTuple

from costmodel.errors import MalformedModel, ShapeMismatch
from costmodel.graph import DTYPE_BITS, FLOAT_DTYPES, Cost, Tensor, dtype_numbered
from costmodel.ops import values
from costmodel.ops.registry import rule
from costmodel.ops.shapes import broadcast, normal_axis, reusable, same


class Row(NamedTuple):
    """What ONNX's definition does to one element, how elements that carry shapes are computed, the result's dtype where
    it is another, and attributes that change none of it.
    """

    steps: str
    value: values.Function | None = None
    dtype: str | None = None
    attributes: Mapping[str, Any] = {}


LEGACY = {"consumed_inputs": None}  # opset 1 to 5: a hint about memory

UNARY = {
    "Abs": Row("absolute value", values.absolute, attributes=LEGACY),
    "Acos": Row("arc cosine"),
    "Acosh": Row("arc hyperbolic cosine"),
    "Asin": Row("arc sine"),
    "Asinh": Row("arc hyperbolic sine"),
    "Atan": Row("arc tangent"),
    "Atanh": Row("arc hyperbolic tangent"),
    "BitwiseNot": Row("not", values.bitwise_not),
    "Ceil": Row("round up", values.ceil, attributes=LEGACY),
    "Celu": Row("divide, compare, exp, subtract, multiply, multiply", attributes={"alpha": 1.0}),
    "Cos": Row("cosine"),
    "Cosh": Row("hyperbolic cosine"),
    "Elu": Row("compare, exp, subtract, multiply", attributes={"alpha": 1.0, **LEGACY}),
    "Erf": Row("error function"),
    "Exp": Row("exp", attributes=LEGACY),
    "Floor": Row("round down", values.floor, attributes=LEGACY),
    "HardSigmoid": Row("multiply, add, minimum, maximum", attributes={"alpha": 0.2, "beta": 0.5, **LEGACY}),
    "HardSwish": Row("multiply, add, minimum, maximum, multiply"),
    "IsInf": Row("compare", dtype="bool", attributes={"detect_negative": 1, "detect_positive": 1}),
    "IsNaN": Row("compare", dtype="bool"),
    "LeakyRelu": Row("compare, multiply", attributes={"alpha": 0.01, **LEGACY}),
    "Log": Row("log", attributes=LEGACY),
    "Mish": Row("exp, add, log, tanh, multiply"),
    "Neg": Row("negate", values.negate, attributes=LEGACY),
    "Not": Row("not", values.not_),
    "Reciprocal": Row("divide", values.reciprocal, attributes=LEGACY),
    "Relu": Row("maximum", values.relu, attributes=LEGACY),
    "Round": Row("round", values.round_even),
    "Selu": Row(
        "compare, exp, multiply, subtract, multiply, multiply", attributes={"alpha": 1.67326, "gamma": 1.0507, **LEGACY}
    ),
    "Shrink": Row("compare, add, compare, subtract", attributes={"bias": 0.0, "lambd": 0.5}),
    "Sigmoid": Row("negate, exp, add, divide", attributes=LEGACY),
    "Sign": Row("compare", values.sign),
    "Sin": Row("sine"),
    "Sinh": Row("hyperbolic sine"),
    "Softplus": Row("exp, add, log"),
    "Softsign": Row("absolute value, add, divide"),
    "Sqrt": Row("square root", values.square_root, attributes=LEGACY),
    "Swish": Row("multiply, negate, exp, add, divide, multiply", attributes={"alpha": 1.0}),
    "Tan": Row("tangent"),
    "Tanh": Row("tanh", attributes=LEGACY),
    "ThresholdedRelu": Row("compare", attributes={"alpha": 1.0}),
}

BINARY = {
    "Add": Row("add", values.add),
    "And": Row("and", values.and_),
    "BitwiseAnd": Row("and", values.bitwise_and),
    "BitwiseOr": Row("or", values.bitwise_or),
    "BitwiseXor": Row("exclusive or", values.bitwise_xor),
    "Div": Row("divide", values.divide),
    "Equal": Row("compare", values.equal, dtype="bool"),
    "Greater": Row("compare", values.greater, dtype="bool"),
    "GreaterOrEqual": Row("compare", values.greater_or_equal, dtype="bool"),
    "Less": Row("compare", values.less, dtype="bool"),
    "LessOrEqual": Row("compare", values.less_or_equal, dtype="bool"),
    "Mul": Row("multiply", values.multiply),
    "Or": Row("or", values.or_),
    "Pow": Row("power", values.power),
    "Sub": Row("subtract", values.subtract),
    "SwiGLU": Row("multiply, negate, exp, add, divide, multiply, multiply", attributes={"alpha": 1.0}),
    "Xor": Row("exclusive or", values.xor_),
}
WHOLE_NUMBERS = {values.divide: values.divide_whole}  # integer tensors divide towards 0
BROADCAST_BY_AXIS = ("Add", "And", "Div", "Equal", "Greater", "Less", "Mul", "Or", "Pow", "Sub", "Xor")  # until opset 6

# op: (what each further input takes, what the result takes, per element), function
VARIADIC = {
    "Max": ("compare", "", values.largest_of),
    "Mean": ("add", "divide", values.mean),
    "Min": ("compare", "", values.smallest_of),
    "Sum": ("add", "", values.total),
}

GELU = {
    "none": "divide, error function, add, multiply, multiply",
    "tanh": "power, multiply, add, multiply, tanh, add, multiply, multiply",
}
SPELT_DTYPES = {"FLOAT": "float32", "DOUBLE": "float64"}  # until opset 5; the others are the names in upper case


def count(steps: str) -> int:
    """How many operations a list of them names.

    >>> count("negate, exp, add, divide"), count("")
    (4, 0)
    """
    return len(steps.split(", ")) if steps else 0


def elementwise(
    *inputs: Tensor, flops: int, value: values.Function | None = None, dtype: str | None = None
) -> Cost:
    """So many operations per element of the broadcast shape; a stored scalar is a setting, not learnt."""
    shape = broadcast(*(x.dims for x in inputs))
    if inputs[0].dtype not in FLOAT_DTYPES:
        value = WHOLE_NUMBERS.get(value, value) if value else None
    y = values.computed(value, inputs, shape, dtype or inputs[0].dtype)
    settings = tuple(i for i, x in enumerate(inputs) if x.size == 1)
    return Cost((y,), other_flops=y.size * flops, in_place=reusable(y, *inputs), not_learnable=settings)


def towards_first(x: Tensor, *others: Tensor) -> None:
    """Check that broadcasting leaves the first shape as it is. Raises ShapeMismatch where it does not."""
    shape = broadcast(x.dims, *(other.dims for other in others))
    if len(shape) != x.rank:
        raise ShapeMismatch(f"an input of rank {len(shape)} does not broadcast to the first, of rank {x.rank}")
    for extent, kept in zip(shape, x.dims, strict=True):
        same(kept, extent, "extents of the first input and of what is broadcast to it")


def register(op: str, body: Callable[..., Cost], convention: str, attributes: Mapping[str, Any], since: int = 1) -> None:
    """Make the body an op's rule, together with attributes that it need not see."""

    def function(*inputs: Tensor, **given: Any) -> Cost:
        return body(*inputs, **{name: value for name, value in given.items() if name not in attributes})

    keywords = [Parameter(name, Parameter.KEYWORD_ONLY, default=default) for name, default in attributes.items()]
    function.__signature__ = Signature([*signature(body).parameters.values(), *keywords])  # type: ignore[attr-defined]
    function.__doc__ = convention
    rule(op, since=since)(function)


def _unary(row: Row) -> Callable[..., Cost]:
    return lambda x: elementwise(x, flops=count(row.steps), value=row.value, dtype=row.dtype)


def _binary(row: Row) -> Callable[..., Cost]:
    return lambda a, b: elementwise(a, b, flops=count(row.steps), value=row.value, dtype=row.dtype)


def _binary_by_axis(row: Row) -> Callable[..., Cost]:
    def body(a, b, *, broadcast=0, axis=None):
        if not broadcast and a.rank != b.rank:
            raise ShapeMismatch(f"ranks {a.rank} and {b.rank} must be equal where the attribute broadcast is not set")
        start = a.rank - b.rank if axis is None else normal_axis(axis, a.rank)
        b = replace(b, shape=(*b.dims, *(1,) * (a.rank - start - b.rank)))
        towards_first(a, b)
        return elementwise(a, b, flops=count(row.steps), value=row.value, dtype=row.dtype)

    return body


def _variadic(further: str, final: str, value: values.Function) -> Callable[..., Cost]:
    def body(*inputs):
        return elementwise(*inputs, flops=count(further) * (len(inputs) - 1) + count(final), value=value)

    return body


def _convention(steps: str) -> str:
    return f"{count(steps)} per element of the result: {steps}."


for _op, _row in UNARY.items():
    register(_op, _unary(_row), _convention(_row.steps), _row.attributes)
for _op, _row in BINARY.items():
    _numpy_since = 7 if _op in BROADCAST_BY_AXIS else 1
    register(_op, _binary(_row), _convention(_row.steps), _row.attributes, since=_numpy_since)
for _op in BROADCAST_BY_AXIS:
    register(_op, _binary_by_axis(BINARY[_op]), _convention(BINARY[_op].steps), LEGACY)
for _op, (_further, _final, _value) in VARIADIC.items():
    _words = f"Per element of the result: {_further} for each further input" + (f", {_final} once." if _final else ".")
    register(_op, _variadic(_further, _final, _value), _words, LEGACY)


@rule("Mod")
def mod(a, b, *, fmod=0):
    """1 per element of the result: remainder."""
    return elementwise(a, b, flops=1, value=values.remainder if fmod else values.modulo)


@rule("BitShift")
def bit_shift(x, y, *, direction):
    """1 per element of the result: shift."""
    if direction not in ("LEFT", "RIGHT"):
        raise MalformedModel(f"direction {direction!r} is neither LEFT nor RIGHT")
    return elementwise(x, y, flops=1, value=values.shift_left if direction == "LEFT" else values.shift_right)


@rule("Gelu")
def gelu(x, *, approximate="none"):
    """5 per element: divide, error function, add, multiply, multiply; 8 with the approximation by tanh."""
    if approximate not in GELU:
        raise MalformedModel(f"approximate {approximate!r} is none of {', '.join(GELU)}")
    return elementwise(x, flops=count(GELU[approximate]))


@rule("PRelu")
def prelu_by_channel(x, slope, *, consumed_inputs=None):
    """2 per element: compare, multiply."""
    y = x.to(x.dims)
    return Cost((y,), other_flops=2 * y.size, in_place=reusable(y, x))


@rule("PRelu", since=7)
def prelu(x, slope):
    """2 per element: compare, multiply."""
    towards_first(x, slope)
    return prelu_by_channel(x, slope)


@rule("Clip")
def clip_by_attributes(x, *, min=None, max=None, consumed_inputs=None):  # noqa: A002 - ONNX's names
    """1 per element for each bound that is given: compare."""
    return elementwise(x, flops=(min is not None) + (max is not None))


@rule("Clip", since=11)
def clip(x, min=None, max=None):  # noqa: A002 - ONNX's names
    """1 per element for each bound that is given: compare."""
    bounds = [(values.largest, min), (values.smallest, max)]
    given = [(function, bound) for function, bound in bounds if bound is not None]
    y = x if given else x.to(x.dims)
    for function, bound in given:
        y = values.computed(function, (y, bound), x.dims, x.dtype)
    return Cost((y,), other_flops=y.size * len(given), in_place=reusable(y, x), not_learnable=(1, 2))


@rule("Where")
def where(condition, x, y):
    """No arithmetic: one of two elements is taken."""
    shape = broadcast(condition.dims, x.dims, y.dims)
    output = values.computed(values.where, (condition, x, y), shape, x.dtype)
    settings = tuple(i for i, side in enumerate((condition, x, y)) if side.size == 1)
    return Cost((output,), in_place=reusable(output, condition, x, y), not_learnable=settings)


@rule("Cast")
def cast_spelt(x, *, to):
    """No arithmetic: the same numbers in another dtype."""
    return _cast(x, SPELT_DTYPES.get(to, to.lower()))


@rule("Cast", since=6)
def cast(x, *, to, saturate=1, round_mode="up"):
    """No arithmetic: the same numbers in another dtype."""
    return _cast(x, dtype_numbered(to))


@rule("CastLike")
def cast_like(x, target_type, *, saturate=1, round_mode="up"):
    """No arithmetic: the same numbers in another dtype. Of the second input nothing is read."""
    return replace(_cast(x, target_type.dtype), reads=(x.size, 0), not_learnable=(1,))


def _cast(x: Tensor, dtype: str) -> Cost:
    if dtype not in DTYPE_BITS:
        raise MalformedModel(f"{dtype!r} is no dtype; there are {', '.join(DTYPE_BITS)}")
    y = values.computed(lambda element: element, (x,), x.dims, dtype)
    return Cost((y,), in_place=reusable(y, x))


@rule("BitCast")
def bit_cast(x, *, to):
    """No arithmetic and no copy: the same bits under another dtype."""
    y = x.to(x.dims, dtype=dtype_numbered(to))
    if DTYPE_BITS[y.dtype] != DTYPE_BITS[x.dtype]:
        raise MalformedModel(f"{x.dtype} and {y.dtype} differ in width; BitCast needs the same")
    return Cost((y,), view_of=0)


@rule("Dropout")
def dropout_with_mask_like_data(data, *, ratio=0.5, is_test=0, consumed_inputs=None):
    """No arithmetic and no copy: inference leaves the data as it is."""
    return Cost((data, data.to(data.dims)), view_of=0)


@rule("Dropout", since=10)
def dropout_at_inference(data, *, ratio=0.5):
    """No arithmetic and no copy: inference leaves the data as it is."""
    return Cost((data, data.to(data.dims, dtype="bool")), view_of=0)


@rule("Dropout", since=12)
def dropout(data, ratio=None, training_mode=None, *, seed=None):
    """No arithmetic and no copy at inference; 2 per element in training mode: compare, multiply."""
    mask = data.to(data.dims, dtype="bool")
    if training_mode is None or training_mode.value == (0,):
        return Cost((data, mask), view_of=0, not_learnable=(1, 2))
    y = data.to(data.dims)
    return Cost((y, mask), other_flops=2 * y.size, in_place=reusable(y, data), not_learnable=(1, 2))
