"""``calibrate`` and ``accuracy``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from costmodel.cli.options import AsCsv, AsJson, show

if TYPE_CHECKING:
    from collections.abc import Sequence

    from costmodel.schema.measurement import Measurement
    from costmodel.schema.profile import Profile


def calibrate(
    measurements: Annotated[
        Optional[Path], typer.Argument(metavar="RUNS.CSV", help="A table of measurements; none with --datasheet.")
    ] = None,
    device: Annotated[Optional[str], typer.Option(help="Only the rows of this device.")] = None,
    out: Annotated[
        Optional[Path], typer.Option(metavar="FOLDER", help="Where profiles go, if not to your own.")
    ] = None,
    datasheet: Annotated[
        Optional[str], typer.Option(metavar="DEVICE.TOML", help="A device that nobody measured: its description.")
    ] = None,
    runtime: Annotated[str, typer.Option(help="With --datasheet, of a CPU: its runtime.")] = "ncnn",
    variant: Annotated[str, typer.Option(help="With --datasheet, of a CPU: its threads, as in t4 or t4-big.")] = "t4",
    precision: Annotated[Optional[str], typer.Option(help="With --datasheet, of a CPU: fp32 or fp16.")] = None,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
) -> None:
    """Fit profiles to measurements, and tell their error.

    The error is that on networks left out of the fit. docs/add-a-device.md shows the columns of the table; with
    --datasheet a device's description stands in for it. Without --out
    the profiles go to the folder where predict looks first (set COSTMODEL_HOME to move it).
    """
    from costmodel.calibration import calibrate_all, odd_rows, shipped_support
    from costmodel.finding import profile_folders
    from costmodel.report.calibrating import calibration_report
    from costmodel.report.output import note, working
    from costmodel.schema.measurement import read_measurements

    if (measurements is None) == (datasheet is None):
        raise typer.BadParameter("give a table of measurements, or --datasheet with a device's description")
    folder = out if out is not None else profile_folders()[0]
    if measurements is None:
        from costmodel.datasheets import from_datasheet

        with working("calibrating"):
            profile = from_datasheet(datasheet or "", runtime=runtime, precision=precision, variant=variant)
        show(calibration_report({profile.save(folder): profile}, folder, {}), as_json=as_json, as_csv=as_csv)
        return
    rows = _of_device(read_measurements(measurements), device)
    support = shipped_support(rows)
    with working("calibrating") as progress:
        fitted = calibrate_all(rows, support=support, progress=progress)
    for number, row, times in odd_rows(rows, support=support) if device is None else ():
        note(f"row {number}: {row.network} takes {times:.2g} times what the other networks make expect; is it right?")
    written = {profile.save(folder): profile for profile in fitted}
    show(calibration_report(written, folder, _left_out(rows, fitted)), as_json=as_json, as_csv=as_csv)


def _of_device(rows: Sequence[Measurement], device: str | None) -> list[Measurement]:
    """The rows of a device, by its id in the table, or by an alias of a described device."""
    if device is None:
        return list(rows)
    from costmodel.calibration import known_device
    from costmodel.errors import UnknownDevice, nearest

    ids = {row.device for row in rows}
    wanted = device if device in ids else known_device(device)
    if wanted not in ids:
        raise UnknownDevice(f"the table has no rows of device {device!r}; {nearest(device, sorted(ids))}")
    return [row for row in rows if row.device == wanted]


def _left_out(rows: Sequence[Measurement], fitted: Sequence[Profile]) -> dict[str, str]:
    """Configurations of the table that gave no profile, with the reason."""
    from costmodel.calibration import FEWEST

    done = {profile.id for profile in fitted}
    networks: dict[str, set[str]] = {}
    for row in rows:
        networks.setdefault(row.profile, set()).add(row.network)
    reason = f"a profile needs {FEWEST}; measure more"
    return {name: f"{len(found)} usable networks at most, {reason}" for name, found in networks.items() if name not in done}


def accuracy(
    protocol: Annotated[Optional[str], typer.Option(metavar="NAME", help="The protocol to run.")] = None,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
) -> None:
    """Report the error of predictions on what was left out.

    A protocol hides networks or devices from the fit, predicts them, and reports error, coverage and width of the intervals
    beside plain baselines. Without --protocol, list the protocols.
    """
    from costmodel.accuracy import PROTOCOLS, run_protocol

    if protocol is None:
        from costmodel.report.listing import protocols_report

        show(protocols_report({name: protocol.what for name, protocol in PROTOCOLS.items()}), as_json=as_json, as_csv=as_csv)
        return
    from costmodel.report.calibrating import accuracy_report
    from costmodel.report.output import working

    with working(f"running {protocol}"):
        found = run_protocol(protocol)
    show(accuracy_report(found), as_json=as_json, as_csv=as_csv)
