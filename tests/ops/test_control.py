"""If, Loop and Scan: outputs against ONNX Runtime, counts against loops that are run by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from official import cases_of
from official import faults as official_faults
from one_node import executed

from costmodel.counts import count
from costmodel.dims import Dim, value_at
from costmodel.errors import MalformedModel
from costmodel.graph import Cost, Network
from costmodel.read.onnx import load

OFFICIAL = {
    name: case
    for name, case in cases_of("If", "Loop", "Scan").items()
    if all(info.type.HasField("tensor_type") for info in case.model.graph.output)
}


@pytest.mark.parametrize("constants", [False, True])
@pytest.mark.parametrize("name", sorted(OFFICIAL))
def test_official(name: str, constants: bool) -> None:
    assert official_faults(OFFICIAL[name], constants=constants) == []


def model(text: str, opset: int = 17) -> onnx.ModelProto:
    return onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["" : {opset}]>\n{text}')


def cost_of(network: Network, op: str) -> Cost:
    layer = next(layer for layer in network.layers if layer.op == op)
    assert layer.cost is not None, layer.problem
    return layer.cost


def agrees(text: str, feeds: dict[str, Any], sizes: dict[str, int], opset: int = 17) -> Network:
    """Load the model, run it, and compare every output's shape; a size may not be in the inputs."""
    proto = model(text, opset)
    network = load(proto)
    outputs = executed(proto, feeds)
    shapes = [tuple(value_at(extent, sizes) for extent in y.dims) for y in network.outputs.values()]
    assert shapes == [y.shape for y in outputs]
    return network


def zeros(*shape: int) -> Any:
    return np.zeros(shape, np.float32)


# -- If -----------------------------------------------------------------------------------------------------------

BRANCHES = """g (float[n, s, 16] x) => (float[n, s, 8] z)
<float[16, 8] a, float[16, 32] b, float[32, 8] c, int64[1] limit = {32}> {
  shape = Shape <start: int = 1, end: int = 2> (x)
  long = Greater (shape, limit)
  cond = Squeeze (long)
  z = If (cond) <
    then_branch = then () => (float[n, s, 8] t) { t = MatMul (x, a) },
    else_branch = els () => (float[n, s, 8] e) { h = MatMul (x, b) e = MatMul (h, c) }
  >
}"""


@pytest.mark.parametrize("length", [8, 32, 33, 100])
def test_a_condition_on_sizes_counts_the_branch_that_is_taken(length: int) -> None:
    stored = {"a": zeros(16, 8), "b": zeros(16, 32), "c": zeros(32, 8)}
    network = load(_with(BRANCHES, stored))
    assert [y.shape for y in network.outputs.values()] == [(Dim.size("n"), Dim.size("s"), 8)]
    macs = 2 * length * (16 * 8 if length > 32 else 16 * 32 + 32 * 8)
    assert value_at(cost_of(network, "If").macs, {"n": 2, "s": length}) == macs
    times = [value_at(body.times, {"s": length}) for body in cost_of(network, "If").bodies]
    assert times == ([1, 0] if length > 32 else [0, 1])


def _with(text: str, stored: dict[str, Any]) -> onnx.ModelProto:
    """The model with stored tensors in place of the declared ones."""
    for name, array in stored.items():
        start = text.index(f"float{list(array.shape)} {name}")
        text = text[:start] + text[start:].replace(f"float{list(array.shape)} {name}", "", 1)
    proto = model(text.replace("<, , , ", "<"))
    proto.graph.initializer.extend(onnx.numpy_helper.from_array(array, name) for name, array in stored.items())
    return proto


def test_a_known_condition_takes_one_branch() -> None:
    network = load(_with(BRANCHES, {"a": zeros(16, 8), "b": zeros(16, 32), "c": zeros(32, 8)}), sizes={"x": (2, 40, 16)})
    bodies = cost_of(network, "If").bodies
    assert [(body.name, body.times, body.macs) for body in bodies] == [("then_branch", 1, 2 * 40 * 16 * 8)]
    assert [layer.name for layer in bodies[0].layers] == ["If_3/then_branch/MatMul_0"]
    assert bodies[0].captures == ("x", "a")


