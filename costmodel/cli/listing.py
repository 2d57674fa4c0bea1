"""``zoo``, ``devices`` and ``ops``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from costmodel.cli.options import AsCsv, AsJson, Parameters, named, network_of, show

if TYPE_CHECKING:
    from collections.abc import Iterator

    from costmodel.graph import Network
    from costmodel.report.listing import Checked
    from costmodel.schema.spec import Published


def zoo(
    name: Annotated[Optional[str], typer.Argument(help="A network of the zoo.")] = None,
    param: Parameters = None,
    export: Annotated[
        Optional[Path], typer.Option("--export", metavar="FILE", help="Write the network as ONNX.")
    ] = None,
    weights: Annotated[str, typer.Option(help="Weights of the written file: random, zeros, none (to count).")] = "random",
    as_json: AsJson = False,
    as_csv: AsCsv = False,
) -> None:
    """List the networks of the zoo, or check one of them.

    For one network, each figure that somebody published stands beside the count; --export writes it as ONNX instead.
    """
    from costmodel.specs import published, zoo_names

    if name is None:
        if export is not None or param:
            raise typer.BadParameter("name a network of the zoo to go with it", param_hint="--export or --param")
        from costmodel.report.listing import zoo_report

        show(zoo_report({known: published(known) for known in zoo_names()}), as_json=as_json, as_csv=as_csv)
        return
    network = network_of(name, param)
    if export is not None:
        _export(network, export, weights)
        return
    from costmodel.report.listing import published_report

    known, given = named(name, param)
    figures = () if given else published(known)
    show(published_report(network.name, list(_checked(network, figures))), as_json=as_json, as_csv=as_csv)


def _checked(network: Network, figures: tuple[Published, ...]) -> Iterator[Checked]:
    """Each published figure of params and MACs with the count for its parameters, at its sizes."""
    from costmodel.counts import count
    from costmodel.report.listing import Checked
    from costmodel.specs import zoo as zoo_network

    for figure in figures:
        variant = zoo_network(network.name, **figure.parameters) if figure.parameters else network
        bound = variant.bind(figure.sizes)
        sizes = {name: bound[name] for name in variant.sizes}
        counted = count(variant).at(sizes)
        for quantity in ("params", "macs"):
            stated = getattr(figure, quantity)
            if stated is not None:
                number = int(getattr(counted, quantity))
                yield Checked(figure.source, quantity, stated, number, figure.parameters, sizes, figure.note)


def _export(network: Network, path: Path, weights: str) -> None:
    from costmodel.report.output import note
    from costmodel.specs import save_onnx

    if not path.parent.is_dir():
        raise typer.BadParameter(f"there is no folder {path.parent}", param_hint="--export")
    save_onnx(network, path, weights=weights)  # type: ignore[arg-type]  # checked there
    note(f"wrote {network.name} to {path} ({path.stat().st_size:,} bytes)")


def devices(
    text: Annotated[
        Optional[str], typer.Argument(metavar="[TEXT]", help="Only devices whose id, name or chip has this.")
    ] = None,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
) -> None:
    """List the devices with the profiles to predict on."""
    from costmodel.prediction import profiles
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
