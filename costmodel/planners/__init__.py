"""The planners by name: how allocators and runtimes lay out the memory of activations."""

from __future__ import annotations

from collections.abc import Mapping

from costmodel.errors import InvalidChoice, nearest
from costmodel.planners.onnxruntime import OnnxRuntime
from costmodel.planners.planner import Planner as Planner
from costmodel.planners.presets import Ideal, Naive, TensorFlowLite, TinyEngine

PLANNERS: Mapping[str, Planner] = {
    planner.name: planner
    for planner in (
        Ideal(),
        OnnxRuntime(),
        OnnxRuntime(pattern=True),
        OnnxRuntime(pattern=True, arena=True),
        OnnxRuntime(reuse=False),
        TensorFlowLite(),
        TinyEngine(),
        Naive(),
    )
}


def find_planner(planner: str | Planner) -> Planner:
    """A planner by name, or the one given.

    >>> find_planner("tflite").name
    'tflite'

    Raises InvalidChoice with the nearest names.
    """
    if isinstance(planner, Planner):
        return planner
    if planner not in PLANNERS:
        raise InvalidChoice(f"there is no planner {planner!r}; {nearest(planner, PLANNERS)}")
    return PLANNERS[planner]
