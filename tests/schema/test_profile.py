"""Profile files: there and back, what is refused and how it is told, and that a file is whole or not there."""

from __future__ import annotations

import errno
import json
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from costmodel.errors import InvalidProfile
from costmodel.features import NAMES
from costmodel.schema.data import data_folder
from costmodel.schema.profile import Profile, read_profile, write_whole

GOOD: dict[str, Any] = {
    "format": 1, "device": "a-board", "runtime": "ncnn", "precision": "fp32", "variant": "t4", "device_kind": "cpu",
    "seconds_per_unit": {"macs": 1.5e-10, "kernels": 0.0},
    "domain": {"macs": {"low": 1.0, "high": 1e9}, "kernels": {"low": 3.0, "high": 80.0}},
    "held_out": {"mape": 0.2, "median_ape": 0.1, "within_10": 0.5, "residuals": [-0.1, 0.2], "margins": [0.1, 0.2]},
    "provenance": {
        "networks": ["resnet50"], "sources": ["me"], "licences": ["CC0-1.0"], "data_sha256": "0" * 64,
        "costmodel_version": "0.1",
    },
    "power_w": 4.5, "power_scope": "wall", "power": None, "note": "",
}  # fmt: skip


def written(folder: Path, **changes: Any) -> Path:
    path = folder / "profile.json"
    path.write_text(json.dumps(GOOD | changes), encoding="utf-8")
    return path


def held_out(**changes: Any) -> dict[str, Any]:
    return {"held_out": GOOD["held_out"] | changes}


# -- there and back ---------------------------------------------------------------------------------------------


def test_what_is_read_is_what_was_written(tmp_path: Path) -> None:
    profile = read_profile(written(tmp_path))
    assert profile.id == "a-board/ncnn/fp32/t4"
    assert json.loads(profile.model_dump_json(exclude={"datasheet", "law"})) == GOOD
    path = profile.save(tmp_path / "profiles")
    assert path == tmp_path / "profiles" / "a-board" / "ncnn" / "fp32" / "t4.json"
    assert read_profile(path) == profile
    assert path.read_text().endswith("}\n")
    assert stat.S_IMODE(path.stat().st_mode) == 0o644


def test_power_may_be_unknown(tmp_path: Path) -> None:
    profile = read_profile(written(tmp_path, power_w=None, power_scope=None))
    assert (profile.power_w, profile.power_scope) == (None, None)


SHIPPED = sorted((data_folder("calibration") / "profiles").glob("*/*/*/*.json"))


def test_profiles_that_come_with_the_library() -> None:
    assert len(SHIPPED) > 200
    for path in SHIPPED:
        profile = read_profile(path)
        assert Path(profile.id + ".json") == Path(*path.parts[-4:])
        assert tuple(profile.seconds_per_unit) == (() if profile.law else NAMES)
        assert all(limits.low <= limits.high for limits in profile.domain.values())
        assert len(profile.held_out.residuals) >= 10
        assert profile.provenance.sources
        assert profile.provenance.licences