def test_where_the_data_decide_the_dearer_branch_counts() -> None:
    text = """g (float[n, 16] x, bool flag) => (float[n, k] z) {
      z = If (flag) <
        then_branch = then () => (float[n, 16] t) { t = Relu (x) },
        else_branch = els () => (float[n, m] e) { u = Transpose (x) v = MatMul (x, u) e = Sqrt (v) }
      >
    }"""
    network = agrees(text, {"x": zeros(5, 16), "flag": np.array(False)}, {"n": 5, "If_0.output0_axis1": 5})
    cost = cost_of(network, "If")
    n = Dim.size("n")
    assert cost.macs == 16 * n * n
    assert [(body.name, body.times) for body in cost.bodies] == [("then_branch", 0), ("else_branch", 1)]
    assert cost.bounds == (("If_0.output0_axis1", Dim.parse("max(16, n)")),)


SQUEEZED = """g (float[n, s] x) => (float z) <int64[1] one = {1}, int64[1] axis = {1}> {
  shape = Shape <start: int = 1, end: int = 2> (x)
  single = Equal (shape, one)
  cond = Squeeze (single)
  y = If (cond) <
    then_branch = then () => (t) { t = Squeeze (x, axis) },
    else_branch = els () => (e) { e = Identity (x) }
  >
  z = FOLLOWS
}"""


def test_branches_of_different_rank_are_followed_as_large_sizes_go() -> None:
    network = load(model(SQUEEZED.replace("FOLLOWS", "Relu (y)")))
    assert network.outputs["z"].shape == (Dim.size("n"), Dim.size("s"))
    assert "the condition of 'If_3' does not hold: its branches differ in rank" in network.warnings[0]
    assert load(model(SQUEEZED.replace("FOLLOWS", "Relu (y)")), sizes={"x": (4, 1)}).outputs["z"].shape == (4,)


def test_a_contradiction_behind_the_branches_tells_which_one_is_meant() -> None:
    text = SQUEEZED.replace("FOLLOWS", "Transpose <perm: ints = [0]> (y)")
    network = load(model(text))
    assert network.outputs["z"].shape == (Dim.size("n"),)
    assert "the condition of 'If_3' holds" in network.warnings[0]


def test_a_contradiction_on_every_way_is_reported_as_on_the_first() -> None:
    with pytest.raises(MalformedModel, match=r"Transpose \(node 'Transpose_4'\)"):
        load(model(SQUEEZED.replace("FOLLOWS", "Transpose <perm: ints = [0, 1, 2]> (y)")))


@pytest.mark.parametrize(("flag", "shape"), [(1, (2, 4)), (0, (4, 4))])
def test_names_of_a_body_hide_those_around(flag: int, shape: tuple[int, ...]) -> None:
    text = """g (float[4, 4] x) => (float[a, b] z) <bool flag = {FLAG}> {
      t = Relu (x)
      z = If (flag) <
        then_branch = then () => (float[2, 4] r) { t, u = Split <axis = 0> (x) r = Identity (t) },
        else_branch = els () => (float[4, 4] r) { r = Identity (t) }
      >
    }"""
    assert load(model(text.replace("FLAG", str(flag)))).outputs["z"].shape == shape


# -- Loop ---------------------------------------------------------------------------------------------------------

COUNTED = """g (float[n, 32] x, int64 trip) => (float[n, 32] y, float[t, n] ys)
<float[32, 32] w = {WEIGHTS}, bool go = {1}> {
  y, ys = Loop (trip, go, x) <
    body = b (int64 i, bool cond, float[n, 32] h) => (bool cond_out, float[n, 32] h_out, float[n] sums) {
      cond_out = Identity (cond)
      m = MatMul (h, w)
      h_out = Tanh (m)
      sums = ReduceMean <axes = [1], keepdims = 0> (h_out)
    }
  >
}""".replace("WEIGHTS", ", ".join(["0"] * 1024))


