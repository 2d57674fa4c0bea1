"""The profile of a GPU that nobody measured, from its datasheet."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from costmodel.gpu.measured import LICENCE, SOURCE, chip_of, table_hash
from costmodel.gpu.unseen import law, law_without, measured_networks
from costmodel.intervals import margins
from costmodel.schema.datasheet import datasheet_of
from costmodel.schema.device import Device
from costmodel.schema.profile import HeldOut, Profile, Provenance
from costmodel.version import __version__

RUNTIME, PRECISION, VARIANT = "torch", "fp32", "eager"


@lru_cache(maxsize=4)
def unseen_errors(task: str = "inference") -> dict[str, list[float]]:
    """log(predicted / measured) of whole networks on each chip, by a law that has seen no card of it.

    >>> errors = unseen_errors()
    >>> sum(abs(error) < 0.4 for found in errors.values() for error in found) > 50
    True
    """
    errors: dict[str, list[float]] = {}
    for run in measured_networks():
        if run.task == task:
            predicted_s = sum(sum(costed.seconds.values()) for costed in run.kernels(law_without(run.device)))
            errors.setdefault(chip_of(run.device), []).append(float(np.log(predicted_s / run.time_s)))
    return errors


def profile_from_datasheet(device: Device) -> Profile:
    """The profile of a described GPU under eager PyTorch, in single precision without TF32.

    The law is fitted on all measured cards, the device's own among them where there is one. Intervals are as wide as the
    errors on networks on cards of chips that the law had not seen.

    >>> from costmodel.schema.device import find_device
    >>> profile_from_datasheet(find_device("l4")).id
    'l4/torch/fp32/eager'

    Raises InvalidDevice where the description lacks a fact that the law needs, and names it.
    """
    sheet = datasheet_of(device)
    errors = unseen_errors()
    return Profile(
        device=device.id,
        runtime=RUNTIME,
        precision=PRECISION,
        variant=VARIANT,
        device_kind="gpu",
        datasheet=sheet,
        law=law(sheet.vendor),
        held_out=_held_out(errors),
        provenance=Provenance(
            networks=tuple(sorted({run.network for run in measured_networks() if run.task == "inference"})),
            sources=(SOURCE, device.source),
            licences=(LICENCE,),
            data_sha256=table_hash(),
            costmodel_version=__version__,
        ),
        note=(
            "from the datasheet alone; the law of utilisation is that of other cards' kernels; "
            "attention as separate operations, without TF32"
        ),
    )


def _held_out(errors: dict[str, list[float]]) -> HeldOut:
    residuals = np.array(sorted(error for found in errors.values() for error in found))
    sizes = np.abs(np.expm1(residuals))
    widths = margins({"unseen chips": residuals.tolist()})["unseen chips"]
    return HeldOut(
        mape=float(f"{sizes.mean():.4g}"),
        median_ape=float(f"{np.median(sizes):.4g}"),
        within_10=float(f"{(sizes <= 0.1).mean():.4g}"),
        residuals=tuple(float(f"{residual:.4g}") for residual in residuals),
        margins=tuple(float(f"{width:.4g}") for width in widths),
    )
