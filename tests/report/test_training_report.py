"""What people and machines read of a training step."""

from __future__ import annotations

from costmodel.report.output import Grid
from costmodel.report.training import training_report
from costmodel.specs import zoo
from costmodel.training import training_memory


def test_a_step_is_told_whole() -> None:
    training = training_memory(zoo("vgg11"), optimizer="momentum")
    plan = training.at(N=2)
    report = training_report(training, plan, {"N": 2})
    assert report.data["peak_bytes"] == sum(report.data["at_peak"].values()) == plan.peak_bytes
    assert report.rows[0]["moment"] == plan.moment
    title, parts, peak, held, warning = report.text()
    assert title == "vgg11 at N=2: a training step with momentum"
    assert isinstance(parts, Grid)
    assert isinstance(held, Grid)
    assert parts.rows[0] == ("peak", f"{plan.peak_bytes:,}", "1.68 GB")
    assert peak == f"Held in the {plan.moment}, where memory peaks:"
    assert warning == training.warnings[0]
