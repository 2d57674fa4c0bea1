"""Networks in other precisions against ONNX Runtime's own quantiser, a quantised file, arithmetic on widths, and runs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

from costmodel import catalogue, specs
from costmodel.build import Builder
from costmodel.counts import count
from costmodel.dims import Dim, value_at
from costmodel.errors import InvalidChoice
from costmodel.fusion import fuse
from costmodel.graph import Network
from costmodel.planning import memory
from costmodel.precision import PRECISIONS, in_precision
from costmodel.read.onnx import load

SMALL = [
    "squeezenet1_1", "mobilenet_v2", "mobilenet_v3_small", "shufflenet_v2_x0_5", "shufflenet_v1_g3", "resnet18",
    "mnasnet0_5", "efficientnet_b0", "regnet_y_400mf", "googlenet_caffe", "nanodet_m", "mobilenet_ssd", "squeezenet_ssd",
    "blazeface",
    "yolo-fastestv2",
]  # fmt: skip
# random gates, one after the other, bring all signals below one step of int8
FADING = ("efficientnet_b0", "mobilenet_v3_small")


def sizes_of(network: Network) -> dict[str, int]:
    return {"N": 1, **network.bind({}, complete=False)}


# -- a network of each family ---------------------------------------------------------------------------------------


FAMILIES = {entry.path: entry.name for entry in reversed(catalogue.entries())}


@pytest.mark.parametrize("name", FAMILIES.values())
@pytest.mark.parametrize(("precision", "dtype"), [("fp16", "float16"), ("bf16", "bfloat16"), ("int8", "int8")])
def test_the_products_are_the_same_in_another_type(name: str, precision: str, dtype: str) -> None:
    plain, other = count(specs.zoo(name)), count(specs.zoo(name, precision=precision))
    assert not other.unsupported
    assert other.macs_by_dtype() == {dtype: plain.total.macs}


@pytest.mark.parametrize("name", FAMILIES.values())
@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_two_bytes_are_half_of_four(name: str, precision: str) -> None:
    plain, half = specs.zoo(name), specs.zoo(name, precision=precision)
    assert count(half).total.params == count(plain).total.params
    before, after = count(plain).total, count(half).total
    written = [plain.tensors[y] for x in plain.running_layers if x.cost and x.cost.view_of is None for y in x.outputs]
    others = sum(value_at(tensor.nbytes, sizes_of(plain)) for tensor in written if tensor.dtype != "float32")
    scales = sum(4 * value_at(plain.tensors[x.inputs[2]].size, {}) for x in plain.layers if x.op == "Resize")
    assert 2 * (after.activation_bytes.at(sizes_of(half)) - others) == before.activation_bytes.at(sizes_of(plain)) - others
    assert before.weight_bytes.at() <= 2 * after.weight_bytes.at() <= before.weight_bytes.at() + scales


@pytest.mark.parametrize("name", SMALL)
def test_int8_stores_a_byte_for_a_number(name: str) -> None:
    """Weights of one byte, biases of four; scales and zero points are no params."""
    twin = specs.zoo(name, precision="int8")
    stored = {layer.inputs[0]: twin.tensors[layer.inputs[0]] for layer in twin.layers if layer.op == "DequantizeLinear"}
    weights = [tensor for tensor in stored.values() if tensor.constant]
    products = [layer for layer in twin.layers if layer.op in ("Conv", "ConvTranspose", "Gemm", "MatMul")]
    assert {tensor.dtype for tensor in weights if tensor.rank > 1} == {"int8"}
    assert {tensor.dtype for tensor in weights} == {"int8", "int32"}
    left = [layer for layer in twin.layers if layer.op == "BatchNormalization"]
    apart = sum(4 * value_at(twin.tensors[name].size, {}) for layer in left for name in layer.inputs[1:3])
    assert len(weights) >= len(products)
    params = sum(value_at(tensor.size, {}) for tensor in weights)
    assert count(twin).total.params.at() == params + apart // 4


# -- ONNX Runtime's quantiser ---------------------------------------------------------------------------------------


class RandomImages(CalibrationDataReader):  # type: ignore[misc]
    def __init__(self, network: Network) -> None:
        shape = [value_at(extent, sizes_of(network)) for extent in network.inputs["image"].dims]
        random = np.random.default_rng(0)
        self.images: Iterator[Any] = iter([{"image": random.random(shape, np.float32)} for _ in range(2)])

    def get_next(self) -> Any:
        return next(self.images, None)


def quantized_by_onnxruntime(network: Network, folder: Path) -> Network:
    plain, prepared, result = (str(folder / f"{name}.onnx") for name in ("plain", "prepared", "result"))
    specs.save_onnx(network, plain)
    quant_pre_process(plain, prepared, skip_symbolic_shape=True)
    quantize_static(
        prepared, result, RandomImages(network), quant_format=QuantFormat.QDQ, per_channel=True,
        activation_type=QuantType.QInt8, weight_type=QuantType.QInt8,
    )  # fmt: skip
    return load(result)


@pytest.mark.parametrize("name", ["squeezenet1_1", "mobilenet_v2", "resnet18", "shufflenet_v2_x0_5", "mobilenet_v3_small"])
def test_the_twin_costs_what_onnxruntimes_costs(name: str, tmp_path: Path) -> None:
    network = specs.zoo(name)
    theirs, mine = quantized_by_onnxruntime(network, tmp_path), specs.zoo(name, precision="int8")
    their, my = count(theirs), count(mine)
    assert my.macs_by_dtype() == their.macs_by_dtype()
    assert my.total.params == their.total.params
    assert memory(mine).at(sizes_of(mine)).peak_bytes == memory(theirs).at(sizes_of(mine)).peak_bytes
    zero_points = 4 * sum(  # they store a zero for each bias
        value_at(theirs.tensors[x.inputs[0]].size, {}) for x in theirs.layers if theirs.tensors[x.inputs[0]].dtype == "int32"
    )
    assert my.total.weight_bytes.at() == pytest.approx(their.total.weight_bytes.at() - zero_points, rel=0.01)
    products = ("Conv", "Gemm", "Add", "Concat", "GlobalAveragePool")
    their_ops, my_ops = (Counter(layer.op for layer in n.running_layers) for n in (theirs, mine))
    assert {op: their_ops[op] for op in products} == {op: my_ops[op] for op in products}
    assert my.total.activation_bytes.at(sizes_of(mine)) <= their.total.activation_bytes.at(sizes_of(mine))


def test_the_twin_of_resnet50_is_that_of_a_file(shared: Path) -> None:
    theirs, mine = load(shared / "models" / "resnet50_qdq.onnx"), specs.zoo("resnet50", precision="int8")
    sizes = {"N": 1, "H": 224, "W": 224}
    for twin in (theirs, mine):
        counted = count(twin)
        assert list(counted.macs_by_dtype()) == ["int8"]
        assert counted.at(sizes).macs == 4_089_184_256
    assert memory(mine).at(sizes).peak_bytes == memory(theirs).at(sizes).peak_bytes


# -- runs -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("precision", ["int8", "fp16"])
def test_runs_with_the_shapes_that_were_derived(name: str, precision: str) -> None:
    network = specs.zoo(name, precision=precision)
    model = specs.to_onnx(network)
    onnx.checker.check_model(model, full_check=True)
    options = onnxruntime.SessionOptions()
    options.log_severity_level, options.intra_op_num_threads = 3, 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    random = np.random.default_rng(0)
    inputs = {
        key: random.random([value_at(extent, sizes_of(network)) for extent in tensor.dims]).astype(tensor.dtype)
        for key, tensor in network.inputs.items()
    }
    found = session.run(None, inputs)
    assert [(y.shape, str(y.dtype)) for y in found] == [
        (tuple(value_at(extent, sizes_of(network)) for extent in tensor.dims), tensor.dtype)
        for tensor in network.outputs.values()
    ]
    assert all(np.isfinite(y).all() for y in found)
    assert (precision == "int8" and name in FADING) or all(y.astype(np.float64).std() > 0 for y in found)


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("name", ["mobilenet_v2", "vit_b_32", "nanodet_m"])
def test_reads_back_to_the_same_counts(name: str, precision: str) -> None:
    network = specs.zoo(name, precision=precision)
    back = load(specs.to_onnx(network, weights="none"))
    assert count(back).total == count(network).total
    assert count(back).macs_by_dtype() == count(network).macs_by_dtype()


def test_bfloat16_weights_are_written() -> None:
    model = specs.to_onnx(specs.zoo("squeezenet1_1", precision="bf16"))
    stored = model.graph.initializer[0]
    assert stored.data_type == onnx.TensorProto.BFLOAT16
    assert len(stored.raw_data) == 2 * np.prod(stored.dims)


# -- what becomes of layers -----------------------------------------------------------------------------------------


def ops(network: Network) -> list[str]:
    """The ops that run, but for quantisers."""
    return [layer.op for layer in network.running_layers if layer.op not in ("QuantizeLinear", "DequantizeLinear")]


def built(*kinds: str) -> Network:
    b = Builder()
    x = b.input("x", ("N", 8, 16, 16))
    for kind in kinds:
        x = b.conv(x, 8) if kind == "conv" else getattr(b, kind)(x)
    return b.finish(x)


BECOMES: list[tuple[tuple[str, ...], list[str]]] = [
    (("conv", "bn", "relu"), ["Conv"]),
    (("conv", "relu6"), ["Conv"]),
    (("conv", "hardswish"), ["Conv", "HardSwish"]),
    (("bn", "relu", "conv"), ["BatchNormalization", "Relu", "Conv"]),
    (("conv", "flatten", "softmax"), ["Conv", "Flatten", "Softmax"]),
    (("conv", "gelu", "lrn", "conv"), ["Conv", "Gelu", "LRN", "Conv"]),
]


@pytest.mark.parametrize(("kinds", "left"), BECOMES)
def test_what_the_twin_folds(kinds: tuple[str, ...], left: list[str]) -> None:
    twin = in_precision(built(*kinds), "int8")
    assert ops(twin) == left
    onnx.checker.check_model(specs.to_onnx(twin), full_check=True)


def test_what_others_read_too_is_not_folded() -> None:
    b = Builder()
    y = b.conv(b.input("x", (1, 8, 4, 4)), 8)
    twin = in_precision(b.finish(b.add(b.relu(y), y)), "int8")
    assert ops(twin) == ["Conv", "Relu", "Add"]


def test_a_quantised_op_is_one_kernel_that_moves_integers() -> None:
    twin = in_precision(built("conv", "bn", "relu", "conv"), "int8")
    first, second = (kernel for kernel in fuse(twin, "ncnn") if kernel.op == "Conv")
    assert [kernel.op for kernel in fuse(twin, "ncnn")] == ["QuantizeLinear", "Conv", "Conv", "DequantizeLinear"]
    assert first.read_bytes == first.write_bytes == second.read_bytes == Dim.size("N") * 8 * 16 * 16
    assert first.weight_bytes == 8 * 8 + 4 * 8


def test_a_precision_that_there_is_not() -> None:
    with pytest.raises(
        InvalidChoice, match="precision must be one of fp32, fp16, bf16, int8, not 'int16'; did you mean 'int8'"
    ):
        specs.zoo("resnet18", precision="int16")