def test_the_number_of_trips_bears_the_name_of_the_input_that_says_it() -> None:
    network = agrees(COUNTED, {"x": zeros(3, 32), "trip": np.array(5)}, {"n": 3, "trip": 5})
    cost = cost_of(network, "Loop")
    macs = sum(3 * 32 * 32 for _ in range(5))
    assert value_at(cost.macs, {"n": 3, "trip": 5}) == macs
    assert list(network.sizes) == ["n", "trip"]
    assert count(network).at(n=3, trip=5).macs == macs


def test_a_constant_number_of_trips() -> None:
    text = COUNTED.replace(", int64 trip)", ")").replace("<float[32", "<int64 trip = {7}, float[32")
    network = agrees(text, {"x": zeros(3, 32)}, {"n": 3})
    assert value_at(cost_of(network, "Loop").macs, {"n": 3}) == 7 * 3 * 32 * 32
    assert [body.times for body in cost_of(network, "Loop").bodies] == [7]


@pytest.mark.parametrize("trips", [0, 1, 6])
def test_a_cache_that_grows_by_a_row_in_every_trip_is_summed_exactly(trips: int) -> None:
    """Attention over a growing cache: the trip's number stands in the counts, and the sum over trips is closed."""
    text = """g (float[p, 16] cache, float[1, 16] q, int64 trip) => (float[c, 16] kept, float[1, 16] last) {
      kept, last = Loop (trip, , cache, q) <
        body = b (int64 i, bool cond, float[k, 16] c_in, float[1, 16] q_in)
        => (bool go, float[l, 16] c_out, float[1, 16] q_out) {
          go = Constant <value = bool {1}> ()
          c_out = Concat <axis = 0> (c_in, q_in)
          keys = Transpose (c_out)
          scores = MatMul (q_in, keys)
          q_out = MatMul (scores, c_out)
        }
      >
    }"""
    sizes = {"p": 3, "trip": trips}
    network = agrees(text, {"cache": zeros(3, 16), "q": zeros(1, 16), "trip": np.array(trips)}, sizes)
    macs, rows = 0, 3
    for _ in range(trips):
        rows += 1
        macs += rows * 16 + rows * 16
    assert network.outputs["kept"].shape == (Dim.size("p") + Dim.size("trip"), 16)
    assert value_at(cost_of(network, "Loop").macs, sizes) == macs
    run, = cost_of(network, "Loop").bodies
    assert value_at(run.in_last_run(run.macs), sizes) == (2 * 16 * rows if trips else 2 * 16 * 3)


def test_trips_that_no_rule_describes_are_followed_one_by_one() -> None:
    text = """g (float[1] x) => (float[k] y) <int64 trip = {4}> {
      y = Loop (trip, , x) <
        body = b (int64 i, bool cond, float[k] s) => (bool go, float[l] s_out) {
          go = Constant <value = bool {1}> ()
          s_out = Concat <axis = 0> (s, s)
        }
      >
    }"""
    network = agrees(text, {"x": zeros(1)}, {})
    bodies = cost_of(network, "Loop").bodies
    assert network.outputs["y"].shape == (16,)
    assert [body.name for body in bodies] == ["body_1", "body_2", "body_3", "body_4"]
    doubled = load(model(text.replace("float[1] x)", "float[1] x, int64 trip)").replace("<int64 trip = {4}>", "")))
    assert doubled.outputs["y"].shape == (Dim.size("Loop_0.state0_axis0"),)


