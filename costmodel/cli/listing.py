"""``devices`` and ``ops``."""

from __future__ import annotations

from typing import Annotated, Optional

import typer

from costmodel.cli.options import AsCsv, AsJson, show


def devices(
    text: Annotated[
        Optional[str], typer.Argument(metavar="[TEXT]", help="Only devices whose id, name or chip has this.")
    ] = None,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
) -> None:
    """List the devices with the profiles to predict on."""
    from costmodel.finding import profiles
    from costmodel.report.listing import devices_report
    from costmodel.schema.device import load_devices

    wanted = (text or "").lower()
    known = load_devices()
    found = [
        device
        for device in known.values()
        if any(wanted in part.lower() for part in (device.id, device.title, device.soc or "", *device.aliases))
    ]
    kept = {device.id for device in found}
    ids = [name for name in profiles() if (owner := name.split("/")[0]) in kept or (owner not in known and wanted in owner)]
    if text and not found and not ids:
        from costmodel.schema.device import find_device

        find_device(text)
    show(devices_report(found, ids), as_json=as_json, as_csv=as_csv)


def ops(
    text: Annotated[Optional[str], typer.Argument(metavar="[TEXT]", help="Only ops whose name has this.")] = None,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
) -> None:
    """List the ops that have a cost rule, with what is counted."""
    from costmodel.errors import UnsupportedOp, nearest
    from costmodel.ops import registry
    from costmodel.report.listing import ops_report

    every = list(registry.rules())
    found = [rule for rule in every if (text or "").lower() in rule.op.lower()]
    if text and not found:
        hint = nearest(text, sorted({rule.op for rule in every}))
        raise UnsupportedOp(f"no op with a rule has {text!r} in its name; {hint} docs/add-an-op shows how to add one")
    show(ops_report(found), as_json=as_json, as_csv=as_csv)
