"""Normalisations: over the batch, a layer, groups of channels, neighbours or classes.

Counted is what is done to every element. What is done once for a whole group (the root of a variance, the update of
running statistics) is left out, as it is lost beside that.
"""

from __future__ import annotations

from costmodel.dims import Extent, product
from costmodel.graph import Cost, Tensor, dtype_numbered
from costmodel.ops.registry import rule
from costmodel.ops.shapes import normal_axes, normal_axis, reusable, same

MOMENTS = 5  # add for the mean, subtract it, square, add for the variance, divide by its root


def _normalized(x: Tensor, per_element: Extent, *statistics: Tensor, not_learnable: tuple[int, ...] = ()) -> Cost:
    y = x.to(x.dims)
    return Cost(
        (y, *statistics), other_flops=y.size * per_element, in_place=reusable(y, x), not_learnable=not_learnable
    )


def _channels(x: Tensor) -> Extent:
    _, channels, *_ = (*x.dims, 1)  # a tensor of rank 1 has one channel
    return channels


@rule("BatchNormalization")
def batch_normalization_by_outputs(
    x, scale, b, mean, var,
    *, consumed_inputs=None, epsilon=1e-5, is_test=0, momentum=0.9, spatial=1, n_outputs,
):  # fmt: skip
    """2 per element: scale and shift, folded; 7 in training, which more than one output tells."""
    statistics = [mean.to(mean.dims) for _ in range(4)]
    return _batch_normalization(x, scale if spatial else None, *statistics, training=n_outputs > 1)


@rule("BatchNormalization", since=14)
def batch_normalization(x, scale, b, input_mean, input_var, *, epsilon=1e-5, momentum=0.9, training_mode=0):
    """2 per element: scale and shift, folded; 7 in training: 5 for the moments, scale, shift."""
    statistics = (input_mean.to(input_mean.dims), input_var.to(input_var.dims))
    return _batch_normalization(x, scale, *statistics, training=bool(training_mode))


def _batch_normalization(x: Tensor, scale: Tensor | None, *statistics: Tensor, training: bool) -> Cost:
    if scale is not None:
        same(_channels(x), scale.size, "channels and scales")
    return _normalized(x, MOMENTS + 2 if training else 2, *statistics, not_learnable=(3, 4))


@rule("InstanceNormalization")
def instance_normalization(x, scale, b, *, epsilon=1e-5, consumed_inputs=None):
    """7 per element: 5 for the moments (mean, subtract, square, variance, divide), scale, shift."""
    same(_channels(x), scale.size, "channels and scales")
    return _normalized(x, MOMENTS + 2)


@rule("GroupNormalization")
def group_normalization_by_group(x, scale, bias, *, num_groups, epsilon=1e-5):
    """7 per element: 5 for the moments (mean, subtract, square, variance, divide), scale, shift."""
    same(num_groups, scale.size, "groups and scales")
    return _normalized(x, MOMENTS + 2)


@rule("GroupNormalization", since=21)
def group_normalization(x, scale, bias, *, num_groups, epsilon=1e-5, stash_type=1):
    """7 per element: 5 for the moments (mean, subtract, square, variance, divide), scale, shift."""
    same(_channels(x), scale.size, "channels and scales")
    return _normalized(x, MOMENTS + 2)


@rule("LayerNormalization")
def layer_normalization(x, scale, b=None, *, axis=-1, epsilon=1e-5, stash_type=1):
    """6 per element: 5 for the moments (mean, subtract, square, variance, divide), scale; 1 more for a bias."""
    kept = normal_axis(axis, x.rank)
    statistic = x.to((*x.dims[:kept], *(1,) * (x.rank - kept)), dtype=dtype_numbered(stash_type))
    return _normalized(x, MOMENTS + 1 + (b is not None), statistic, statistic)


@rule("RMSNormalization")
def rms_normalization(x, scale, *, axis=-1, epsilon=1e-5, stash_type=1):
    """4 per element: square, add, divide by the root of the mean, scale."""
    normal_axis(axis, x.rank)
    y = x.to(x.dims, dtype=scale.dtype)
    return Cost((y,), other_flops=4 * y.size, in_place=reusable(y, x))


@rule("MeanVarianceNormalization")
def mean_variance_normalization(x, *, axes=(0, 2, 3)):
    """5 per element: mean, subtract, square, variance, divide."""
    normal_axes(axes, x.rank)
    return _normalized(x, MOMENTS)


@rule("LpNormalization")
def lp_normalization(x, *, axis=-1, p=2):
    """3 per element: power, add, divide by the norm."""
    normal_axis(axis, x.rank)
    return _normalized(x, 3)


@rule("LRN")
def lrn(x, *, size, alpha=1e-4, beta=0.75, bias=1.0):
    """Per element: square, one addition per neighbour (size), multiply, add, power, divide."""
    return _normalized(x, size + 5)


@rule("Softmax")
def softmax_of_matrix(x, *, axis=1):
    """5 per element: maximum, subtract, exp, add, divide."""
    normal_axis(axis, x.rank)
    return _normalized(x, 5)


@rule("Softmax", since=13)
def softmax(x, *, axis=-1):
    """5 per element: maximum, subtract, exp, add, divide."""
    return softmax_of_matrix(x, axis=axis)


@rule("LogSoftmax")
def log_softmax_of_matrix(x, *, axis=1):
    """5 per element: maximum, subtract, exp, add, subtract; a log per row."""
    rows = product(x.dims[: normal_axis(axis, x.rank)])
    return _log_softmax(x, rows)


@rule("LogSoftmax", since=13)
def log_softmax(x, *, axis=-1):
    """5 per element: maximum, subtract, exp, add, subtract; a log per row."""
    along = normal_axis(axis, x.rank)
    return _log_softmax(x, product((*x.dims[:along], *x.dims[along + 1 :])))


def _log_softmax(x: Tensor, rows: Extent) -> Cost:
    y = x.to(x.dims)
    return Cost((y,), other_flops=5 * y.size + rows, in_place=reusable(y, x))


@rule("Hardmax")
def hardmax_of_matrix(x, *, axis=1):
    """1 per element: compare."""
    normal_axis(axis, x.rank)
    return _normalized(x, 1)


@rule("Hardmax", since=13)
def hardmax(x, *, axis=-1):
    """1 per element: compare."""
    return hardmax_of_matrix(x, axis=axis)
