"""``predict`` and ``compare``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Optional

import typer

from costmodel.cli.options import (
    AsCsv,
    AsJson,
    At,
    By,
    Model,
    Models,
    Parameters,
    Sizes,
    Words,
    listed,
    network_of,
    point,
    show,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from costmodel.graph import Network
    from costmodel.report.predicting import Compared
    from costmodel.schema.profile import Profile

Level = Annotated[float, typer.Option("--level", min=0.01, max=0.99, help="How often the interval should hold the truth.")]
AllowUnsupported = Annotated[
    bool, typer.Option("--allow-unsupported", help="Predict without the layers that have no cost rule.")
]


def predict(
    model: Model,
    on: Annotated[str, typer.Option("--on", metavar="PROFILE", help="A profile, or the beginning of its id.")],
    at: At = None,
    sizes: Sizes = None,
    param: Parameters = None,
    level: Level = 0.9,
    allow_unsupported: AllowUnsupported = False,
    by: Annotated[Optional[By], typer.Option("--by", metavar="layer", help="Add a table by layer.")] = None,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
) -> None:
    """Predict the time and energy of one inference, with intervals.

    PROFILE is device/runtime/precision/variant, as costmodel devices lists them; a unique beginning is enough. Sizes that
    --at leaves out have the network's defaults.
    """
    if by is By.op:
        raise typer.BadParameter("a prediction is told by layer only", param_hint="--by")
    given = point(at)
    network = network_of(model, param, sizes)
    from costmodel.prediction import predict as predicted
    from costmodel.report.predicting import prediction_report

    found = predicted(network, on, level=level, allow_unsupported=allow_unsupported, **given)
    show(prediction_report(found, by_layer=by is By.layer), as_json=as_json, as_csv=as_csv)


def compare(
    models: Models,
    on: Annotated[
        Words, typer.Option("--on", metavar="PROFILE,...", help="Profiles to predict the time on. Repeatable.")
    ] = None,
    at: At = None,
    level: Level = 0.9,
    allow_unsupported: AllowUnsupported = False,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
) -> None:
    """Put networks side by side: counts, memory, time.

    The time is predicted on each profile of --on. Sizes that --at leaves out have the networks' defaults.
    """
    given = point(at)
    networks = [network_of(model) for model in models]
    profiles = _profiles(list(listed(on)))
    from costmodel.report.predicting import comparison_report

    found = [_compared(network, profiles, given, level=level, allow_unsupported=allow_unsupported) for network in networks]
    show(comparison_report(found), as_json=as_json, as_csv=as_csv)


def _profiles(ids: Sequence[str]) -> list[Profile]:
    if not ids:
        return []
    from costmodel.finding import find_profile
    from costmodel.report.output import note

    notes: list[str] = []
    found = [find_profile(name, notes) for name in ids]
    for text in notes:
        note(text)
    return found


def _compared(
    network: Network, profiles: Sequence[Profile], given: Mapping[str, int], *, level: float, allow_unsupported: bool
) -> Compared:
    from costmodel.counts import count
    from costmodel.planning import memory
    from costmodel.prediction import predict
    from costmodel.report.predicting import Compared

    bound = network.bind(given)
    return Compared(
        name=network.name,
        sizes=bound,
        quantities=count(network).at(bound),
        peak_memory_bytes=memory(network).peak_at(bound),
        predictions=[
            predict(network, profile, level=level, allow_unsupported=allow_unsupported, **given) for profile in profiles
        ],
    )
