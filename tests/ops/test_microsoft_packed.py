"""ONNX Runtime's ops on packed sequences, packed weights and selected positions, and on channels in blocks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from one_node import Stored, executed, faults, floats, halves, ids, layer_of, model_of, opened, stored, weights
from onnx import helper, numpy_helper
from onnxruntime.capi import onnxruntime_pybind11_state as runtime

from costmodel.counts import count
from costmodel.dims import value_at
from costmodel.read.onnx import load

DOMAIN = "com.microsoft"
OFFSETS = stored([0, 3, 7], np.int32)  # two sequences, of 3 and 4 tokens
Q4_0, Q4_0_BYTES = 2, 18  # a packed format: 32 numbers in 18 bytes


def small(*shape: int, dtype: Any = np.uint8) -> Any:
    return ids(*shape, below=100, dtype=dtype)


def bytes_of(*shape: int) -> Stored:
    return Stored(small(*shape))


def counters(*shape: int) -> Any:
    return ids(*shape, dtype=np.int32)


# op, inputs, outputs and attributes
CASES: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = [
    (
        "GatedDeltaNet",
        (floats(7, 2, 4), floats(7, 2, 4), floats(7, 6, 5), OFFSETS, floats(7, 6), floats(7, 6)),
        {"qk_l2_norm": 1, "outputs": 2},
    ),
    (
        "GatedDeltaNet",
        (floats(2, 3, 2, 4), floats(2, 3, 2, 4), floats(2, 3, 2, 5), None, floats(2, 3, 2, 4), None, floats(2, 2, 5, 4)),
        {"update_rule": "gated", "outputs": 2},
    ),
    (
        "GatedDeltaNet",
        (floats(6, 46), None, None, None, floats(6, 6), floats(6, 6), floats(2, 6, 5, 4), weights(6), weights(6)),
        {"gate_activation": "softplus", "beta_activation": "sigmoid", "qk_l2_norm": 1, "outputs": 2},
    ),
    (
        "GatedDeltaNet",
        (floats(7, 2, 4), floats(7, 2, 4), floats(7, 6, 5), OFFSETS, floats(7, 6), floats(7, 6), floats(2, 6, 5, 4), None,
         None, stored([1, 2], np.int32)),
        {"qk_l2_norm": 1, "state_update_capacity": 3, "outputs": 3},
    ),
    ("GatherPacked", (bytes_of(9, 2 * Q4_0_BYTES), ids(2, 3)), {"K": 64, "packed_type": Q4_0, "output_dtype": 1}),
    ("MoEGroupRouter", (floats(2, 3, 8), weights(8)), {"n_group": 4, "topk_group": 2, "top_k": 2}),
    ("MoEGroupRouter", (floats(6, 8), weights(8)), {"top_k": 2, "outputs": [1, 2]}),
    (
        "VarlenCausalConvWithState",
        (floats(7, 4), weights(4, 1, 3), OFFSETS, weights(4), floats(2, 4, 4)),
        {"dilation": 2, "activation": "silu", "outputs": 2},
    ),
    (
        "VarlenCausalConvWithState",
        (floats(7, 4), weights(4, 1, 3), OFFSETS, None, floats(2, 4, 2), stored([1, 2], np.int32)),
        {"state_update_capacity": 3, "outputs": 3},
    ),
    (
        "VarlenNGramHashMapping",
        (ids(7), stored([3, 5, 7]), stored([11, 13, 17, 19]), OFFSETS),
        {"max_ngram_size": 3, "n_head_per_ngram": 2, "pad_id": 0, "outputs": 2},
    ),
    (
        "VarlenNGramHashMapping",
        (ids(7), stored([3, 5, 7]), stored([11, 13, 17, 19]), OFFSETS, ids(2, 2), stored([1, 2, 3, 4]), stored(0),
         counters(7), counters(2, 2), stored([1, 2], np.int32)),
        {"max_ngram_size": 3, "n_head_per_ngram": 2, "pad_id": 0, "state_update_capacity": 4, "outputs": 4},
    ),
]


@pytest.mark.parametrize(("op", "inputs", "node"), CASES, ids=[f"{op}-{i}" for i, (op, _, _) in enumerate(CASES)])
def test_outputs_equal_those_of_onnx_runtime(op: str, inputs: tuple[Any, ...], node: dict[str, Any]) -> None:
    assert faults(op, inputs, **{"domain": DOMAIN, **node}) == []


INDEXER = (weights(8), weights(8), weights(64, 4), weights(64, 4))  # scales of queries and keys, rotary tables
# ops without a kernel in the CPU build: op, inputs, attributes, what the schema's documentation says of each output, and
# multiply-adds by hand
DOCUMENTED: list[tuple[str, tuple[Any, ...], dict[str, Any], list[tuple[str, tuple[int, ...]]], int]] = [
    ("SwiGLU", (floats(2, 3, 8),), {"limit": 7.0}, [("float32", (2, 3, 4))], 0),
    ("SwiGLU", (floats(2, 3, 8), floats(2, 3, 8)), {}, [("float32", (2, 3, 8))], 0),
    (
        "RMSNormRotary",
        (halves(2, 3, 4, 16), weights(8), ids(2, 3), weights(64, 2), weights(64, 2)),
        {"rotary_embedding_dim": 4, "input_width": 8, "output_fp16": 1, "outputs": 2},
        [("float16", (2, 3, 32)), ("float32", (2, 3, 4, 8))],
        0,
    ),
    # 2 * 3 tokens through 32 x 5, 5 x 32, 32 x 4; 4 branches of 8 mixed
    (
        "HyperConnectionLowRankMix",
        (floats(2, 3, 32), weights(32), weights(32, 5), weights(5, 32), weights(32, 4), floats(2, 3, 8), floats(2, 3, 4)),
        {"num_branches": 4, "outputs": 3},
        [("float32", (2, 3, 8)), ("float32", (2, 3, 4)), ("float32", (2, 3, 32))],
        6 * (32 * 5 + 5 * 32 + 32 * 4) + 6 * 32,
    ),
    (
        "MatMulNBitsQLoRA",
        (floats(2, 3, 64), bytes_of(10, 2, 16), weights(10, 2), bytes_of(5, 2, 32), weights(5, 2), bytes_of(10, 1, 32),
         weights(10, 1)),
        {"K": 64, "N": 10},
        [("float32", (2, 3, 10))],
        6 * (64 * 10 + 64 * 5 + 5 * 10),
    ),
    # an empty adapter
    (
        "MatMulNBitsQLoRA",
        (floats(2, 3, 64), bytes_of(10, 2, 16), weights(10, 2), bytes_of(0, 2, 32), weights(5, 2), bytes_of(10, 0, 32),
         weights(10, 1)),
        {"K": 64, "N": 10},
        [("float32", (2, 3, 10))],
        6 * 64 * 10,
    ),
    (
        "MatMulPacked",
        (halves(2, 3, 64), bytes_of(10, 2 * Q4_0_BYTES)),
        {"K": 64, "N": 10, "packed_type": Q4_0, "activation_type": "silu"},
        [("float16", (2, 3, 10))],
        6 * 64 * 10,
    ),
    # 2 of 4 experts for each of 6 tokens: gate, up and down between 64 and 32
    (
        "MoEPacked",
        (halves(2, 3, 64), floats(6, 4), bytes_of(4, 32, 36), bytes_of(4, 32, 36), bytes_of(4, 64, 18)),
        {"k": 2, "gate_type": Q4_0, "up_type": Q4_0, "down_type": Q4_0},
        [("float16", (2, 3, 64))],
        6 * 2 * 3 * 64 * 32,
    ),
    (
        "RouterGateUpProj",
        (halves(2, 3, 16), Stored(halves(16, 20))),
        {"router_size": 4, "outputs": 2},
        [("float16", (2, 3, 4)), ("float16", (2, 3, 8))],
        6 * 16 * 20,
    ),
    # a state of 2 * 5 * 4 numbers, 3 transitions
    (
        "GatedDeltaNetStateReplay",
        (floats(80), floats(60), floats(80), stored([0, 0, 0, 8, 24, 2, 5, 4, 1, 4, 3])),
        {},
        [("float32", (80,))],
        2 * 5 * 4 * 3,
    ),
    ("ConvStateReplay", (floats(80), floats(60), floats(80), stored([0, 0, 0, 2, 8, 3, 4, 2])), {}, [("float32", (80,))], 0),
    # 5 tokens of 2 heads of 64, one group with a state of 128: 384 convolved channels of 4 taps
    (
        "Mamba2Verify",
        (halves(5, 514), halves(3, 384, 3), floats(3, 2, 128, 64), Stored(halves(384, 4)), Stored(halves(384)), weights(2),
         weights(2), weights(2), weights(128), stored([0], np.int32)),
        {"heads": 2, "n_groups": 1, "outputs": 5},
        [("float16", (5, 128)), ("float16", (3, 384, 3)), ("float32", (3, 2, 128, 64)), ("float16", (5, 384)),
         ("float32", (5, 128))],
        5 * (384 * 4 + 2 * 2 * 64 * 128),
    ),
    # 4 query heads of 8 see 9 selected positions
    (
        "DynamicSparseAttention",
        (floats(2, 3, 32), floats(2, 3, 16), floats(2, 3, 16), floats(2, 2, 7, 8), floats(2, 2, 7, 8), None, None,
         counters(6, 9), counters(6), stored([9, 9], np.int32), stored([10], np.int32)),
        {"num_heads": 4, "kv_num_heads": 2, "outputs": 3},
        [("float32", (2, 3, 32)), ("float32", (2, 2, 10, 8)), ("float32", (2, 2, 10, 8))],
        2 * 3 * 4 * 9 * (8 + 8),
    ),
    # and 5 in a window
    (
        "SparsePagedAttention",
        (halves(7, 32), halves(7, 16), halves(7, 16), halves(9, 16, 2, 8), halves(9, 16, 2, 8), OFFSETS, counters(2),
         counters(2, 4), None, counters(7, 9), counters(7)),
        {"num_heads": 4, "kv_num_heads": 2, "attention_mode": "local_plus_selected", "local_window_size": 5, "outputs": 3},
        [("float16", (7, 32)), ("float16", (9, 16, 2, 8)), ("float16", (9, 16, 2, 8))],
        7 * 4 * (9 + 5) * (8 + 8),
    ),
    # 10 keys are 2 blocks of 4 and a rest
    (
        "SparseAttentionIndexer",
        (floats(2, 3, 32), floats(2, 3, 8), *INDEXER, None, floats(2, 7, 8)),
        {"policy_mode": "qsa", "compress_ratio": 4, "token_budget": 8, "outputs": 2},
        [("int32", (2, 3, 11)), ("float32", (2, 10, 8))],
        2 * 3 * 4 * 2 * 8,
    ),
    # queries and keys in one tensor
    (
        "SparseAttentionIndexer",
        (floats(2, 3, 40), None, *INDEXER, None, floats(2, 7, 8)),
        {"policy_mode": "qsa", "compress_ratio": 4, "token_budget": 8, "outputs": 2},
        [("int32", (2, 3, 11)), ("float32", (2, 10, 8))],
        2 * 3 * 4 * 2 * 8,
    ),
    # the buffer holds a window of 4 and 1 token more; 3 new ones complete the next: 7 + 1 entries, no token is left over
    (
        "SparseAttentionIndexer",
        (floats(2, 3, 32), floats(2, 3, 16), *INDEXER, None, floats(2, 7, 8), floats(2, 3, 16), weights(4, 16),
         floats(2, 3, 4), ids(2, 3), None, floats(2, 2, 5, 16)),
        {"policy_mode": "csa", "compress_ratio": 4, "index_topk": 6, "outputs": 3},
        [("int32", (2, 3, 6)), ("float32", (2, 8, 8)), ("float32", (2, 2, 4, 16))],
        2 * 3 * 4 * 8 * 8,
    ),
    (
        "PackedSparseAttentionIndexerMerge",
        (counters(4, 6), counters(4), counters(7), None, None, counters(7, 3), counters(7)),
        {"max_output_entries": 9, "policy_mode": "append_indices", "outputs": 3},
        [("int32", (7, 9)), ("int32", (7,)), ("int32", (7,))],
        0,
    ),
    (
        "SpeculativePrefixCommit",
        (ids(2, 8), ids(2, 9), counters(3), ids(2, 16), ids(2, 2), ids(2, 16), ids(2)),
        {"outputs": 3},
        [("int32", (2,)), ("int64", (2, 16)), ("int64", (2, 2))],
        0,
    ),
]
NAMES = [f"{case[0]}-{i}" for i, case in enumerate(DOCUMENTED)]


@pytest.mark.parametrize(("op", "inputs", "node", "expected", "macs"), DOCUMENTED, ids=NAMES)
def test_outputs_are_those_of_the_documentation(
    op: str, inputs: tuple[Any, ...], node: dict[str, Any], expected: list[tuple[str, tuple[int, ...]]], macs: int
) -> None:
    model = model_of(op, *inputs, domain=DOMAIN, **node)
    network = load(model)
    assert [(tensor.dtype, tensor.shape) for tensor in network.outputs.values()] == expected
    assert layer_of(network).cost.macs == macs  # type: ignore[union-attr]
    free, sizes = opened(model)
    outputs = load(free).outputs.values()
    assert [(y.dtype, tuple(value_at(extent, sizes) for extent in y.dims)) for y in outputs] == expected


# what is not a product, by hand from the documented formula
FLOPS: list[tuple[str, tuple[Any, ...], dict[str, Any], int]] = [
    # per result a product inside the sigmoid, the sigmoid (4), two products; a minimum, and a minimum and a maximum
    ("SwiGLU", (floats(2, 3, 8),), {}, 2 * 3 * 4 * (1 + 4 + 2)),
    ("SwiGLU", (floats(2, 3, 8),), {"limit": 7.0, "activation_beta": 1.0}, 2 * 3 * 4 * (1 + 4 + 2 + 3 + 1)),
    # 2 per number that is looked up
    ("GatherPacked", (bytes_of(9, 2 * Q4_0_BYTES), ids(2, 3)), {"K": 64, "packed_type": Q4_0}, 2 * 6 * 64),
    # a bias and SiLU (5) per result
    (
        "VarlenCausalConvWithState",
        (floats(7, 4), weights(4, 1, 3), OFFSETS, weights(4), floats(2, 4, 2)),
        {"activation": "silu"},
        7 * 4 * (1 + 5),
    ),
    # per token 2 operations for each of 2 + 3 ids, 4 remainders
    (
        "VarlenNGramHashMapping",
        (ids(7), stored([3, 5, 7]), stored([11, 13, 17, 19]), OFFSETS),
        {"max_ngram_size": 3, "n_head_per_ngram": 2, "pad_id": 0},
        7 * (2 * (2 + 3) + 4),
    ),
    # no decay, no correction: the scale of 6 heads of 5 values
    (
        "GatedDeltaNet",
        (floats(7, 2, 4), floats(7, 2, 4), floats(7, 6, 5), OFFSETS),
        {"update_rule": "linear"},
        7 * 6 * 5,
    ),
    # 2 for each weight, which is unpacked once
    ("MatMulPacked", (halves(3, 64), bytes_of(10, 36)), {"K": 64, "N": 10, "packed_type": Q4_0}, 2 * 64 * 10),
]


@pytest.mark.parametrize(("op", "inputs", "node", "flops"), FLOPS, ids=[f"{case[0]}-{i}" for i, case in enumerate(FLOPS)])
def test_other_operations(op: str, inputs: tuple[Any, ...], node: dict[str, Any], flops: int) -> None:
    assert layer_of(load(model_of(op, *inputs, domain=DOMAIN, **node))).cost.other_flops == flops  # type: ignore[union-attr]


@pytest.mark.parametrize("op", sorted({case[0] for case in DOCUMENTED}))
def test_ops_that_are_only_documented_cannot_be_run_here(op: str) -> None:
    assert (DOMAIN, op) not in {(kernel.domain, kernel.op_name) for kernel in runtime.get_all_opkernel_def()}


@pytest.mark.parametrize(
    ("update_rule", "macs"), [("linear", 2), ("gated", 2), ("delta", 3), ("gated_delta", 3)]
)
def test_a_token_of_a_delta_network_goes_two_or_three_times_through_the_state(update_rule: str, macs: int) -> None:
    """S += k outer v; o = S q; and with the delta rule also S k: 6 heads of 4 x 5 numbers, 7 tokens."""
    inputs = (floats(7, 2, 4), floats(7, 2, 4), floats(7, 6, 5), OFFSETS, floats(7, 6), floats(7, 6))
    network = load(model_of("GatedDeltaNet", *inputs, domain=DOMAIN, update_rule=update_rule))
    assert layer_of(network).cost.macs == 7 * 6 * 4 * 5 * macs  # type: ignore[union-attr]


def test_a_selection_of_packed_tokens_sees_a_number_of_entries_that_the_data_decide() -> None:
    inputs = (
        floats(7, 32), floats(7, 8), *INDEXER, OFFSETS, counters(2), None, None, None, None, floats(2, 20, 8),
        floats(2, 7, 8), None, counters(2, 2),
    )  # fmt: skip
    node = {"policy_mode": "qsa", "compress_ratio": 4, "token_budget": 8, "state_capacity": 20}
    network = load(model_of("PackedSparseAttentionIndexer", *inputs, outputs=[0, 1, 2, 3, 5, 8], domain=DOMAIN, **node))
    assert [(y.dtype, y.shape) for y in network.outputs.values()] == [
        ("int32", (7, 11)), ("int32", (7,)), ("float32", (2, 20, 8)), ("float32", (2, 7, 8)), ("int32", (2, 2)),
        ("int32", (2,)),
    ]  # fmt: skip
    cost = layer_of(network).cost
    assert cost is not None
    assert cost.bounds == (("node.entries", 20),)
    assert value_at(cost.macs, {"node.entries": 5}) == 7 * 4 * 5 * 8


def test_block_floats_keep_the_shape_of_what_they_were_made_of() -> None:
    """The length of the data is not in the file; the shape comes back."""
    there = helper.make_node("QuantizeBFP", ["x"], ["data", "shape", "strides"], name="there", domain=DOMAIN, bfp_type=0)
    back = helper.make_node("DequantizeBFP", ["data", "shape", "strides"], ["y"], name="back", domain=DOMAIN, bfp_type=0)
    x = helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["N", 3, 8])
    graph = helper.make_graph([there, back], "g", [x], [onnx.ValueInfoProto(name=name) for name in ("strides", "y")])
    network = load(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21), helper.make_opsetid(DOMAIN, 1)]))
    assert str(network.tensors["data"].shape) == "(Dim(\"'there.bytes'\"),)"
    assert network.tensors["strides"].value == (24, 8, 1)
    assert (network.tensors["y"].dtype, str(network.tensors["y"].shape)) == ("float32", "(Dim('N'), 3, 8)")
    assert str(count(network).total.flops) == "96*N"


@pytest.mark.parametrize(("op", "attributes"), [("EPContext", {}), ("Snpe", {"DLC": "x"})])
def test_what_was_compiled_for_a_device_says_why_it_cannot_be_counted(op: str, attributes: dict[str, Any]) -> None:
    problem = load(model_of(op, floats(1, 4), domain=DOMAIN, **attributes)).layers[0].problem or ""
    assert f"{op} (node 'node')" in problem
    assert "compiled for one device" in problem
    assert "count the model that was compiled" in problem


# -- channels in blocks --------------------------------------------------------------------------------------------------


def convolutions() -> onnx.ModelProto:
    """A network in which ONNX Runtime puts the channels into blocks: all of the ops that it has for them."""
    nodes = [
        helper.make_node("Conv", ["x", "w1", "b"], ["c1"], pads=[1] * 4, strides=[2, 2]),
        helper.make_node("Relu", ["c1"], ["r1"]),
        helper.make_node("Conv", ["r1", "w2"], ["c2"], pads=[1] * 4, group=32),
        helper.make_node("Conv", ["c2", "w3"], ["c3"]),
        helper.make_node("Add", ["c3", "r1"], ["sum"]),
        helper.make_node("MaxPool", ["sum"], ["m"], kernel_shape=[3, 3], strides=[2, 2]),
        helper.make_node("AveragePool", ["m"], ["a"], kernel_shape=[2, 2]),
        helper.make_node("Upsample", ["a", "scales"], ["u"]),
        helper.make_node("Conv", ["u", "w4"], ["c4"]),
        helper.make_node("GlobalAveragePool", ["c4"], ["g"]),
        helper.make_node("GlobalMaxPool", ["c4"], ["h"]),
        helper.make_node("Sub", ["g", "h"], ["y"]),
    ]
    shapes = {"w1": (32, 3, 3, 3), "b": (32,), "w2": (32, 1, 3, 3), "w3": (32, 32, 1, 1), "w4": (20, 32, 1, 1)}
    arrays = {name: floats(*shape) for name, shape in shapes.items()} | {"scales": np.float32([1, 1, 2, 2])}
    x = helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["N", 3, "H", "W"])
    initializers = [numpy_helper.from_array(array, name) for name, array in arrays.items()]
    graph = helper.make_graph(nodes, "blocks", [x], [onnx.ValueInfoProto(name="y")], initializers)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 9)], ir_version=8)


@pytest.fixture(scope="module")
def blocked_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What ONNX Runtime saves of it for the processor that is here."""
    path = tmp_path_factory.mktemp("blocks") / "blocked.onnx"
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.optimized_model_filepath = str(path)
    onnxruntime.InferenceSession(convolutions().SerializeToString(), options, providers=["CPUExecutionProvider"])
    if not any(node.domain.endswith("nchwc") for node in onnx.load(path).graph.node):
        pytest.skip("ONNX Runtime keeps channels as they are on this processor")
    return path


