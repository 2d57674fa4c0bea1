"""What calibration wrote, and how far it is to be trusted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from costmodel.accuracy import Accuracy, Metrics
from costmodel.report.output import Grid, Report, many
from costmodel.schema.profile import Profile


def percent(fraction: float) -> str:
    """A fraction as per cent, with three digits.

    >>> percent(0.1234), percent(1.5), percent(float("nan"))
    ('12.3%', '150%', '-')
    """
    return "-" if fraction != fraction else f"{100 * fraction:.3g}%"


def calibration_report(written: Mapping[Path, Profile], folder: Path, left_out: Mapping[str, str]) -> Report:
    """The profiles that were written with their error on networks left out, and the rows that gave none."""
    rows = [_profile_row(path, profile) for path, profile in written.items()]
    data = {"profiles": rows, "left_out": [{"profile": name, "reason": reason} for name, reason in left_out.items()]}

    def text() -> list[str | Grid]:
        errors = ("median_ape", "mape", "within_10")
        table = [(row["profile"], str(row["networks"]), *(percent(row[name]) for name in errors)) for row in rows]
        return [
            Grid(("<profile", ">networks", ">median", ">mean", ">within 10%"), table),
            "Errors are on networks that the fit had not seen.",
            *(f"No profile of {name}: {reason}" for name, reason in left_out.items()),
            f"Wrote {many(len(written), 'profile')} to {folder}",
        ]

    return Report(data, rows, text)


def _profile_row(path: Path, profile: Profile) -> dict[str, Any]:
    errors = {name: getattr(profile.held_out, name) for name in ("mape", "median_ape", "within_10")}
    return {"profile": profile.id, "path": str(path), "networks": len(profile.provenance.networks), **errors}


LEGEND = """\
median, mean: of |predicted / measured - 1|; rank: Spearman's, within a device; coverage: how often the interval, which is \
meant to in {level:.0%}, holds the measured time; width: (high - low) / predicted, on average"""


def accuracy_report(accuracy: Accuracy) -> Report:
    """A protocol's result: the method beside its baselines, and by group."""
    named = {
        "costmodel": accuracy.metrics,
        **{f"baseline {name}": found for name, found in accuracy.baselines.items()},
        **{f"of {name}": found for name, found in accuracy.groups.items()},
    }
    rows = [{"protocol": accuracy.protocol, "method": name, **asdict(found)} for name, found in named.items()]

    def text() -> list[str | Grid]:
        ours = [("costmodel", accuracy.metrics), *accuracy.baselines.items()]
        parts: list[str | Grid] = [f"{accuracy.protocol}: {accuracy.metrics.n} predictions", _metrics("method", ours)]
        if len(accuracy.groups) > 1:
            parts.append(_metrics("costmodel on", list(accuracy.groups.items())))
        return [*parts, LEGEND.format(level=accuracy.level)]

    return Report(accuracy.as_dict(), rows, text)


def _metrics(first: str, rows: Sequence[tuple[str, Metrics]]) -> Grid:
    header = (f"<{first}", ">n", ">median", ">mean", ">within 10%", ">rank", ">coverage", ">width")
    return Grid(header, [(name, *_cells(found)) for name, found in rows])


def _cells(found: Metrics) -> tuple[str, ...]:
    errors = (percent(found.median_ape), percent(found.mape), percent(found.within_10))
    return str(found.n), *errors, f"{found.spearman:.3f}", percent(found.coverage), f"{found.width:.2f}"
