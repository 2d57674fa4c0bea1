"""The planners by name: how allocators and runtimes lay out the memory of activations."""

from __future__ import annotations

from collections.abc import Mapping

from costmodel.errors import InvalidChoice, nearest
from costmodel.planners.onnxruntime import OnnxRuntime
from costmodel.planners.planner import Planner as Planner
from costmodel.planners.presets import Ideal, Naive, TensorFlowLite, TinyEngine

_SESSIONS: tuple[dict[str, bool], ...] = ({}, {"pattern": True}, {"pattern": True, "arena": True}, {"reuse": False})
PLANNERS: Mapping[str, Planner] = {
    planner.name: planner
    for planner in (
        Ideal(),
        *(OnnxRuntime(**options, optimized=optimized) for optimized in (False, True) for options in _SESSIONS),
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
