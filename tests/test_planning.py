"""Live memory, against an allocator that runs random networks step by step, and against sums written out by hand."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path

import onnx
import pytest

from costmodel.build import Builder
from costmodel.dims import value_at
from costmodel.errors import InvalidChoice, UnknownSize
from costmodel.graph import Cost, Network, SequenceOf, Tensor
from costmodel.ops import registry
from costmodel.planning import Memory, memory
from costmodel.read.onnx import load
from costmodel.specs import zoo

VIEWS = {"Flatten", "Identity", "Dropout"}
IN_PLACE = {"Relu", "Sigmoid", "Softmax"}  # an addition could, but is none of the kernels that do
SCRATCH = 3  # times the input of the op below


@pytest.fixture(autouse=True)
def op_with_scratch(monkeypatch: pytest.MonkeyPatch) -> None:
    """An op that needs memory while it runs, for these tests alone."""
    monkeypatch.setitem(registry._RULES, ("test", "WithScratch"), [])

    @registry.rule("WithScratch", domain="test")
    def with_scratch(x):
        return Cost((x.to(x.dims),), scratch_bytes=SCRATCH * x.nbytes)


# -- random networks and an allocator that runs them ------------------------------------------------------------


def add_layer(b: Builder, x: str, peers: list[str], rng: random.Random) -> list[str]:
    """One more layer that reads x, and perhaps a tensor of its shape or several others; the tensors that it writes."""
    like = rng.choice([name for name in peers if b.shape(name) == b.shape(x)])
    kinds: list[Callable[[], tuple[str, ...]]] = [
        lambda: (b.relu(x),),
        lambda: (b.sigmoid(x),),
        lambda: (b.add(x, like),),
        lambda: (b.mul(like, x),),
        lambda: (b.flatten(x),),
        lambda: (b.op("Identity", x),),
        lambda: b.op_with_outputs("Dropout", x, outputs=2),
        lambda: (b.linear(x, rng.randint(1, 9)),),
        lambda: (b.concat(x, *rng.sample(peers, min(2, len(peers)))),),
        lambda: b.split(x, [1, b.channels(x) - 1]) if b.channels(x) > 1 else (b.softmax(x),),
        lambda: b.op_with_outputs("TopK", x, b.constant([1]), outputs=2),
        lambda: (b.op("WithScratch", x, domain="test"),),
    ]  # fmt: skip
    return list(rng.choice(kinds)())


def random_network(seed: int) -> Network:
    rng = random.Random(seed)
    b = Builder(f"random{seed}")
    floats = [b.input(f"x{i}", ("N", rng.randint(1, 9))) for i in range(rng.randint(1, 3))]
    for _ in range(rng.randint(1, 14)):
        written = add_layer(b, rng.choice(floats[-4:]), floats, rng)
        floats += [name for name in written if b.finish(name).outputs[name].dtype == "float32"]
    return b.finish(*dict.fromkeys(rng.choices(floats, k=rng.randint(1, 2))))


def simulate(network: Network, point: Mapping[str, int]) -> tuple[list[tuple[int, list[int]]], int]:
    """At each layer, the bytes alive and the sizes of the buffers held; and the bytes if no buffer were ever freed."""
    size = {name: value_at(tensor.nbytes, point) for name, tensor in network.tensors.items()}
    reads_left = Counter(name for layer in network.layers for name in set(layer.inputs))
    buffers: list[int] = []
    place_of: dict[str, int] = {}

    def place(name: str) -> None:
        place_of[name] = len(buffers)
        buffers.append(size[name])

    def is_done(name: str) -> bool:
        return not reads_left[name] and name not in network.outputs

    def may_overwrite(buffer: int) -> bool:
        """Not the caller's own memory, and nothing that anyone still wants."""
        return buffer >= len(network.inputs) and all(is_done(name) for name, at in place_of.items() if at == buffer)

    for name in network.inputs:
        place(name)
    steps, scratches = [], [0]
    for layer in network.layers:
        reads_left.subtract(set(layer.inputs))
        first, *others = layer.outputs
        read = [place_of[name] for name in layer.inputs if name in place_of]
        if layer.op in VIEWS:
            place_of[first] = read[0]
        elif layer.op in IN_PLACE and any(map(may_overwrite, read)):
            place_of[first] = next(filter(may_overwrite, read))
        else:
            place(first)
        for name in others:
            place(name)
        scratches.append(SCRATCH * size[layer.inputs[0]] if layer.op == "WithScratch" else 0)
        held = sorted((buffers[buffer] for buffer in set(place_of.values())), reverse=True)
        steps.append((sum(held) + scratches[-1], held))
        place_of = {name: buffer for name, buffer in place_of.items() if not is_done(name)}
    return steps, sum(buffers) + max(scratches)