def test_a_condition_on_data_makes_the_trips_a_size_of_its_own() -> None:
    text = """g (float[n, 8] x) => (float[n, 8] y, float[t, n, 8] ys) <int64 most = {10}, float limit = {4}, bool go = {1}> {
      y, ys = Loop (most, go, x) <
        body = b (int64 i, bool cond, float[n, 8] h) => (bool again, float[n, 8] h_out, float[n, 8] seen) {
          h_out = Exp (h)
          seen = Identity (h_out)
          sum = ReduceMax <keepdims = 0> (h_out)
          again = Less (sum, limit)
        }
      >
    }"""
    network = agrees(text, {"x": zeros(2, 8)}, {"n": 2, "Loop_0.trips": 3})
    cost = cost_of(network, "Loop")
    assert cost.bounds == (("Loop_0.trips", 10),)
    assert value_at(cost.other_flops, {"n": 2, "Loop_0.trips": 3}) == 3 * (2 * 16 + 1)  # Exp and ReduceMax per element, Less
    assert "Loop_0.trips" in network.sizes


def test_a_count_that_uses_the_number_of_the_trip() -> None:
    """Slices of 1, 2, ... rows: the extents are those of each trip."""
    text = """g (float[n, 8] x, float[8, 8] w, int64 trip) => (float f)
    <int64[1] zero = {0}, int64[1] one = {1}, float start = {0}> {
      f = Loop (trip, , start) <
        body = b (int64 i, bool cond, float a) => (bool go, float a_out) {
          go = Constant <value = bool {1}> ()
          ends = Unsqueeze (i, zero)
          end = Add (ends, one)
          rows = Slice (x, zero, end, zero)
          m = MatMul (rows, w)
          s = ReduceSum <keepdims = 0> (m)
          a_out = Add (a, s)
        }
      >
    }"""
    feeds = {"x": zeros(9, 8), "w": zeros(8, 8), "trip": np.array(5)}
    network = agrees(text, feeds, {"n": 9, "trip": 5})
    fixed = load(model(text.replace(", int64 trip)", ")").replace("<int64[1] zero", "<int64 trip = {5}, int64[1] zero")))
    assert value_at(cost_of(fixed, "Loop").macs, {"n": 9}) == sum(rows * 64 for rows in range(1, 6))
    assert value_at(cost_of(network, "Loop").macs, {"n": 9, "trip": 5}) >= sum(rows * 64 for rows in range(1, 6))


def test_loops_in_loops() -> None:
    text = """g (float[n, 8] x, int64 outer, int64 inner) => (float[n, 8] y) <float[8, 8] w = {WEIGHTS}> {
      y = Loop (outer, , x) <
        body = b (int64 i, bool c, float[n, 8] h) => (bool go, float[n, 8] h_out) {
          go = Constant <value = bool {1}> ()
          h_out = Loop (inner, , h) <
            body = d (int64 j, bool e, float[n, 8] k) => (bool on, float[n, 8] k_out) {
              on = Constant <value = bool {1}> ()
              k_out = MatMul (k, w)
            }
          >
        }
      >
    }""".replace("WEIGHTS", ", ".join(["0"] * 64))
    sizes = {"n": 2, "outer": 3, "inner": 4}
    network = agrees(text, {"x": zeros(2, 8), "outer": np.array(3), "inner": np.array(4)}, sizes)
    cost = cost_of(network, "Loop")
    assert value_at(cost.macs, sizes) == sum(2 * 64 for _ in range(3) for _ in range(4))
    assert count(network).at(sizes).macs == value_at(cost.macs, sizes)
    assert list(network.sizes) == ["n", "inner", "outer"]  # also those that stand in no shape
    assert cost.bodies[0].captures == ("inner", "w")


# -- Scan ---------------------------------------------------------------------------------------------------------

RECURRENCE = """g (float[n, 8] h0, float[s, n, 4] x) => (float[n, 8] h, float[s, n, 8] ys)
<float[4, 8] a = {A}, float[8, 8] r = {R}> {
  h, ys = Scan <num_scan_inputs = 1, body = b (float[n, 8] hi, float[n, 4] xi) => (float[n, 8] ho, float[n, 8] yo) {
    u = MatMul (xi, a)
    v = MatMul (hi, r)
    w = Add (u, v)
    ho = Tanh (w)
    yo = Identity (ho)
  }> (h0, x)
}""".replace("A}", ", ".join(["0"] * 32) + "}").replace("R}", ", ".join(["0"] * 64) + "}")


