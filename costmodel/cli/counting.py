"""``count`` and ``memory``."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated, Optional

import typer

from costmodel.cli.options import AsCsv, AsJson, At, By, Model, Parameters, Sizes, network_of, point, show, tell

PLANNERS = "ideal, naive, tflite, tinyengine, onnxruntime, with -no-reuse, -pattern or -arena, and -optimized"
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


class ByStep(str, Enum):
    step = "step"


def memory(
    model: Model,
    at: At = None,
    sizes: Sizes = None,
    param: Parameters = None,
    planner: Annotated[str, typer.Option(help=f"How memory is shared: {PLANNERS}.")] = "ideal",
    order: Annotated[
        Optional[str], typer.Option(help="The order in which layers run: file, best, or as the runtime would (runtime).")
    ] = None,
    by: Annotated[Optional[ByStep], typer.Option("--by", metavar="step", help="Add a table by step.")] = None,
    training: Annotated[bool, typer.Option("--training", help="The memory of one training step in PyTorch.")] = False,
    optimizer: Annotated[str, typer.Option(help="With --training: sgd, momentum, adam, adamw, adam-8bit ...")] = "adam",
    checkpoint: Annotated[Optional[int], typer.Option(help="With --training: run segments of so many links again.")] = None,
    loss: Annotated[str, typer.Option(help="With --training: mean, cross-entropy.")] = "mean",
    runtime: Annotated[
        Optional[str], typer.Option(help="Tell what a process takes too: weights, activations, what the runtime adds.")
    ] = None,
    plot: Annotated[Optional[Path], typer.Option(help="Draw the arena over time, as .svg, .png or .pdf.")] = None,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
) -> None:
    """Tell the peak memory of activations, and what holds it."""
    given = point(at)
    network = network_of(model, param, sizes)
    from costmodel.planning import at_bounds
    from costmodel.planning import memory as planned
    from costmodel.report.memory import memory_report

    if training:
        from costmodel.report.training import training_report
        from costmodel.training import training_memory

        step = training_memory(network, optimizer=optimizer, checkpoint=checkpoint, loss=loss)
        sizes_of_step = network.bind(given)
        tell(network)
        show(training_report(step, step.at(sizes_of_step), sizes_of_step), as_json=as_json, as_csv=as_csv)
        return
    found = planned(network, planner=planner, order=order)
    plan = found.at(given)
    bound = at_bounds(network, given)[0]
    tell(network)
    if plot is not None:
        from costmodel.report.arena import plot_plan
        from costmodel.report.counting import titled

        plot_plan(plan, plot, title=f"{titled(network.name, bound)}, planner {plan.planner}")
    footprint = None
    if runtime is not None:
        from costmodel.footprint import device_memory

        footprint = device_memory(network, runtime, bound)
    report = memory_report(found, plan, bound, by=by.value if by else "", footprint=footprint)
    show(report, as_json=as_json, as_csv=as_csv)
