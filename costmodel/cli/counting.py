"""``count`` and ``memory``."""

from __future__ import annotations

from typing import Annotated, Optional

import typer

from costmodel.cli.options import AsCsv, AsJson, At, By, Model, Parameters, Sizes, network_of, point, show, tell

TOOLS = "fvcore, onnx-tool, ptflops, thop, torch, torchvision"


def count(
    model: Model,
    at: At = None,
    sizes: Sizes = None,
    param: Parameters = None,
    by: Annotated[Optional[By], typer.Option("--by", metavar="op|layer", help="Add a table by op or by layer.")] = None,
    convention: Annotated[str, typer.Option(help=f"Count macs and flops as another tool does: {TOOLS}.")] = "costmodel",
    as_json: AsJson = False,
    as_csv: AsCsv = False,
) -> None:
    """Count operations, parameters, bytes and peak memory.

    Without --at, open sizes stay open and counts are formulas.
    """
    given = point(at)
    network = network_of(model, param, sizes)
    from costmodel.counts import count as counted
    from costmodel.planning import memory as planned
    from costmodel.report.counting import counts_report

    bound = network.bind(given, complete=False) if given else {}
    tell(network)
    counts = counted(network, convention=convention)
    show(counts_report(counts, planned(network), bound, by=by.value if by else ""), as_json=as_json, as_csv=as_csv)


def memory(
    model: Model,
    at: At = None,
    sizes: Sizes = None,
    param: Parameters = None,
    planner: Annotated[str, typer.Option(help="How memory is shared: ideal, naive.")] = "ideal",
    order: Annotated[str, typer.Option(help="The order in which layers run: file.")] = "file",
    as_json: AsJson = False,
    as_csv: AsCsv = False,
) -> None:
    """Tell the peak memory of activations, and what holds it."""
    given = point(at)
    network = network_of(model, param, sizes)
    from costmodel.planning import memory as planned
    from costmodel.report.counting import memory_report

    bound = network.bind(given)
    plan = planned(network, planner=planner, order=order)
    tell(network)
    show(memory_report(plan, plan.at(bound), bound), as_json=as_json, as_csv=as_csv)
