"""Normalisations with a skipped tensor, a bias or an embedding before them, as ONNX Runtime fuses them."""

from __future__ import annotations

from costmodel.dims import Extent
from costmodel.errors import MalformedModel
from costmodel.graph import Cost, Tensor
from costmodel.ops.activations import activation_flops
from costmodel.ops.microsoft.domain import microsoft
from costmodel.ops.normalization import MOMENTS, layer_normalization, rms_normalization
from costmodel.ops.registry import rule
from costmodel.ops.shapes import broadcast, normal_axis, same
from costmodel.ops.value_layout import size_of

RMS = 3  # square, add for the mean, divide by its root

microsoft("LayerNormalization")(layer_normalization)
microsoft("RMSNormalization")(rms_normalization)


@rule("SimplifiedLayerNormalization")
@microsoft("SimplifiedLayerNormalization")
def simplified_layer_normalization(x, scale, *, axis=-1, epsilon=1e-5, stash_type=1):
    """4 per element: square, add, divide by the root of the mean, scale."""
    kept = normal_axis(axis, x.rank)
    inverse = x.to((*x.dims[:kept], *(1,) * (x.rank - kept)), dtype="float32")
    return Cost((x.to(x.dims), inverse), other_flops=x.size * (RMS + 1))


@microsoft("SkipLayerNormalization")
def skip_layer_normalization(x, skip, gamma, beta=None, bias=None, *, epsilon=1e-12):
    """7 per element: add, 5 for the moments (mean, subtract, square, variance, divide), scale; 1 each for beta and bias."""
    return _skipped(x, skip, gamma, MOMENTS + 1 + (beta is not None) + (bias is not None))


@microsoft("SkipSimplifiedLayerNormalization")
def skip_simplified_layer_normalization(x, skip, gamma, bias=None, *, epsilon=1e-12):
    """5 per element: add, square, add, divide by the root of the mean, scale; 1 for a bias."""
    return _skipped(x, skip, gamma, RMS + 1 + (bias is not None))


def _skipped(x: Tensor, skip: Tensor, gamma: Tensor, per_element: int) -> Cost:
    *rows, width = x.dims
    same(gamma.size, width, "gamma and the last extent")
    broadcast(x.dims, skip.dims)
    statistic = x.to((*rows, 1), dtype="float32")
    y = x.to(x.dims)
    return Cost((y, statistic, statistic, y), other_flops=x.size * (1 + per_element))


@microsoft("EmbedLayerNormalization")
def embed_layer_normalization(
    input_ids, segment_ids=None, word_embedding=None, position_embedding=None, segment_embedding=None, gamma=None, beta=None,
    mask=None, position_ids=None, *, epsilon=1e-12, mask_index_type=None,
):  # fmt: skip
    """8 per element: add the position, 5 for the moments, scale, shift; 1 more for a segment. Rows are looked up."""
    tables = (word_embedding, position_embedding, segment_embedding)
    return _embedded(input_ids, tables, word_embedding, segment_ids, gamma, beta, mask, position_ids)


@microsoft("QEmbedLayerNormalization")
def quantized_embed_layer_normalization(
    input_ids, segment_ids=None, word_embedding_quant=None, position_embedding_quant=None, segment_embedding=None,
    gamma_quant=None, beta_quant=None, mask=None, word_embedding_scale=None, position_embedding_scale=None,
    segment_embedding_scale=None, gamma_scale=None, beta_scale=None, word_embedding_zero_point=None,
    position_embedding_zero_point=None, segment_embedding_zero_point=None, gamma_zero_point=None,
    beta_zero_point=None, *, epsilon=1e-12,
):  # fmt: skip
    """As EmbedLayerNormalization; a subtraction and a product per number looked up, for its zero point and scale."""
    tables = (word_embedding_quant, position_embedding_quant, segment_embedding)
    plain = _embedded(input_ids, tables, word_embedding_scale, segment_ids, gamma_quant, beta_quant, mask)
    y, mask_index, _ = plain.outputs
    looked_up = 3 if segment_embedding is not None else 2
    settings = size_of(
        word_embedding_scale, position_embedding_scale, segment_embedding_scale, gamma_scale, beta_scale,
        word_embedding_zero_point, position_embedding_zero_point, segment_embedding_zero_point, gamma_zero_point,
        beta_zero_point,
    )  # fmt: skip
    return Cost(
        (y, mask_index),
        other_flops=plain.other_flops + 2 * looked_up * y.size,
        reads=(*(plain.reads or ()), *settings),
        not_learnable=(*plain.not_learnable, *range(8, 18)),
    )