@pytest.mark.parametrize("seed", range(150))
def test_equals_an_allocator_that_runs_the_network(seed: int) -> None:
    network = random_network(seed)
    found = memory(network)
    for n in (1, 2, 7):
        steps, everything = simulate(network, {"N": n})
        peak = max(alive for alive, _ in steps)
        at_peak = next(i for i, (alive, _) in enumerate(steps) if alive == peak)
        plan = found.at(N=n)
        assert [value_at(step, {"N": n}) for step in found.live_bytes] == [alive for alive, _ in steps]
        assert plan.peak_bytes == plan.lower_bound_bytes == peak == found.peak_bytes.at(N=n)
        assert plan.peak_bytes <= plan.arena_bytes
        assert [nbytes for _, nbytes in plan.holders] == steps[at_peak][1]
        assert plan.at_layer == network.layers[at_peak].name
        naive = memory(network, planner="naive")
        assert (naive.at(N=n).peak_bytes, naive.peak_bytes.at(N=n)) == (everything, everything)
        assert naive.at(N=n).lower_bound_bytes == peak <= everything


def test_random_networks_have_every_kind_of_layer() -> None:
    ops = Counter(layer.op for seed in range(150) for layer in random_network(seed).layers)
    assert min(ops[op] for op in (*VIEWS, *IN_PLACE, "Add", "Mul", "Split", "TopK", "Concat", "Gemm", "WithScratch")) > 20


# -- by hand ----------------------------------------------------------------------------------------------------


def plan_of(build: Callable[[Builder, str], tuple[str, ...]]) -> Memory:
    """The memory of a network over an input of N * 10 numbers: 40 bytes at N=1."""
    b = Builder("hand")
    return memory(b.finish(*build(b, b.input("x", ("N", 10)))))


def residual(b: Builder, x: str) -> tuple[str, ...]:
    y = b.linear(x, 10, name="y")
    return (b.add(b.relu(b.linear(y, 30, name="wide")), b.linear(y, 30, name="side"), name="sum"),)


def in_a_chain(b: Builder, x: str) -> tuple[str, ...]:
    return (b.sigmoid(b.relu(b.linear(x, 50, name="wide"))),)


def kept_for_later(b: Builder, x: str) -> tuple[str, ...]:
    wide = b.linear(x, 50, name="wide")
    return (b.add(b.relu(wide), wide),)


def through_a_view(b: Builder, x: str) -> tuple[str, ...]:
    view = b.flatten(b.linear(x, 50, name="wide"))
    return (b.sigmoid(b.relu(view)),)


def two_outputs(b: Builder, x: str) -> tuple[str, ...]:
    wide = b.linear(x, 50, name="wide")
    return wide, b.relu(wide, name="also")


HAND = {
    # wide 120 (relu overwrites it), side 120, and their sum 120, which overwrites neither
    "residual": (residual, 360, {"wide": 120, "side": 120, "sum": 120}, "sum"),
    "a chain works in one buffer, its input beside it": (in_a_chain, 240, {"x": 40, "wide": 200}, "wide"),
    "what is read again is not overwritten": (kept_for_later, 600, {"wide": 200, "relu1": 200, "add1": 200}, "add1"),
    "a view is overwritten with what it shows": (through_a_view, 240, {"x": 40, "wide": 200}, "wide"),
    "an output stays": (two_outputs, 400, {"wide": 200, "also": 200}, "also"),
    "an input is never overwritten": (lambda b, x: (b.relu(x, name="y"),), 80, {"x": 40, "y": 40}, "y"),
    "an input's view neither": (lambda b, x: (b.relu(b.flatten(x), name="y"),), 80, {"x": 40, "y": 40}, "y"),
}  # fmt: skip


