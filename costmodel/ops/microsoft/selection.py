"""Ops of ONNX Runtime that pick, cut, pack or check elements."""

from __future__ import annotations

from costmodel.dims import Extent, minimum
from costmodel.errors import MalformedModel
from costmodel.graph import Cost, dtype_numbered
from costmodel.ops.microsoft.domain import microsoft
from costmodel.ops.resize import grid_sample
from costmodel.ops.shapes import broadcast, normal_axis
from costmodel.ops.value_layout import Unknowns, extent_of, extents, moved, size_of

BILINEAR = 11  # per sampled element: place (4), three interpolations (subtract, multiply, add) less what they share
BYTE = 8

microsoft("GridSample")(grid_sample)


@microsoft("ExpandDims")
def expand_dims(x, axis):
    """No arithmetic; the elements stay where they are."""
    stated = extent_of(axis)
    if not isinstance(stated, int):
        raise MalformedModel("the axis depends on data; it must be a constant")
    at = normal_axis(stated, x.rank + 1)
    y = x.to((*x.dims[:at], 1, *x.dims[at:]))
    return Cost((moved(y, lambda array: array, x),), view_of=0, not_learnable=(1,))


@microsoft("SampleOp")
def sample(x):
    """No arithmetic; a copy."""
    return Cost((x.to(x.dims),))


@microsoft("CropAndResize")
def crop_and_resize(x, rois, batch_indices, crop_size, *, extrapolation_value=0.0, mode="bilinear", name):
    """Bilinear: 11 per element, four for its place, seven to interpolate; nearest: 4 for its place."""
    if mode not in ("bilinear", "nearest"):
        raise MalformedModel(f"mode {mode!r} is neither bilinear nor nearest")
    unknown = Unknowns(name)
    regions, _ = rois.dims
    _, channels, *_ = x.dims
    wanted = extents(crop_size) or (None, None)
    y = x.to((regions, channels, *unknown.filled(wanted)))
    per_element = BILINEAR if mode == "bilinear" else 4
    return Cost((y,), other_flops=y.size * per_element, not_learnable=(1, 2, 3), bounds=unknown.bounds)


