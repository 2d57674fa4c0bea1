"""Memory that ONNX Runtime's CPU kernels take while they run, besides what they read and write.

Found by its heap on one-op networks (``benchmarks/runtime_memory.py --probe``) and explained by its sources; at one thread.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from costmodel.dims import Extent, maximum, minimum
from costmodel.graph import DTYPE_BITS, Layer, Tensor
from costmodel.liveness import Tensors, scratch_of_rule

# a thread's slice of an unfolded image: MLAS_CONV_WORKING_BUFFER_SIZE_PER_THREAD floats (mlas/lib/mlasi.h)
SLICE_BYTES = 4 * 16_384
# channels of a block with AVX-512; with AVX2 and NEON it is 8
BLOCK = 16


def scratch_of(layer: Layer, tensors: Tensors) -> Sequence[Extent]:
    """Bytes of the pieces of scratch memory of a layer's kernel; the rule's where the kernel is not known better."""
    kernel = _KERNELS.get((layer.domain, layer.op))
    if kernel is None or not all(tensors[name].is_known for name in (*layer.inputs, *layer.outputs) if name):
        return scratch_of_rule(layer, tensors)
    return kernel(layer, tensors)


def scratch_of_blocked(layer: Layer, tensors: Tensors) -> Sequence[Extent]:
    """As ``scratch_of``, for a graph with blocked convolutions (NCHWc), which unfold nothing."""
    is_blocked = layer.op in ("Conv", "FusedConv") and tensors[layer.outputs[0]].is_known and _is_blocked(layer, tensors)
    return () if is_blocked else scratch_of(layer, tensors)


def _is_blocked(layer: Layer, tensors: Tensors) -> bool:
    """An image whose channels come in blocks; the first layer reads it as it is (NchwcTransformer)."""
    w, y = tensors[layer.inputs[1]], tensors[layer.outputs[0]]
    if y.rank != 4 or not isinstance(y.dims[1], int) or not isinstance(w.dims[1], int):
        return False
    group, per_group = _number(layer, "group", 1), w.dims[1]
    channels = per_group * group
    if group > 1 and per_group > 1 and (per_group % BLOCK or y.dims[1] // group % BLOCK):
        return False
    return y.dims[1] % BLOCK == 0 and (channels % BLOCK == 0 or (group == 1 and channels < BLOCK))


def _conv(layer: Layer, tensors: Tensors) -> Sequence[Extent]:
    """An image is unfolded for the product: whole where there are more filters than pixels, else a slice a thread.

    A pointwise filter without stride and padding needs none of it (MlasConvPrepare).
    """
    x, w, y = tensors[layer.inputs[0]], tensors[layer.inputs[1]], tensors[layer.outputs[0]]
    if _is_direct(layer, w):
        return ()
    group = _number(layer, "group", 1)
    pixels = _product(y.dims[2:])
    filters = y.dims[1] // group
    unfolded = pixels * _product(w.dims[1:]) * _width(x)
    if isinstance(pixels, int) and isinstance(filters, int):
        return (unfolded if filters > pixels else SLICE_BYTES,)
    return (maximum(SLICE_BYTES, minimum(unfolded, filters * _product(w.dims[1:]) * _width(x))),)


def _is_direct(layer: Layer, w: Tensor) -> bool:
    ones = all(step == 1 for step in _numbers(layer, "strides")) and all(pad == 0 for pad in _numbers(layer, "pads"))
    return ones and all(extent == 1 for extent in w.dims[2:])


def _conv_transpose(layer: Layer, tensors: Tensors) -> Sequence[Extent]:
    """The product before it is folded: a column of the kernel for each pixel and output channel of a group."""
    x, w = tensors[layer.inputs[0]], tensors[layer.inputs[1]]
    return (_product(w.dims[1:]) * _product(x.dims[2:]) * _width(x),)


def _softmax(layer: Layer, tensors: Tensors) -> Sequence[Extent]:
    """Over any axis but the last, what is read and what is written are transposed."""
    x = tensors[layer.inputs[0]]
    axis = _number(layer, "axis", -1)
    return () if axis in (-1, x.rank - 1) else (x.nbytes, x.nbytes)


def _where(layer: Layer, tensors: Tensors) -> Sequence[Extent]:
    """What each side gives, with zeros elsewhere, before the two are put together."""
    return (tensors[layer.outputs[0]].nbytes,) * 2


def _as_written(times: int) -> Callable[[Layer, Tensors], Sequence[Extent]]:
    """Of an op that has no kernel and runs as a function: results between, each as large as its own."""

    def between(layer: Layer, tensors: Tensors) -> Sequence[Extent]:
        return (tensors[layer.outputs[0]].nbytes,) * times

    return between


def _local_response(layer: Layer, tensors: Tensors) -> Sequence[Extent]:
    """The squares with channels of zeros around, and the sums over them."""
    x = tensors[layer.inputs[0]]
    pixels = _product(x.dims[2:]) * _width(x)
    return x.nbytes, (x.dims[1] + _number(layer, "size", 1) - 1) * pixels


def _attention(layer: Layer, tensors: Tensors) -> Sequence[Extent]:
    """The projections, the scores of all heads, and what they gather before the heads are put side by side."""
    x, w, y = tensors[layer.inputs[0]], tensors[layer.inputs[1]], tensors[layer.outputs[0]]
    if any(layer.inputs[4:5]):
        return scratch_of_rule(layer, tensors)  # with a cache the scores are wider
    batch, length = x.dims[:2]
    heads = _number(layer, "num_heads", 1)
    return batch * length * w.dims[1] * _width(x), batch * heads * length * length * _width(x), y.nbytes


_KERNELS: Mapping[tuple[str, str], Callable[[Layer, Tensors], Sequence[Extent]]] = {
    ("", "Conv"): _conv,
    ("", "ConvTranspose"): _conv_transpose,
    ("", "Softmax"): _softmax,
    ("", "LogSoftmax"): _softmax,
    ("", "Where"): _where,
    ("", "LRN"): _local_response,
    ("", "HardSwish"): _as_written(1),
    ("", "Mish"): _as_written(1),
    ("", "GroupNormalization"): _as_written(1),
    ("", "MeanVarianceNormalization"): _as_written(3),
    ("com.microsoft", "Attention"): _attention,
}


def _number(layer: Layer, name: str, default: int) -> int:
    value = layer.attributes.get(name, default)
    return value if isinstance(value, int) else default


def _numbers(layer: Layer, name: str) -> tuple[object, ...]:
    value = layer.attributes.get(name, ())
    return value if isinstance(value, tuple) else ()


def _product(extents: tuple[Extent, ...]) -> Extent:
    product: Extent = 1
    for extent in extents:
        product = product * extent
    return product


def _width(tensor: Tensor) -> int:
    return DTYPE_BITS[tensor.dtype] // 8