@pytest.mark.parametrize("case", HAND)
def test_by_hand(case: str) -> None:
    build, peak, holders, at_layer = HAND[case]
    found = plan_of(build)
    plan = found.at(N=1)
    assert (plan.peak_bytes, dict(plan.holders), plan.at_layer) == (peak, holders, at_layer)
    assert list(plan.holders) == sorted(plan.holders, key=lambda holder: -holder[1])
    assert plan.order == tuple(layer.name for layer in found.network.layers)
    assert found.at(N=16).peak_bytes == 16 * peak


def test_the_peak_moves_with_the_sizes() -> None:
    """A matrix of S * S scores against S * 64 features: the scores win from 64 tokens on."""
    b = Builder("scores")
    x = b.input("x", (1, "S", 16))
    scores = b.op("MatMul", x, b.transpose(x, (0, 2, 1)), name="scores")
    b.output(b.op("ReduceMax", scores, b.constant([1, 2]), name="best"))
    b.output(b.op("ReduceMax", b.linear(x, 64, bias=False, name="wide"), b.constant([1, 2]), name="most"))
    found = memory(b.finish())
    assert [found.at(S=s).at_layer for s in (8, 32, 200)] == ["wide", "wide", "scores"]
    for s in (8, 32, 200):
        # x and its transpose with the scores; x and the best score with the wide features
        assert found.peak_bytes.at(S=s) == max(4 * (32 * s + s * s), 4 * (16 * s + 64 * s + 1))


def test_constants_are_no_activations() -> None:
    b = Builder("prepared")
    x = b.input("x", ("N", 10))
    b.weight("w", (20, 10))
    prepared = b.transpose("w", (1, 0))  # once, at load
    assert memory(b.finish(b.op("MatMul", x, prepared))).peak_bytes.at(N=1) == 40 + 80


def test_a_view_of_a_constant_takes_no_memory() -> None:
    b = Builder("shaped")
    x = b.input("x", ("N", 10))
    b.weight("w", (10, 20))
    shape = b.op("Concat", b.constant([-1]), b.op("Shape", b.linear(x, 20), start=1), axis=0)
    viewed = b.op("Reshape", "w", shape)  # runs, as its shape is worked out from the input
    found = memory(b.finish(b.op("MatMul", x, viewed, name="y")))
    assert dict(found.at(N=1).holders).keys().isdisjoint({viewed})


def test_a_sequence_takes_the_memory_of_its_elements() -> None:
    b = Builder("sequence")
    x = b.input("x", ("N", 10))
    parts = b.op("SplitToSequence", x, axis=1, name="parts")
    assert isinstance(b.finish(parts).tensors[parts], SequenceOf)
    assert memory(b.finish(parts)).at(N=3).holders == (("x", 120), ("parts", 120))


def with_branches(layers: str, taken: str) -> Memory:
    """A network over N * 4 numbers whose last layer is a condition with two branches of one number each."""
    then, otherwise = (f"{name} () => (float[1, 1] {name}) {{ {body} }}" for name, body in (("y", taken), ("z", OTHER)))
    graph = f"main (float[N, 4] x, bool c) => (float[1, 1] out) {{ {layers} }}"
    model = onnx.parser.parse_model(f'<ir_version: 9, opset_import: ["" : 17]> {graph}')
    branches = {"then_branch": onnx.parser.parse_graph(then), "else_branch": onnx.parser.parse_graph(otherwise)}
    model.graph.node.append(onnx.helper.make_node("If", ["c"], ["out"], "choice", **branches))
    return memory(load(model))


OTHER = "z = ReduceMax (s)"