@pytest.mark.parametrize(("batch", "height", "width"), [(2, 32, 32), (1, 45, 37)])
def test_blocked_channels_are_as_onnx_runtime_has_them(blocked_file: Path, batch: int, height: int, width: int) -> None:
    network, model = load(blocked_file), onnx.load(blocked_file)
    assert count(network).unsupported == ()
    names = [name for node in model.graph.node for name in node.output]
    del model.graph.output[:]
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    results = executed(model, {"x": floats(batch, 3, height, width)})
    sizes = {"N": batch, "H": height, "W": width}
    for name, result in zip(names, results, strict=True):
        assert tuple(value_at(extent, sizes) for extent in network.tensors[name].dims) == result.shape, name


def test_what_fills_up_a_block_counts(blocked_file: Path) -> None:
    """Channels 3 to 32, 32 in groups of one, 32 to 32; and 32 to 20, which fill up blocks of 4, 8 or 16."""
    sizes = {"N": 1, "H": 32, "W": 32}
    macs = [value_at(layer.cost.macs, sizes) for layer in load(blocked_file).layers if layer.cost and layer.cost.macs]
    assert macs[:3] == [16 * 16 * 32 * weights_of_a_filter for weights_of_a_filter in (27, 9, 32)]
    assert macs[3:] in [[12 * 12 * 32 * filled] for filled in (20, 24, 32)]
