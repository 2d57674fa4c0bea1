"""``sweep``."""

from __future__ import annotations

from typing import Annotated, Optional

import typer

from costmodel.cli.options import AsCsv, AsJson, At, Model, Parameters, Sizes, Words, network_of, point, show, tell, varied
from costmodel.cli.predicting import AllowUnsupported, Level


def sweep(
    model: Model,
    on: Annotated[str, typer.Option("--on", metavar="PROFILE", help="A profile, or the beginning of its id.")],
    vary: Annotated[
        Words,
        typer.Option(
            "--vary",
            metavar="NAME,...=VALUES",
            help="Sizes that take many values: FIRST:LAST or FIRST:LAST:STEP, numbers apart by ;. Names before the = "
            "go together, as in H,W=128:512:32. Repeatable: every combination is a row.",
        ),
    ],
    at: At = None,
    sizes: Sizes = None,
    param: Parameters = None,
    pareto: Annotated[
        Optional[str],
        typer.Option(metavar="COLUMN,...", help="Only points that no other beats in these: less is better, +COLUMN more."),
    ] = None,
    level: Level = 0.9,
    allow_unsupported: AllowUnsupported = False,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
) -> None:
    """Predict a network at many sizes: a row for each.

    Sizes that neither --vary nor --at gives have the network's defaults. A million points take about a second; --csv and
    --json print all of them, the table the first and the last.
    """
    given, (many, ties) = point(at), varied(vary)
    for name in given:
        if name in many:
            raise typer.BadParameter(f"{name!r} is in --at too; give it once", param_hint="--vary")
    network = network_of(model, param, sizes)
    from costmodel.finding import find_profile
    from costmodel.report.output import note
    from costmodel.report.sweeping import sweep_report
    from costmodel.sweeping import sweep as swept

    notes: list[str] = []
    profile = find_profile(on, notes)
    for text in notes:
        note(text)
    tell(network)
    found = swept(network, profile, tie=ties, level=level, allow_unsupported=allow_unsupported, **many, **given)
    if pareto is not None:
        names = [name.strip() for name in pareto.split(",")]
        more = [name[1:] for name in names if name.startswith("+")]
        found = found.pareto(*(name for name in names if not name.startswith("+")), maximise=more)
    show(sweep_report(found), as_json=as_json, as_csv=as_csv)