def test_what_a_branch_captures_stays_until_the_branch() -> None:
    """The sigmoid must not overwrite r, of 16 N bytes like s and like their sum inside the branch."""
    plan = with_branches("r = Relu (x) s = Sigmoid (r)", "u = Add (r, s) y = ReduceMax (u)").at(N=5)
    assert plan.holders == (("r", 80), ("s", 80), ("out", 4), ("c", 1))
    assert (plan.at_layer, plan.peak_bytes) == ("choice", 80 + 80 + 4 + 1 + 80)


def test_what_a_branch_holds_inside_counts_while_it_runs() -> None:
    """Of s, 16 N bytes, three side by side are 48 N, which live inside the branch alone; its result is the layer's."""
    found = with_branches("s = Relu (x)", "w = Concat<axis = 1> (s, s, s) v = Sigmoid (w) y = ReduceMax (v)")
    assert found.at(N=5).holders == (("s", 80), ("out", 4), ("c", 1))
    assert found.peak_bytes.at(N=5) == found.at(N=5).peak_bytes == 80 + 4 + 1 + 240


def test_a_network_without_layers() -> None:
    tensor = Tensor("float32", ("N", 4))
    b = Builder("empty")
    found = memory(b.finish(b.input("x", tensor.dims)))
    plan = found.at(N=2)
    assert plan.peak_bytes == found.peak_bytes.at(N=2) == plan.lower_bound_bytes == 32
    assert (plan.holders, plan.at_layer, plan.order) == ((("x", 32),), "", ())


def test_an_op_without_a_rule_takes_none() -> None:
    b = Builder("unknown")
    y = b.op("Warp", b.input("x", (1, 10)))
    assert memory(b.finish(y)).at().holders == (("x", 40),)


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v2", "squeezenet1_1", "shufflenet_v2_x1_0"])
def test_networks_of_the_zoo_scale_with_the_batch(name: str) -> None:
    network = zoo(name)
    found = memory(network)
    point = network.bind({})
    one, eight = (found.at(dict(point) | {"N": n}) for n in (1, 8))
    assert one.peak_bytes == found.peak_bytes.at(point)
    assert eight.peak_bytes == 8 * one.peak_bytes
    assert sum(nbytes for _, nbytes in one.holders) == one.peak_bytes
    assert one.peak_bytes <= memory(network, planner="naive").at(point).peak_bytes


def test_a_size_that_depends_on_data_is_taken_at_its_bound() -> None:
    b = Builder("found")
    found = memory(b.finish(b.op("NonZero", b.input("x", ("N", 16)), name="where")))
    plan = found.at(N=2)
    assert plan.assumed == {"where.nonzero": 32}
    assert plan.peak_bytes == 2 * 16 * 4 + 2 * 32 * 8  # x, and two indices of 8 bytes for each element that it may find
    given = found.at({"N": 2, "where.nonzero": 5})
    assert (given.peak_bytes, given.assumed) == (2 * 16 * 4 + 2 * 5 * 8, {})
    with pytest.raises(UnknownSize, match="leaves N"):
        found.at()


def test_known_values_of_mobilenet_v2(shared: Path) -> None:
    """Pisarchyk and Lee (arXiv 2001.03288): 26 MB where no buffers are shared; MCUNet: int8 needs 1,372 KB at one layer,
    the wide one before the first depthwise convolution with stride 2, which works in place.
    """
    exported = load(shared / "models" / "mobilenet_v2.onnx")
    unshared = memory(exported, planner="naive").at(batch=1)
    assert round((unshared.peak_bytes - unshared.input_bytes) / 2**20) == 26
    assert memory(zoo("mobilenet_v2", precision="int8"), planner="tinyengine").at().peak_bytes == 1372 * 1024


def test_faults() -> None:
    b = Builder("fault")
    network = b.finish(b.relu(b.input("x", ("N", 4))))
    with pytest.raises(InvalidChoice, match=r"there is no planner 'naif'; did you mean 'naive'?"):
        memory(network, planner="naif")
    with pytest.raises(InvalidChoice, match="there is no order 'fastest'; did you mean 'best'"):
        memory(network, order="fastest")
    with pytest.raises(UnknownSize, match="leaves N open"):
        memory(network).at()
    with pytest.raises(UnknownSize, match="no size 'M'"):
        memory(network).at(M=1)
