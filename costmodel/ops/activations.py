"""Activations that a layer applies on the way, named by an attribute."""

from __future__ import annotations

from costmodel.errors import MalformedModel, nearest
from costmodel.ops.elementwise import GELU, UNARY, count

STEPS = {
    **{name: row.steps for name, row in UNARY.items()},
    "Affine": "multiply, add",
    "Clip": "maximum, minimum",
    "FastGelu": GELU["tanh"],
    "Gelu": GELU["none"],
    "Identity": "",
    "None": "",
    "QuickGelu": "multiply, negate, exp, add, divide, multiply",
    "ScaledTanh": "multiply, tanh, multiply",
    "Silu": "negate, exp, add, divide, multiply",
    "Swish": "negate, exp, add, divide, multiply",
}
FLOPS = {name.lower(): count(steps) for name, steps in STEPS.items()}


def activation_flops(name: str | None) -> int:
    """Operations per element of an activation; runtimes read the name in any case.

    >>> activation_flops("Sigmoid"), activation_flops("tanh"), activation_flops(None)
    (4, 1, 0)
    """
    if not name:
        return 0
    if name.lower() not in FLOPS:
        raise MalformedModel(f"there is no activation {name!r}; {nearest(name, STEPS)}")
    return FLOPS[name.lower()]
