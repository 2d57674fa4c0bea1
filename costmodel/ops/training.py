"""Training: the gradient of a part of the graph, and one step of an optimiser (domain ai.onnx.preview.training)."""

from __future__ import annotations

from functools import partial

from costmodel.dims import total
from costmodel.errors import MalformedModel
from costmodel.graph import Cost
from costmodel.ops.registry import rule

training = partial(rule, domain="ai.onnx.preview.training")
PASSES = 3  # once forwards; backwards once to the inputs and once to the weights


@training("Gradient")
def gradient(*inputs, xs, y, zs=(), layers_between):
    """Three times what the layers between xs, zs and y count: forwards again, and backwards to inputs and to weights."""
    layers = layers_between((*xs, *zs), y)
    unknown = next((layer.problem for layer in layers if layer.problem), None)
    if unknown:
        raise MalformedModel(f"the gradient of {y!r} passes a layer that cannot be counted: {unknown}")
    costs = [layer.cost for layer in layers if layer.cost is not None]
    return Cost(
        tuple(x.to(x.dims) for x in inputs[: len(xs)]),
        macs=PASSES * total(cost.macs for cost in costs),
        other_flops=PASSES * total(cost.other_flops for cost in costs),
    )


def optimizer(inputs, *, groups: int, kept: tuple[int, ...], per_element: int) -> Cost:
    """``inputs`` are groups of as many tensors each: the optimised ones, their gradients, their histories."""
    if len(inputs) % groups:
        raise MalformedModel(f"{len(inputs)} tensors do not form {groups} groups: values, gradients and histories")
    count = len(inputs) // groups
    outputs = [x.to(x.dims) for group in kept for x in inputs[group * count : (group + 1) * count]]
    return Cost(tuple(outputs), other_flops=per_element * total(x.size for x in inputs[:count]))


@training("Adagrad")
def adagrad(r, t, *inputs, decay_factor=0.0, epsilon=1e-6, norm_coefficient=0.0):
    """9 per optimised number: 2 to regularise, 2 for the squares' sum, 2 for its root, 3 to step."""
    return optimizer(inputs, groups=3, kept=(0, 2), per_element=9)


@training("Adam")
def adam(r, t, *inputs, alpha=0.9, beta=0.999, epsilon=1e-6, norm_coefficient=0.0, norm_coefficient_post=0.0):
    """15 per optimised number: 2 to regularise, 3 and 4 for the averages, 2 for the root, 3 to step, 1 to shrink."""
    return optimizer(inputs, groups=4, kept=(0, 2, 3), per_element=15)


@training("Momentum")
def momentum(r, t, *inputs, alpha, beta, mode, norm_coefficient):
    """7 per optimised number: 2 to regularise, 3 for the average, 2 to step; 2 more in Nesterov's way."""
    if mode not in ("standard", "nesterov"):
        raise MalformedModel(f"mode {mode!r} is neither standard nor nesterov")
    return optimizer(inputs, groups=3, kept=(0, 2), per_element=9 if mode == "nesterov" else 7)
