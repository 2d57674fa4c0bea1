"""Lists of what there is: devices with their profiles, ops, protocols."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from costmodel.ops.registry import Rule
from costmodel.report.output import Grid, Report, many
from costmodel.schema.device import Device

# -- devices ----------------------------------------------------------------------------------------------------


def devices_report(devices: Iterable[Device], profiles: Sequence[str]) -> Report:
    """Devices with the ids of their profiles; a profile of a device that nobody described is listed all the same."""
    by_device: dict[str, list[str]] = {}
    for profile in profiles:
        by_device.setdefault(profile.split("/")[0], []).append(profile)
    known = [_device(device, by_device.pop(device.id, [])) for device in devices]
    rows = known + [{"id": name, "title": "", "kind": "", "profiles": ids} for name, ids in by_device.items()]

    def text() -> list[str | Grid]:
        table = [(row["id"], row["title"], row["kind"], _endings(row["profiles"])) for row in rows]
        count = sum(len(row["profiles"]) for row in rows)
        return [
            Grid(("<device", "title", "<kind", "profiles"), table),
            f"{many(len(rows), 'device')}, {many(count, 'profile')}. A profile's id is device/runtime/precision/variant; "
            "a unique beginning is enough.",
        ]

    return Report(rows, [{**row, "profiles": " ".join(row["profiles"])} for row in rows], text)


def _device(device: Device, profiles: Sequence[str]) -> dict[str, Any]:
    return {
        "id": device.id,
        "title": device.title,
        "kind": device.kind,
        "aliases": list(device.aliases),
        "soc": device.soc,
        "memory_bytes": device.memory_bytes,
        "source": device.source,
        "profiles": list(profiles),
    }


def _endings(profiles: Sequence[str]) -> str:
    """Profiles without their device; what differs in the last part alone stands on one line."""
    variants: dict[str, list[str]] = {}
    for profile in profiles:
        _, runtime, precision, variant = profile.split("/")
        variants.setdefault(f"{runtime}/{precision}", []).append(variant)
    return "\n".join(f"{stem}/{', '.join(ends)}" for stem, ends in variants.items())


# -- ops and protocols ------------------------------------------------------------------------------------------


def ops_report(rules: Sequence[Rule]) -> Report:
    """Every op with a rule: since which opset version, and what is counted."""
    by_op: dict[tuple[str, str], list[Rule]] = {}
    for rule in rules:
        by_op.setdefault((rule.domain, rule.op), []).append(rule)
    rows = [
        {"op": op, "domain": domain, "since": sorted(rule.since for rule in versions), "convention": versions[0].convention}
        for (domain, op), versions in by_op.items()
    ]

    def text() -> list[str | Grid]:
        domains = dict.fromkeys(str(row["domain"]) for row in rows)
        tables = [_ops(domain, [row for row in rows if row["domain"] == domain]) for domain in domains]
        return [*tables, f"{many(len(rows), 'op')} with a rule."]

    return Report(rows, [{**row, "since": " ".join(map(str, row["since"]))} for row in rows], text)


def _ops(domain: str, rows: Sequence[Mapping[str, Any]]) -> Grid:
    table = [(str(row["op"]), ", ".join(map(str, row["since"])), str(row["convention"])) for row in rows]
    return Grid((f"<op of {domain or 'ai.onnx'}", "since", "what is counted"), table)


def protocols_report(protocols: Mapping[str, str]) -> Report:
    """The protocols of the accuracy verb."""
    rows = [{"protocol": name, "what": what} for name, what in protocols.items()]

    def text() -> list[str | Grid]:
        table = Grid(("<protocol", "what it reports"), [(row["protocol"], row["what"]) for row in rows])
        return [table, "costmodel accuracy --protocol NAME runs one; that takes minutes."]

    return Report(rows, rows, text)
