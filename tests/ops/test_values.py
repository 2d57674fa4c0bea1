"""Arithmetic on shape-carrying elements against numpy at numbers, and chains of exporters against ONNX Runtime."""

from __future__ import annotations

import math
import operator
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from official import at, run

from costmodel.dims import Dim
from costmodel.graph import Tensor
from costmodel.ops import values
from costmodel.ops.values import Ratio, simplest, stored

H, W = Dim.size("H"), Dim.size("W")


def bound(element: Any, **sizes: int) -> Any:
    """The element at one point, as an exact number."""
    if isinstance(element, Ratio):
        return Fraction(at(element.num, sizes), at(element.den, sizes))
    return at(element, sizes)


# quarters keep float32 exact, so that numpy is an oracle for every step
STEPS = {
    "add": (values.add, np.add),
    "subtract": (values.subtract, np.subtract),
    "multiply": (values.multiply, np.multiply),
    "divide": (values.divide, np.divide),
    "largest": (values.largest, np.maximum),
    "smallest": (values.smallest, np.minimum),
}
ROUNDINGS = {"floor": (values.floor, np.floor), "ceil": (values.ceil, np.ceil), "absolute": (values.absolute, np.abs)}
chains = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(sorted(STEPS)), st.sampled_from([0.25, 0.5, 1.0, 2.0, 3.0, 4.0])),
        st.tuples(st.sampled_from(sorted(ROUNDINGS)), st.none()),
    ),
    min_size=1,
    max_size=5,
)


@given(chains, st.integers(1, 300))
def test_chains_of_float_arithmetic(steps: list[tuple[str, Any]], size: int) -> None:
    element, number = H, np.float64(size)
    for name, constant in steps:
        if constant is None:
            of_elements, of_numbers = ROUNDINGS[name]
            element, number = stored(of_elements(element), "float32"), of_numbers(number)
        else:
            if name == "divide" and constant == 3.0:
                continue  # not exact in binary
            of_elements, of_numbers = STEPS[name]
            element, number = stored(of_elements(element, constant), "float32"), of_numbers(number, constant)
    assert element is not None
    assert bound(element, H=size) == Fraction(float(number))