# -- what is refused --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"format": 2}, "format: Input should be 1"),
        ({"device": "A Board"}, "device: String should match pattern"),
        ({"variant": "../../t4"}, "variant: String should match pattern"),
        ({"variant": "t4\n"}, "variant: String should match pattern"),
        ({"runtime": ""}, "runtime: String should match pattern"),
        ({"colour": "red"}, "colour: Extra inputs are not permitted"),
        ({"power_w": 0}, "power_w: Input should be greater than 0"),
        ({"seconds_per_unit": {"macs": -1.0, "kernels": 0.0}}, "seconds_per_unit of 'macs' is -1.0; it must be >= 0"),
        ({"seconds_per_unit": {"macs": float("nan"), "kernels": 0}}, "seconds_per_unit.macs: Input should be a finite"),
        ({"seconds_per_unit": {"macs": float("inf"), "kernels": 0}}, "seconds_per_unit.macs: Input should be a finite"),
        ({"seconds_per_unit": {"macs": 1.0}}, "seconds_per_unit and domain must name the same features"),
        ({"seconds_per_unit": {}, "domain": {}}, "either seconds_per_unit and a domain, or a datasheet and a law"),
        ({"law": {"numbers": {}, "typical_clock": 0.8}}, "either seconds_per_unit and a domain, or a datasheet and a law"),
        ({"datasheet": {"vendor": "acme"}}, "datasheet.vendor: Input should be 'nvidia' or 'amd'"),
        ({"domain": {}}, "seconds_per_unit and domain must name the same features"),
        (
            {"domain": {"macs": {"low": 0, "high": float("nan")}, "kernels": {"low": 0, "high": 1}}},
            "domain.macs.high: Input should be a finite number",
        ),
        (held_out(mape=-0.1), "held_out.mape: Input should be greater than or equal to 0"),
        (held_out(within_10=1.1), "held_out.within_10: Input should be less than or equal to 1"),
        (held_out(residuals=[0.1, float("nan")]), "held_out.residuals.1: Input should be a finite number"),
        (held_out(residuals=None), "held_out.residuals: Input should be a valid array"),
        ({"provenance": {}}, "provenance.networks: Field required"),
    ],
)
def test_a_bad_file_is_told_with_its_key(tmp_path: Path, changes: dict[str, Any], told: str) -> None:
    path = written(tmp_path, **changes)
    with pytest.raises(InvalidProfile) as error:
        read_profile(path)
    assert str(error.value).startswith(f"{path}: ")
    assert told in str(error.value)
    assert str(error.value).endswith("; calibrate again to write it anew")


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b"null", b"\x80\x04\x95\x00", json.dumps(GOOD).encode()[:-20]])
def test_what_is_no_profile_is_told(tmp_path: Path, text: bytes) -> None:
    path = tmp_path / "profile.json"
    path.write_bytes(text)
    with pytest.raises(InvalidProfile, match=r"profile\.json: the file: .*calibrate again"):
        read_profile(path)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InvalidProfile, match=r"none\.json: cannot be read: No such file"):
        read_profile(tmp_path / "none.json")


def test_a_profile_does_not_change(tmp_path: Path) -> None:
    profile = read_profile(written(tmp_path))
    with pytest.raises(ValueError, match="frozen"):
        profile.device = "other"  # type: ignore[misc]


# -- whole or not there -----------------------------------------------------------------------------------------


def full_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk is full once half of the text is written."""
    real = os.fdopen

    def opened(handle: int, *args: Any, **options: Any) -> Any:
        file = real(handle, *args, **options)
        write = file.write

        def half(text: str) -> int:
            write(text[: len(text) // 2])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        monkeypatch.setattr(file, "write", half, raising=False)
        return file

    monkeypatch.setattr(os, "fdopen", opened)


def failing_rename(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: Path, target: Path) -> Path:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(Path, "replace", fail)


def interrupt(monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(self: Path, mode: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "chmod", stop)


@pytest.mark.parametrize("before", [None, "what was there before\n"])
@pytest.mark.parametrize("breaks", [full_disk, failing_rename, interrupt])
def test_a_failure_leaves_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, breaks: Callable[[pytest.MonkeyPatch], None], before: str | None
) -> None:
    profile = read_profile(written(tmp_path))
    path = tmp_path / "a-board" / "ncnn" / "fp32" / "t4.json"
    path.parent.mkdir(parents=True)
    if before is not None:
        path.write_text(before)
    breaks(monkeypatch)
    with pytest.raises((OSError, KeyboardInterrupt)):
        profile.save(tmp_path)
    monkeypatch.undo()
    assert [(found.name, found.read_text()) for found in path.parent.iterdir()] == ([(path.name, before)] if before else [])


def test_writing_replaces_the_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("a long text from before")
    write_whole(path, "short µ")
    assert path.read_bytes() == "short µ".encode()
    assert [found.name for found in tmp_path.iterdir()] == ["a.txt"]


def test_profiles_compare_by_content(tmp_path: Path) -> None:
    assert Profile.model_validate(GOOD) == read_profile(written(tmp_path)) != read_profile(written(tmp_path, note="other"))