@pytest.mark.parametrize("opset", [9, 11, 17])
def test_a_scan_runs_once_per_element_of_its_axis(opset: int) -> None:
    sizes = {"n": 2, "s": 6}
    network = agrees(RECURRENCE, {"h0": zeros(2, 8), "x": zeros(6, 2, 4)}, sizes, opset)
    assert value_at(cost_of(network, "Scan").macs, sizes) == sum(2 * 4 * 8 + 2 * 8 * 8 for _ in range(6))


def test_scans_along_other_axes() -> None:
    text = RECURRENCE.replace("num_scan_inputs = 1", "num_scan_inputs = 1, scan_input_axes = [-1], scan_output_axes = [1]")
    text = text.replace("float[s, n, 4] x", "float[n, 4, s] x").replace("float[s, n, 8] ys", "float[n, s, 8] ys")
    network = agrees(text, {"h0": zeros(2, 8), "x": zeros(2, 4, 6)}, {"n": 2, "s": 6})
    assert network.outputs["ys"].shape == (Dim.size("n"), Dim.size("s"), 8)


def test_a_scan_of_opset_8_runs_for_every_sequence_of_the_batch() -> None:
    text = """g (float[n, 8] h0, float[n, s, 8] x) => (float[n, 8] h, float[n, s, 8] ys) {
      h, ys = Scan <num_scan_inputs = 1, body = b (float[8] hi, float[8] xi) => (float[8] ho, float[8] yo) {
        ho = Add (hi, xi)
        yo = Identity (ho)
      }> (, h0, x)
    }"""
    network = agrees(text, {"h0": zeros(2, 8), "x": zeros(2, 6, 8)}, {"n": 2, "s": 6}, 8)
    assert value_at(cost_of(network, "Scan").other_flops, {"n": 2, "s": 6}) == sum(8 for _ in range(2) for _ in range(6))


# -- what bodies leave out ----------------------------------------------------------------------------------------


def test_an_op_without_a_rule_inside_a_body_is_listed() -> None:
    text = """g (float[4] x, int64 trip) => (float[4] y) {
      y = Loop (trip, , x) <
        body = b (int64 i, bool cond, float[4] s) => (bool go, float[4] s_out) {
          go = Constant <value = bool {1}> ()
          s_out = com.example.Mystery (s)
        }
      >
    }"""
    proto = onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["" : 17, "com.example" : 1]>\n{text}')
    counts = count(load(proto))
    assert counts.is_lower_bound
    assert "Mystery (node 'Loop_0/body/Mystery_1'): no cost rule in domain 'com.example'" in counts.unsupported[0]


WRONG = [
    (
        "g (float[4] x, int64 trip) => (float[4] y) { y = Loop (trip, , x) <body = b () => () { }> }",
        "the body takes 0 inputs; it must take the trip's number and the condition",
    ),
    (
        """g (float[4] x, int64 trip) => (float[4] y) { y = Loop (trip, , x) <body = b (int64 i, bool c, float[4] s) =>
        (bool go, int64[4] t) { go = Identity (c) t = Cast <to = 7> (s) }> }""",
        "state0 goes into the body as float32 and comes back as int64",
    ),
    (
        """g (float[4] x, bool c) => (float[4] y) { y = If (c) <then_branch = t () => (float[4] a) { a = Relu (x) },
        else_branch = e () => (float[4] b) { b = Relu (nowhere) }> }""",
        "nothing produces its input 'nowhere'",
    ),
    (
        """g (float[4] x, bool c) => (y) { y = If (c) <then_branch = t () => (float[4] a) { a = Relu (x) },
        else_branch = e () => (int64[4] b) { b = Cast <to = 7> (x) }> }""",
        r"values of different types \(float32, int64\) stand in one place",
    ),
]


@pytest.mark.parametrize(("text", "message"), WRONG)
def test_messages(text: str, message: str) -> None:
    with pytest.raises(MalformedModel, match=message):
        load(model(text))
