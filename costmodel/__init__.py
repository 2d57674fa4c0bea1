"""What a neural network will cost, before it is trained or run.

>>> import costmodel as cm
>>> cm.count(cm.zoo("resnet18")).at(N=1, H=224, W=224).macs
1814073344

The public names; each loads its module when it is first used, so importing costmodel stays light.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from costmodel.version import __version__

if TYPE_CHECKING:
    from costmodel import search as search
    from costmodel.accuracy import Accuracy as Accuracy
    from costmodel.accuracy import evaluate as evaluate
    from costmodel.build import Builder as Builder
    from costmodel.build import block as block
    from costmodel.calibration import calibrate as calibrate
    from costmodel.compiled import Compiled as Compiled
    from costmodel.counts import Counts as Counts
    from costmodel.counts import count as count
    from costmodel.datasheets import from_datasheet as from_datasheet
    from costmodel.dims import Dim as Dim
    from costmodel.errors import CannotCalibrate as CannotCalibrate
    from costmodel.errors import CannotExport as CannotExport
    from costmodel.errors import CostModelError as CostModelError
    from costmodel.errors import InvalidChoice as InvalidChoice
    from costmodel.errors import InvalidDevice as InvalidDevice
    from costmodel.errors import InvalidMeasurement as InvalidMeasurement
    from costmodel.errors import InvalidProfile as InvalidProfile
    from costmodel.errors import InvalidSpec as InvalidSpec
    from costmodel.errors import MalformedModel as MalformedModel
    from costmodel.errors import MissingExtra as MissingExtra
    from costmodel.errors import ParseError as ParseError
    from costmodel.errors import ShapeMismatch as ShapeMismatch
    from costmodel.errors import UnknownDevice as UnknownDevice
    from costmodel.errors import UnknownNetwork as UnknownNetwork
    from costmodel.errors import UnknownProfile as UnknownProfile
    from costmodel.errors import UnknownSize as UnknownSize
    from costmodel.errors import UnsupportedOp as UnsupportedOp
    from costmodel.finding import profiles as profiles
    from costmodel.footprint import device_memory as device_memory
    from costmodel.graph import Cost as Cost
    from costmodel.graph import Layer as Layer
    from costmodel.graph import Network as Network
    from costmodel.graph import Tensor as Tensor
    from costmodel.ops.registry import rule as rule
    from costmodel.optimizers import Optimizer as Optimizer
    from costmodel.planning import MemoryPlan as MemoryPlan
    from costmodel.planning import memory as memory
    from costmodel.prediction import Estimate as Estimate
    from costmodel.prediction import Prediction as Prediction
    from costmodel.prediction import predict as predict
    from costmodel.prediction import predict_many as predict_many
    from costmodel.read.onnx import load as load
    from costmodel.read.torch import from_torch as from_torch
    from costmodel.schema.device import devices as devices
    from costmodel.schema.measurement import read_measurements as read_measurements
    from costmodel.schema.profile import Profile as Profile
    from costmodel.specs import save_onnx as save_onnx
    from costmodel.specs import to_onnx as to_onnx
    from costmodel.specs import zoo as zoo
    from costmodel.specs import zoo_names as zoo_names
    from costmodel.stored_size import Storage as Storage
    from costmodel.stored_size import storage as storage
    from costmodel.sweeping import Sweep as Sweep
    from costmodel.sweeping import sweep as sweep
    from costmodel.training import TrainingMemory as TrainingMemory
    from costmodel.training import TrainingPlan as TrainingPlan
    from costmodel.training import training_memory as training_memory

_ERRORS = (
    "CannotCalibrate", "CannotExport", "CostModelError", "InvalidChoice", "InvalidDevice", "InvalidMeasurement",
    "InvalidProfile", "InvalidSpec", "MalformedModel", "MissingExtra", "ParseError", "ShapeMismatch",
    "UnknownDevice", "UnknownNetwork", "UnknownProfile", "UnknownSize", "UnsupportedOp",
)  # fmt: skip

_HOMES: dict[str, tuple[str, ...]] = {
    "accuracy": ("Accuracy", "evaluate"),
    "build": ("Builder", "block"),
    "calibration": ("calibrate",),
    "compiled": ("Compiled",),
    "counts": ("Counts", "count"),
    "datasheets": ("from_datasheet",),
    "dims": ("Dim",),
    "errors": _ERRORS,
    "finding": ("profiles",),
    "graph": ("Cost", "Layer", "Network", "Tensor"),
    "footprint": ("device_memory",),
    "planning": ("MemoryPlan", "memory"),
    "ops.registry": ("rule",),
    "optimizers": ("Optimizer",),
    "prediction": ("Estimate", "Prediction", "predict", "predict_many"),
    "read.onnx": ("load",),
    "read.torch": ("from_torch",),
    "schema.device": ("devices",),
    "schema.measurement": ("read_measurements",),
    "schema.profile": ("Profile",),
    "specs": ("save_onnx", "to_onnx", "zoo", "zoo_names"),
    "stored_size": ("Storage", "storage"),
    "training": ("TrainingMemory", "TrainingPlan", "training_memory"),
    "sweeping": ("Sweep", "sweep"),
}
_MODULE_OF = {name: module for module, names in _HOMES.items() for name in names}
_MODULES = ("search",)

__all__ = ["__version__", *sorted((*_MODULE_OF, *_MODULES))]


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return importlib.import_module(f"costmodel.{name}")
    try:
        module = _MODULE_OF[name]
    except KeyError:
        raise AttributeError(f"module 'costmodel' has no attribute {name!r}") from None
    value = getattr(importlib.import_module(f"costmodel.{module}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_MODULE_OF, *_MODULES})