@microsoft("GatherBlockQuantized")
def gather_block_quantized(
    data, indices, scales, zero_points=None, *, bits=4, block_size=128, gather_axis=0, quantize_axis=1
):
    """2 per element that is picked: subtract the zero point, multiply by the scale. Rows are looked up."""
    per_byte = BYTE // bits if data.dtype == "uint8" else 1
    *lead, last = data.dims
    shape = (*lead, last * per_byte)
    at = normal_axis(gather_axis, data.rank)
    y = scales.to((*shape[:at], *indices.dims, *shape[at + 1 :]))
    blocks = y.size // (block_size or 1)
    return Cost(
        (y,),
        other_flops=2 * y.size,
        reads=(y.size // per_byte, indices.size, blocks, *(() if zero_points is None else (blocks // per_byte,))),
        not_learnable=(1, 2, 3),
    )


@microsoft("TorchEmbedding")
def torch_embedding(weight, indices, padding_idx=None, scale_grad_by_freq=None):
    """No arithmetic; a copy that reads the rows it picks."""
    y = weight.to((*indices.dims, *weight.dims[1:]))
    return Cost((y,), reads=(y.size, indices.size, *size_of(padding_idx, scale_grad_by_freq)), not_learnable=(1, 2, 3))


@microsoft("Unique")
def unique(x, *, name):
    """One comparison per element, with a table of those seen."""
    unknown = Unknowns(name)
    found = unknown.extent("unique", at_most=x.size)
    outputs = (x.to((found,)), x.to(x.dims, dtype="int64"), x.to((found,), dtype="int64"))
    return Cost(outputs, other_flops=x.size, bounds=unknown.bounds)


@microsoft("UnfoldTensor")
def unfold(x, *, dim=-1, size, step=1):
    """No arithmetic; every slice is copied."""
    at = normal_axis(dim, x.rank)
    if step < 1 or size < 1:
        raise MalformedModel(f"size {size} and step {step} must be at least 1")
    return Cost((x.to((*x.dims[:at], (x.dims[at] - size) // step + 1, *x.dims[at + 1 :], size)),))


@microsoft("NGramRepeatBlock")
def ngram_repeat_block(input_ids, scores, *, ngram_size):
    """One comparison per token and token of the n-gram; the scores are copied."""
    return Cost((scores.to(scores.dims),), other_flops=input_ids.size * ngram_size, not_learnable=(0,))


@microsoft("IsAllFinite")
def is_all_finite(*inputs, isinf_only=0, isnan_only=0):
    """One comparison per element."""
    tested: Extent = 0
    for x in inputs:
        tested = tested + x.size
    return Cost((inputs[0].to((), dtype="bool"),), other_flops=tested)


@microsoft("MurmurHash3")
def murmur_hash(x, *, positive=1, seed=0):
    """11 integer operations per element of 32 bits: five to mix it in, six to finish (MurmurHash3_x86_32)."""
    return Cost((x.to(x.dims, dtype="uint32" if positive else "int32"),), other_flops=11 * x.size)


@microsoft("MulInteger")
def multiply_integers(a, a_zero_point=None, b=None, b_zero_point=None):
    """One product per element; one subtraction per element of an operand with a zero point."""
    y = a.to(broadcast(a.dims, b.dims), dtype="int32")
    shifted = (0 if a_zero_point is None else a.size) + (0 if b_zero_point is None else b.size)
    return Cost((y,), other_flops=y.size + shifted, not_learnable=(1, 3))


# -- padding of sequences -----------------------------------------------------------------------------------------


@microsoft("RemovePadding")
def remove_padding(x, sequence_token_count, *, name):
    """No arithmetic; a copy of the tokens that are there."""
    batch, length, width = x.dims
    unknown = Unknowns(name)
    tokens = unknown.extent("tokens", at_most=batch * length)

    offsets = (x.to(shape, dtype="int32") for shape in ((batch, length), (batch + 1,), (1,)))
    outputs = (x.to((tokens, width)), *offsets)
    return Cost(outputs, reads=(tokens * width, batch), not_learnable=(1,), bounds=unknown.bounds)


@microsoft("RestorePadding")
def restore_padding(x, token_offset):
    """No arithmetic; a copy, and zeros."""
    _, width = x.dims
    return Cost((x.to((*token_offset.dims, width)),), not_learnable=(1,))


# -- alignment ----------------------------------------------------------------------------------------------------


@microsoft("DynamicTimeWarping")
def dynamic_time_warping(x, *, name):
    """4 per element of the cost matrix: three comparisons, one addition."""
    *_, rows, columns = x.dims
    unknown = Unknowns(name)
    steps = unknown.extent("path", at_most=rows + columns - 1)
    return Cost((x.to((2, steps), dtype="int32"),), other_flops=4 * x.size, bounds=unknown.bounds)


@microsoft("BifurcationDetector")
def bifurcation_detector(
    src_tokens, cur_tokens, prev_suffix_match_idx, pred_tokens=None, *, max_ngram_size=3, min_ngram_size=1, name
):
    """One comparison per source token and token of an n-gram, and per predicted token."""
    unknown = Unknowns(name)
    predicted = 0 if pred_tokens is None else pred_tokens.size
    most = cur_tokens.size + minimum(predicted, src_tokens.size + 1)
    merged = cur_tokens.dims if pred_tokens is None else (unknown.extent("tokens", at_most=most),)
    return Cost(
        (cur_tokens.to(merged), prev_suffix_match_idx.to(prev_suffix_match_idx.dims)),
        other_flops=src_tokens.size * max_ngram_size + predicted,
        bounds=unknown.bounds,
    )



# -- layouts of cublasLt ------------------------------------------------------------------------------------------


@microsoft("QuantizeWithOrder")
def quantize_with_order(x, scale_input, *, order_input, order_output):
    """2 per element: divide by the scale, round."""
    return Cost((x.to(x.dims, dtype="int8"),), other_flops=2 * x.size, not_learnable=(1,))


@microsoft("DequantizeWithOrder")
def dequantize_with_order(x, scale_input, *, order_input, order_output, to):
    """1 per element: multiply by the scale."""
    return Cost((x.to(x.dims, dtype=dtype_numbered(to)),), other_flops=x.size, not_learnable=(1,))