def _embedded(
    input_ids: Tensor,
    tables: tuple[Tensor, Tensor, Tensor | None],
    like: Tensor,
    segment_ids: Tensor | None,
    *others: Tensor | None,
) -> Cost:
    """``like`` has the dtype of the result; ``others`` are the inputs behind the tables."""
    batch, length = input_ids.dims
    words, positions, segments = tables
    width = same(words.dims[-1], positions.dims[-1], "the widths of the word and position tables")
    y = like.to((batch, length, width))
    summed = 1 if segments is None else 2
    rows = (y.size, y.size, 0 if segments is None else y.size)
    return Cost(
        (y, input_ids.to((batch,), dtype="int32"), y),
        other_flops=y.size * (summed + MOMENTS + 2),
        reads=(*size_of(input_ids, segment_ids), *rows, *size_of(*others)),
        not_learnable=(0, 1, 7, 8),
    )


# -- groups of channels -------------------------------------------------------------------------------------------

ACTIVATIONS = {0: "Identity", 1: "Silu"}


@microsoft("GroupNorm")
def group_norm(x, gamma, beta, *, activation, channels_last=1, epsilon=1e-5, groups):
    """7 per element: 5 for the moments (mean, subtract, square, variance, divide), scale, shift; 5 more for SiLU."""
    _check_groups(x, gamma, groups, channels_last)
    return Cost((x.to(x.dims),), other_flops=x.size * (MOMENTS + 2 + _activation(activation)))


@microsoft("SkipGroupNorm")
def skip_group_norm(x, gamma, beta, skip, bias=None, *, activation, channels_last=1, epsilon=1e-5, groups):
    """As GroupNorm; per element an addition for the skipped tensor, one for a bias."""
    _check_groups(x, gamma, groups, channels_last)
    per_element = MOMENTS + 2 + _activation(activation) + 1 + (bias is not None)
    return Cost((x.to(x.dims), x.to(x.dims)), other_flops=x.size * per_element)


def _check_groups(x: Tensor, gamma: Tensor, groups: int, channels_last: int) -> None:
    channels: Extent = x.dims[-1] if channels_last else x.dims[1]
    same(gamma.size, channels, "gamma and the channels")
    if groups < 1 or (isinstance(channels, int) and channels % groups):
        raise MalformedModel(f"{channels} channels do not form {groups} groups")


def _activation(number: int) -> int:
    if number not in ACTIVATIONS:
        raise MalformedModel(f"activation {number} is neither 0 (none) nor 1 (SiLU)")
    return activation_flops(ACTIVATIONS[number])


# -- others -------------------------------------------------------------------------------------------------------


@microsoft("QOrderedLayerNormalization")
def quantized_ordered_layer_normalization(
    x, scale_x, scale, b=None, scale_y=None, *, axis=-1, epsilon=1e-5, order_X=1, order_Y=1  # noqa: N803
):
    """8 per element: as LayerNormalization (6, 7 with b), multiply by the scale and divide by it."""
    normal_axis(axis, x.rank)
    return Cost((x.to(x.dims),), other_flops=x.size * (MOMENTS + 3 + (b is not None)), not_learnable=(1, 4))


@microsoft("GatedRMSNorm")
def gated_rms_norm(x, scale, gate, *, activation="silu", epsilon=1e-5):
    """5 per element: square, add, divide by the root of the mean, scale, multiply by the gate; and the gate's activation."""
    same(gate.size, x.size, "the elements of the gate and of the input")
    return Cost((x.to(x.dims),), other_flops=x.size * (RMS + 2 + activation_flops(activation)))


@microsoft("BranchwiseRMSNorm")
def branchwise_rms_norm(x, scale=None, *, epsilon=1e-5, num_branches=0):
    """3 per element: square, add, divide by the root of the mean; 1 more for a scale."""
    return Cost((x.to(x.dims),), other_flops=x.size * (RMS + (scale is not None)))
