"""The picture of a memory plan: the arena over time."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from costmodel.errors import InvalidChoice, MissingExtra
from costmodel.planning import MemoryPlan
from costmodel.schema.profile import write_whole

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FORMATS = (".svg", ".png", ".pdf")
UNITS = ((1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB"), (1, "B"))
LEAST_SHARE = 0.045  # of the arena's height: below it a label cannot be read
GREY = "0.55"


def plot_plan(plan: MemoryPlan, path: str | os.PathLike[str], *, title: str = "") -> None:
    """Draw where each buffer lies while which layers run, and the bytes that are taken in all.

    A rectangle is a buffer, coloured by when it is first written; grey ones are scratch memory. The peak is marked.
    Written to a temporary file first. Raises MissingExtra without matplotlib, InvalidChoice for a file that is no picture.
    """
    target = Path(path)
    if target.suffix not in FORMATS:
        raise InvalidChoice(f"a plot is written as {', '.join(FORMATS)}, not as {target.name!r}; call it {target.stem}.svg")
    drawn = io.BytesIO()
    metadata = {"Date": None} if target.suffix == ".svg" else None
    _figure(plan, title).savefig(drawn, format=target.suffix[1:], dpi=150, metadata=metadata)
    write_whole(target, drawn.getvalue())


def _figure(plan: MemoryPlan, title: str) -> Figure:
    try:
        import matplotlib
        from matplotlib.figure import Figure
    except ImportError:
        raise MissingExtra("plots need matplotlib: pip install 'costmodel[plots]'") from None
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "costmodel", "font.size": 9}):
        figure = Figure(figsize=(11, 5.5), layout="constrained")
        axes = figure.add_subplot()
        _draw(axes, plan, title)
        return figure


def _draw(axes: Axes, plan: MemoryPlan, title: str) -> None:
    steps = max(len(plan.order), 1)
    height = max(plan.arena_bytes, plan.peak_bytes, 1)
    divisor, unit = next((size, name) for size, name in UNITS if height >= size)
    _rectangles(axes, plan, steps, divisor)
    live = [nbytes / divisor for nbytes in plan.live_bytes]
    thickness = 1.2 if steps < 300 else 0.5
    axes.step(range(len(live) + 1), [*live, live[-1]], where="post", color="black", linewidth=thickness, label="bytes taken")
    axes.axhline(plan.arena_bytes / divisor, color="0.3", linewidth=0.8, linestyle=":", label="arena")
    peak = plan.live_bytes.index(max(plan.live_bytes))
    axes.axvline(peak + 0.5, color="black", linewidth=0.8, linestyle=(0, (4, 3)))
    axes.annotate(
        f"peak {max(plan.live_bytes) / divisor:.3g} {unit}\n{plan.at_layer}",
        (peak + 0.5, 1.0), xycoords=("data", "axes fraction"), xytext=(4 if peak < steps * 0.7 else -4, -4),
        textcoords="offset points", ha="left" if peak < steps * 0.7 else "right", va="top",
    )  # fmt: skip
    axes.set(
        xlim=(0, steps), ylim=(0, height / divisor * 1.12), xlabel="step: layers in the order in which they run",
        ylabel=f"offset in the arena ({unit})", title=title,
    )  # fmt: skip
    axes.legend(loc="upper right", frameon=False)
    axes.spines[["top", "right"]].set_visible(False)


def _rectangles(axes: Axes, plan: MemoryPlan, steps: int, divisor: int) -> None:
    from matplotlib import colormaps
    from matplotlib.collections import PolyCollection

    colours = colormaps["viridis"]
    shown = [buffer for buffer in plan.buffers if buffer.nbytes]
    corners: list[Any] = []
    faces: list[Any] = []
    for buffer in shown:
        left, right = buffer.first, buffer.last + 1
        low, high = buffer.offset / divisor, (buffer.offset + buffer.nbytes) / divisor
        corners.append([(left, low), (left, high), (right, high), (right, low)])
        faces.append(colours(buffer.first / steps) if buffer.tensors else GREY)
    edge = 0.4 if len(shown) < 300 else 0.1
    axes.add_collection(PolyCollection(corners, facecolors=faces, edgecolors="white", linewidths=edge))
    for buffer in shown:
        is_wide = (buffer.last + 1 - buffer.first) > steps * 0.1
        if is_wide and buffer.nbytes > LEAST_SHARE * plan.arena_bytes and buffer.tensors:
            middle = (buffer.first + buffer.last + 1) / 2, (buffer.offset + buffer.nbytes / 2) / divisor
            dark = buffer.first < steps * 0.6
            axes.annotate(
                buffer.tensors[0][-28:], middle, ha="center", va="center", fontsize=7, color="white" if dark else "black",
                clip_on=True,
            )  # fmt: skip
