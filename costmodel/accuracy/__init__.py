"""Held-out error, coverage and width: the only producer of published accuracy figures.

A protocol splits measurements, fits on one side, predicts the other, and reports the method beside its baselines on the
same splits. Nothing is chosen on the rows that a protocol reports: the widths of the intervals come from splits inside the
training side, and the few constants of the model were set by hand and are the same for all protocols.
"""

from __future__ import annotations

from costmodel.accuracy.figures import Accuracy, Case, Metrics, evaluate, metrics
from costmodel.accuracy.protocols import PROTOCOLS, Protocol, run_protocol

__all__ = ["PROTOCOLS", "Accuracy", "Case", "Metrics", "Protocol", "evaluate", "metrics", "run_protocol"]
