"""What can go wrong, as one tree.

::

    CostModelError
    |-- ParseError            a text (expression, quantity, sizes) does not follow its grammar
    |-- MalformedModel        the file is not a valid ONNX model: truncated, cyclic, a missing input
    |   `-- ShapeMismatch     shapes that contradict each other, with the node that says so
    |-- UnsupportedOp         an operation without a rule, where leaving it out is not acceptable
    |-- UnknownSize           a size that was not given, or that the network does not have
    |-- UnknownNetwork        a name that the zoo does not have
    |-- UnknownProfile        a profile id that matches nothing, or too much
    |-- UnknownDevice         a device id that nothing describes
    |-- InvalidSpec           a network spec that breaks a rule of the format
    |-- InvalidDevice         a device file that breaks a rule of the format
    |-- InvalidMeasurement    a table of measurements that cannot be used, with its row
    |-- InvalidProfile        a profile file that cannot be used
    |-- CannotCalibrate       too little to fit
    |-- InvalidChoice         an option with a value outside its list
    |-- CannotExport          torch cannot trace a module, or write it as ONNX
    `-- MissingExtra          an optional dependency that is not installed

Each message says the rule, the value, the place and the cure.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class CostModelError(Exception):
    """The root of every error that this library raises on purpose."""


class ParseError(CostModelError):
    """A text does not follow its grammar."""


class MalformedModel(CostModelError):
    """The model breaks a rule of the ONNX specification."""


class ShapeMismatch(MalformedModel):
    """Two extents that must be equal are not.

    ``left`` and ``right`` hold the two sides where they are known, so that a loader may find the one size
    at which they agree.
    """

    def __init__(self, message: str, left: object = None, right: object = None) -> None:
        super().__init__(message)
        self.left = left
        self.right = right


class UnsupportedOp(CostModelError):
    """An operation has no cost rule."""


class UnknownSize(CostModelError):
    """A named size has no value, or the network has no such size."""


class UnknownNetwork(CostModelError):
    """The zoo has no network of this name."""


class UnknownProfile(CostModelError):
    """No profile has this id, or more than one begins with it."""


class UnknownDevice(CostModelError):
    """No device has this id."""


class InvalidSpec(CostModelError):
    """A network spec breaks a rule of the format."""


class InvalidDevice(CostModelError):
    """A device file breaks a rule of the format."""


class InvalidMeasurement(CostModelError):
    """A measurement cannot be used."""


class InvalidProfile(CostModelError):
    """A profile file cannot be used."""


class CannotCalibrate(CostModelError):
    """There is too little to fit a profile on."""


class InvalidChoice(CostModelError):
    """An option has a value outside its list."""


class CannotExport(CostModelError):
    """torch cannot trace a module, or write it as ONNX."""


class MissingExtra(CostModelError):
    """An optional dependency is not installed."""


def nearest(wrong: str, known: Iterable[str], limit: int = 3) -> str:
    """The known names closest to a wrong one, as the end of an error message.

    >>> nearest("resnet5", ["resnet50", "vgg16"])
    "did you mean 'resnet50'?"
    >>> nearest("x", [])
    'there are none'
    """
    names = list(known)
    if not names:
        return "there are none"
    close = difflib.get_close_matches(wrong, names, n=limit, cutoff=0.4)
    if close:
        return "did you mean " + " or ".join(repr(name) for name in close) + "?"
    listed = ", ".join(repr(name) for name in sorted(names)[:8])
    return f"known: {listed}" + (f" and {len(names) - 8} more" if len(names) > 8 else "")
