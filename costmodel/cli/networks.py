"""``zoo``: the networks that go by a name, and specs of one's own."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from costmodel.cli.options import AsCsv, AsJson, Parameters, named, network_of, show

if TYPE_CHECKING:
    from costmodel.graph import Network

ADD = "add"
UNSOUND = 1


class Form(str, Enum):
    """As what a graph is drawn."""

    mermaid = "mermaid"
    dot = "dot"


def zoo(
    name: Annotated[Optional[str], typer.Argument(metavar="NAME|add", help="A network of the zoo, or add.")] = None,
    file: Annotated[Optional[Path], typer.Argument(help="With add: a spec file of your own.")] = None,
    search: Annotated[
        Optional[str], typer.Option("--search", metavar="TEXT", help="Only networks whose names, family or notes have this.")
    ] = None,
    param: Parameters = None,
    draw: Annotated[Optional[Form], typer.Option("--draw", metavar="mermaid|dot", help="Print the network's graph.")] = None,
    depth: Annotated[int, typer.Option(min=1, help="How many scopes the drawing opens; deeper ones are one node.")] = 2,
    export: Annotated[Optional[Path], typer.Option("--export", metavar="FILE", help="Write the network as ONNX.")] = None,
    weights: Annotated[str, typer.Option(help="Weights of the written file: random, zeros, none (to count).")] = "random",
    check: Annotated[bool, typer.Option("--check", help="With add: check the file, and leave it at that.")] = False,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
) -> None:
    """List the networks of the zoo, show one, or add your own.

    For one network, each figure that somebody published stands beside the count; --draw prints its graph and --export
    writes it as ONNX instead. costmodel zoo add FILE checks a spec file of your own (docs/add-a-network): its frame, every
    layer of its networks, every published figure, and that ONNX accepts what they are exported to. If all is sound, the
    file is copied to the zoo_specs folder of COSTMODEL_HOME (or of your platform's data folder), and its networks go by
    their names from then on. Exit 1 where something is wrong.
    """
    if name == ADD:
        _add(file, is_checked_only=check, as_json=as_json, as_csv=as_csv)
        return
    if file is not None or check:
        raise typer.BadParameter("goes with costmodel zoo add FILE", param_hint="FILE" if file else "--check")
    if name is None:
        if export is not None or param or draw:
            raise typer.BadParameter("name a network of the zoo to go with it", param_hint="--draw, --export or --param")
        _list(search, as_json=as_json, as_csv=as_csv)
        return
    if search is not None:
        raise typer.BadParameter("lists networks; leave NAME out", param_hint="--search")
    network = network_of(name, param)
    if export is not None:
        _export(network, export, weights)
    elif draw is not None:
        if as_json or as_csv:
            raise typer.BadParameter("a drawing is text", param_hint="--json or --csv")
        from costmodel.report.drawing import draw as drawn

        typer.echo(drawn(network, draw.value, depth=depth), nl=False)
    else:
        _show(name, param, network, as_json=as_json, as_csv=as_csv)


def _list(search: str | None, *, as_json: bool, as_csv: bool) -> None:
    from costmodel.catalogue import entries
    from costmodel.report.networks import zoo_report
    from costmodel.unfolding import load_spec

    found = [(entry.name, load_spec(entry.path)) for entry in entries()]
    if search is not None:
        from costmodel.errors import UnknownNetwork, nearest
        from costmodel.specs import mentions

        every, found = found, [(known, family) for known, family in found if mentions(family, known, search)]
        if not found:
            hint = nearest(search, [known for known, _ in every])
            raise UnknownNetwork(f"no network of the zoo has {search!r} in its names, family or notes; {hint}")
    show(zoo_report(found), as_json=as_json, as_csv=as_csv)


def _show(name: str, param: list[str] | None, network: Network, *, as_json: bool, as_csv: bool) -> None:
    from costmodel.checking import checked_figures
    from costmodel.report.networks import network_report
    from costmodel.specs import described
    from costmodel.unfolding import parameters_of

    stated, given = named(name, param)
    family, own, said = described(stated)
    spec, changed = family.networks[own], {**said, **given}
    parameters = parameters_of(family, own, **changed)
    figures = spec.published
    if changed:
        stands = changed.keys() <= parameters.keys()  # a figure holds at open sizes of its own
        figures = tuple(x for x in figures if stands and parameters_of(family, own, **x.parameters) == parameters)
    checked = list(checked_figures(network.with_name(own), family, figures))
    report = network_report(network, checked, family=family, spec=spec, parameters=parameters)
    show(report, as_json=as_json, as_csv=as_csv)


def _add(file: Path | None, *, is_checked_only: bool, as_json: bool, as_csv: bool) -> None:
    if file is None:
        raise typer.BadParameter("give the spec file to add", param_hint="FILE")
    from costmodel.checking import add_spec, check_spec
    from costmodel.report.networks import spec_report

    networks = check_spec(file)
    is_sound = not any(network.problems for network in networks)
    installed = add_spec(file) if is_sound and not is_checked_only else None
    show(spec_report(file, networks, installed), as_json=as_json, as_csv=as_csv)
    if not is_sound:
        raise typer.Exit(UNSOUND)


def _export(network: Network, path: Path, weights: str) -> None:
    from costmodel.report.output import note
    from costmodel.specs import save_onnx

    if not path.parent.is_dir():
        raise typer.BadParameter(f"there is no folder {path.parent}", param_hint="--export")
    save_onnx(network, path, weights=weights)  # type: ignore[arg-type]  # checked there
    note(f"wrote {network.name} to {path} ({path.stat().st_size:,} bytes)")