@given(st.integers(1, 50), st.integers(1, 50), st.integers(1, 9), st.integers(1, 9))
def test_integers_with_two_sizes(h: int, w: int, a: int, b: int) -> None:
    rows = [
        (values.add, lambda x, y: x + y),
        (values.multiply, lambda x, y: x * y),
        (values.divide_whole, lambda x, y: x // y),
        (values.modulo, lambda x, y: x % y),
        (values.largest, max),
        (values.smallest, min),
    ]
    for of_elements, of_numbers in rows:
        assert bound(of_elements(a * H + b, W), H=h, W=w) == of_numbers(a * h + b, w)
        assert bound(of_elements(W, b), H=h, W=w) == of_numbers(w, b)


@given(st.integers(-9, 9), st.integers(-9, 9))
def test_integer_division_goes_towards_zero(a: int, b: int) -> None:
    assert values.divide_whole(a, b) == (None if b == 0 else int(a / b))


@given(st.integers(-60, 60), st.sampled_from([1, 3, 5, 7]))
def test_rounding_an_odd_quotient(shift: int, divisor: int) -> None:
    rounded = values.round_even(values.divide(H + 100 + shift, divisor))
    assert [bound(rounded, H=h) for h in range(1, 20)] == [round(Fraction(h + 100 + shift, divisor)) for h in range(1, 20)]


@pytest.mark.parametrize(
    ("function", "elements", "expected"),
    [
        (values.round_even, (values.divide(H, 2),), None),
        (values.divide, (H, H - W), None),  # the divisor may be 0
        (values.divide, (H * H, H), H),
        (values.divide, (64.0, H), Ratio(64, H)),
        (values.multiply, (Ratio(64, H), H), 64),
        (values.add, (None, 1), None),
        (values.add, (H, math.inf), None),
        (values.power, (H, 2), H * H),
        (values.power, (H, 0.5), None),
        (values.power, (2, 10), 1024),
        (values.power, (10**9, 10**9), None),
        (values.power, (-8.0, 0.5), None),
        (values.square_root, (H,), None),
        (values.square_root, (9.0,), 3.0),
        (values.shift_left, (1, 10**12), 0),
        (values.sign, (H,), 1),
        (values.sign, (-2.5,), -1),
        (values.largest, (Ratio(H, 2), Ratio(H, 3)), Ratio(H, 2)),
        (values.where, (1, H, W), H),
        (values.where, (None, H, H), H),
        (values.where, (None, H, W), None),
        (values.and_, (0, None), 0),
        (values.and_, (1, None), None),
        (values.or_, (1, None), 1),
        (values.xor_, (1, 0), 1),
        (values.clip, (H, 1, 512), Dim.parse("min(512, H)")),
        (values.mean, (H, W), Ratio(H + W, 2)),
    ],
)
def test_results(function: Any, elements: Any, expected: Any) -> None:
    assert function(*elements) == expected


COMPARISONS = {
    values.less: operator.lt,
    values.less_or_equal: operator.le,
    values.equal: operator.eq,
    values.greater_or_equal: operator.ge,
    values.greater: operator.gt,
}


@pytest.mark.parametrize(
    ("a", "b", "orders"),
    # whether a < b, a <= b, a == b, a >= b, a > b: settled at once where it is so at every size
    [
        (H, H, (0, 1, 1, 1, 0)),
        (H, H + 1, (1, 1, 0, 0, 0)),
        (H, 0, (0, 0, 0, 1, 1)),
        (2, 3.0, (1, 1, 0, 0, 0)),
        (Ratio(H, 2), H, (1, 1, 0, 0, 0)),
        (math.nan, 1.0, (None,) * 5),
        (H, math.inf, (None,) * 5),
        (None, 1, (None,) * 5),
    ],
)
def test_comparisons(a: Any, b: Any, orders: tuple[Any, ...]) -> None:
    assert tuple(function(a, b) for function in COMPARISONS) == orders


@given(st.integers(1, 12), st.integers(1, 12))
def test_comparisons_that_depend_on_sizes_are_counts(h: int, w: int) -> None:
    pairs = [(H, 6), (H, W), (Ratio(H, 2), W), (H * W, 20), (values.divide(H, 4), 1.5)]
    for a, b in pairs:
        left, right = bound(a, H=h, W=w), bound(b, H=h, W=w)
        for of_elements, of_numbers in COMPARISONS.items():
            assert bound(of_elements(a, b), H=h, W=w) == of_numbers(left, right)


@given(st.integers(1, 12), st.integers(1, 12))
def test_logic_and_choice_with_conditions_on_sizes(h: int, w: int) -> None:
    tall, square = values.greater(H, 6), values.equal(H, W)
    for of_elements, of_numbers in [(values.and_, min), (values.or_, max), (values.xor_, operator.ne)]:
        assert bound(of_elements(tall, square), H=h, W=w) == of_numbers(h > 6, h == w)
    assert bound(values.not_(tall), H=h) == (not h > 6)
    assert bound(stored(tall, "bool"), H=h) == bound(stored(tall, "int64"), H=h) == (h > 6)
    assert bound(values.where(tall, Ratio(H, 2), W), H=h, W=w) == (Fraction(h, 2) if h > 6 else w)
    assert bound(values.sign(H - W), H=h, W=w) == np.sign(h - w)


@given(st.floats(width=32, allow_nan=False, allow_infinity=False))
def test_the_simplest_fraction_is_the_same_float(number: float) -> None:
    assert np.float32(float(simplest(number))) == np.float32(number)


@given(st.integers(-1000, 1000), st.integers(1, 1000))
def test_a_quotient_comes_back_from_its_float(num: int, den: int) -> None:
    assert simplest(float(np.float32(num) / np.float32(den))) == Fraction(num, den)


@pytest.mark.parametrize("dtype", ["int64", "int32", "int8", "uint8", "uint16", "bool", "float32", "float64", "float16"])
@given(st.integers(-300, 300))
def test_storing_an_integer_is_numpys_cast(dtype: str, number: int) -> None:
    assert stored(number, dtype) == np.array(number, np.int64).astype(dtype).item()


@given(st.floats(-120, 120))
def test_storing_a_float_cuts_it_off(number: float) -> None:
    assert stored(number, "int8") == np.array(number).astype(np.int8).item()


@pytest.mark.parametrize(
    ("element", "dtype", "expected"),
    [
        (Ratio(H, 2), "int64", H // 2),
        (values.divide(0 - H, 2), "int64", -(H // 2)),  # towards 0
        (Ratio(H, 2), "float32", Ratio(H, 2)),
        (H, "bool", 1),
        (H - 1, "bool", Dim.parse("min(1, H - 1)")),
        (300.5, "uint8", None),
        (math.nan, "int64", None),
        (1e39, "float32", math.inf),
        (-1e39, "float32", -math.inf),
        ("a", "string", "a"),
        ("a", "float32", None),
        (1.5, "bfloat16", None),
        (None, "int64", None),
    ],
)
def test_storing(element: Any, dtype: str, expected: Any) -> None:
    assert stored(element, dtype) == expected


# -- chains as exporters write them -------------------------------------------------------------------------------


def _chain(start: Tensor, steps: list[tuple[Any, ...]]) -> Tensor:
    """Each step is (op, further inputs, attributes)."""
    tensor = start
    for op, others, attributes in steps:
        tensor = run(op, tensor, *others, opset=17, **attributes).outputs[0]
    return tensor


def scalar(value: Any, dtype: str = "float32") -> Tensor:
    number = float(np.dtype(dtype).type(value)) if dtype.startswith("float") else value
    return Tensor(dtype, (), (number,), constant=True)


TO_FLOAT, TO_INT = ("Cast", (), {"to": 1}), ("Cast", (), {"to": 7})
HEIGHT = Tensor("float32", (), (H,))
EXPORTED = {
    "half, as F.interpolate writes it": ([TO_FLOAT, ("Mul", (scalar(0.5),), {}), ("Floor", (), {}), TO_INT], "H//2"),
    "times 4/3": ([TO_FLOAT, ("Mul", (scalar(4 / 3),), {}), ("Floor", (), {}), TO_INT], "4*H//3"),
    "padded to 32": (
        [TO_FLOAT, ("Div", (scalar(32.0),), {}), ("Ceil", (), {}), ("Mul", (scalar(32.0),), {}), TO_INT],
        "(H + 31)//32*32",
    ),
    "divided in integers": ([("Div", (scalar(2, "int64"),), {}), ("Sub", (scalar(1, "int64"),), {})], "H//2 - 1"),
    "the rest": ([("Mod", (scalar(8, "int64"),), {})], "H - H//8*8"),
    "at most 512": ([("Min", (scalar(512, "int64"),), {})], "min(H, 512)"),
    "clipped": ([("Clip", (scalar(4, "int64"), scalar(512, "int64")), {})], "min(max(H, 4), 512)"),
    "the scale to 64, then the size again": (
        [TO_FLOAT, ("Reciprocal", (), {}), ("Mul", (scalar(64.0),), {}), ("Mul", (HEIGHT,), {}), TO_INT],
        "64",
    ),
}


@pytest.mark.parametrize(("steps", "expected"), EXPORTED.values(), ids=EXPORTED)
def test_chains_of_exporters_stay_symbolic(steps: list[tuple[Any, ...]], expected: str) -> None:
    found = _chain(Tensor("int64", (), (H,)), steps).value
    assert found is not None
    assert [bound(found[0], H=h) for h in range(1, 200)] == [at(Dim.parse(expected), {"H": h}) for h in range(1, 200)]


@pytest.mark.parametrize("scale", [0.1, 0.3, 0.7, 1 / 3, 1.1, 1.3, 2.5])
def test_known_numbers_are_rounded_as_float32(scale: float) -> None:
    steps = [TO_FLOAT, ("Mul", (scalar(scale),), {}), ("Floor", (), {}), TO_INT]
    found = [_chain(Tensor("int64", (), (h,)), steps).value for h in range(1, 400)]
    assert found == [(int(np.floor(np.float32(h) * np.float32(scale))),) for h in range(1, 400)]


@pytest.mark.parametrize("scale", ["1/10", "3/10", "7/10", "1/3", "11/10", "13/10", "5/2"])
def test_open_sizes_take_the_scale_as_it_was_meant(scale: str) -> None:
    """A float32 of 0.7 stands for 7/10; a runtime may get 1 less where 7/10 gives a whole number that float32 misses."""
    meant = Fraction(scale)
    steps = [TO_FLOAT, ("Mul", (scalar(float(meant)),), {}), ("Floor", (), {}), TO_INT]
    found = _chain(Tensor("int64", (), (H,)), steps).value
    assert found is not None
    for h in range(1, 400):
        executed = int(np.floor(np.float32(h) * np.float32(float(meant))))
        assert bound(found[0], H=h) == math.floor(meant * h)
        assert executed in {math.floor(meant * h), math.ceil(meant * h) - 1}


# -- tensors ------------------------------------------------------------------------------------------------------


@given(st.lists(st.integers(1, 3), max_size=3), st.data())
def test_broadcasting_is_numpys(shape: list[int], data: Any) -> None:
    other = [data.draw(st.sampled_from([1, extent])) for extent in shape[data.draw(st.integers(0, len(shape))) :]]
    a, b = (np.arange(np.prod(extents, dtype=int)).reshape(extents) for extents in (shape, other))
    tensors = [Tensor("int64", x.shape, tuple(x.ravel().tolist())) for x in (a, b)]
    assert run("Add", *tensors).outputs[0].value == tuple((a + b).ravel().tolist())


def test_unknown_elements_stay_unknown() -> None:
    partly = Tensor("int64", (3,), (H, None, 2))
    assert run("Mul", partly, scalar(2, "int64")).outputs[0].value == (2 * H, None, 4)
    assert run("Mul", Tensor("int64", (3,)), scalar(2, "int64")).outputs[0].value is None


def test_long_tensors_are_data() -> None:
    long = Tensor("int64", (2000,))
    assert run("Add", long, scalar(1, "int64")).outputs[0].value is None


@pytest.mark.parametrize("op", ["ReduceSum", "ReduceProd", "ReduceMax", "ReduceMin"])
@pytest.mark.parametrize("axes", [(0,), (1,), (0, 2), (-1,), (2, 0, 1)])
def test_reductions_of_values_are_numpys(op: str, axes: tuple[int, ...]) -> None:
    array = np.arange(1, 13).reshape(2, 3, 2).astype(np.int64)
    x = Tensor("int64", array.shape, tuple(array.ravel().tolist()))
    found = run(op, x, Tensor("int64", (len(axes),), axes), opset=18).outputs[0]
    numpys = getattr(np, {"ReduceSum": "sum", "ReduceProd": "prod", "ReduceMax": "max", "ReduceMin": "min"}[op])
    expected = numpys(array, axis=tuple(axis % 3 for axis in axes), keepdims=True)
    assert (found.dims, found.value) == (expected.shape, tuple(expected.ravel().tolist()))


def test_the_number_of_elements_of_a_shape() -> None:
    shape = Tensor("int64", (4,), (1, 3, H, W))
    assert run("ReduceProd", shape, keepdims=0).outputs[0].value == (3 * H * W,)
    assert run("ReduceProd", Tensor("int64", (0,), ()), keepdims=0).outputs[0].value == (1,)


@pytest.mark.parametrize("exclusive", [0, 1])
@pytest.mark.parametrize("reverse", [0, 1])
def test_running_sums_of_sizes(exclusive: int, reverse: int) -> None:
    x = Tensor("int64", (2, 3), (H, W, 1, 2, 3, 4))
    found = run("CumSum", x, scalar(1, "int64"), exclusive=exclusive, reverse=reverse).outputs[0].value
    assert found is not None
    array = np.array([[7, 5, 1], [2, 3, 4]])
    array = array[:, ::-1] if reverse else array
    sums = np.cumsum(array, axis=1) - (array if exclusive else 0)
    expected = (sums[:, ::-1] if reverse else sums).ravel().tolist()
    assert [bound(element, H=7, W=5) for element in found] == expected
