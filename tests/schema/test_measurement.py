"""Tables of measurements: what is refused and how it is told, there and back, the shipped rows against their source."""

from __future__ import annotations

import csv
import doctest
import gzip
import importlib.util
import io
import re
from collections import Counter
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from costmodel.errors import InvalidMeasurement
from costmodel.schema.device import load_devices
from costmodel.schema.measurement import (
    COLUMNS,
    ENERGY_SCOPES,
    PRECISIONS,
    SCOPES,
    TASKS,
    Measurement,
    load_measurements,
    parse_sizes,
    read_measurements,
    write_measurements,
)  # fmt: skip

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs" / "add-a-device.md"
HEADER = (
    "device,runtime,precision,variant,network,sizes,task,scope,time_s,time_min_s,time_mean_s,time_max_s,runs,energy_j,power_w,"
    "energy_scope,source,licence"
)
GOOD = {
    "device": "a-board", "runtime": "ncnn", "precision": "fp32", "variant": "t4", "network": "resnet50",
    "sizes": "N=1;H=224;W=224", "time_s": "0.3", "source": "me", "licence": "CC0-1.0",
}  # fmt: skip


def table(*rows: dict[str, str]) -> io.StringIO:
    """A table whose rows are the good one with some cells changed."""
    text = io.StringIO()
    writer = csv.DictWriter(text, HEADER.split(","), restval="")
    writer.writeheader()
    writer.writerows([GOOD | row for row in rows])
    return io.StringIO(text.getvalue())


def refusal(source: io.StringIO | Path) -> str:
    with pytest.raises(InvalidMeasurement) as error:
        read_measurements(source)
    return str(error.value)


def test_a_good_row() -> None:
    (row,) = read_measurements(table({}))
    assert row.profile == "a-board/ncnn/fp32/t4"
    assert (row.network, row.sizes, row.time_s) == ("resnet50", {"N": 1, "H": 224, "W": 224}, 0.3)
    assert (row.task, row.scope) == ("inference", "network")
    assert (row.energy_j, row.runs, row.suspect, row.note) == (None, None, "", "")


@pytest.mark.parametrize(
    ("cells", "told"),
    [
        ({"time_s": "0"}, "column 'time_s': '0': must be above zero; leave the cell empty if it is unknown"),
        ({"time_s": "-0.3"}, "column 'time_s': '-0.3': must be above zero; leave the cell empty if it is unknown"),
        ({"time_s": "nan"}, "column 'time_s': 'nan': must be finite; leave the cell empty if it is unknown"),
        ({"time_s": "inf"}, "column 'time_s': 'inf': must be finite; leave the cell empty if it is unknown"),
        ({"time_s": "0.3 s"}, "column 'time_s': '0.3 s': no number; write it like 0.0123 or 1.23e-2, without a unit"),
        ({"time_s": ""}, "column 'time_s': a row needs time_s, energy_j or power_w; fill one in or drop the row"),
        ({"energy_j": "-1", "energy_scope": "wall"}, "column 'energy_j': '-1': must be above zero"),
        ({"power_w": "0", "energy_scope": "wall"}, "column 'power_w': '0': must be above zero"),
        ({"energy_j": "1"}, "column 'energy_scope': empty beside energy or power; write one of wall, board, chip, core"),
        ({"power_w": "5"}, "column 'energy_scope': empty beside energy or power"),
        ({"energy_scope": "wall"}, "column 'energy_scope': 'wall': no energy_j or power_w beside it; fill one in or clear"),
        ({"energy_j": "1", "energy_scope": "plug"}, "column 'energy_scope': 'plug': unknown; write one of wall, board"),
        ({"runs": "0"}, "column 'runs': '0': too small"),
        ({"runs": "2.5"}, "column 'runs': '2.5': no whole number"),
        ({"precision": "float"}, "column 'precision': 'float': unknown; write one of fp64, fp32"),
        ({"task": "train"}, "column 'task': 'train': unknown; write one of inference, training, backward"),
        ({"scope": "op"}, "column 'scope': 'op': unknown; write one of network, pipeline, layer, kernel"),
        ({"device": "A Board"}, "column 'device': 'A Board': part of a profile's id: lower-case letters, digits"),
        ({"variant": "t4/big"}, "column 'variant': 't4/big': part of a profile's id"),
        ({"device": ""}, "column 'device': empty; fill it in"),
        ({"licence": ""}, "column 'licence': empty; fill it in"),
        ({"network": "two\nlines"}, "column 'network': 'two\\nlines': one line of printable text"),
        ({"sizes": "N=0"}, "column 'sizes': 'N=0': 'N=0' is not NAME=NUMBER with a whole number above zero"),
        ({"sizes": "N=1,H=224"}, "column 'sizes': 'N=1,H=224': 'N=1,H=224' is not NAME=NUMBER"),
        ({"sizes": "N=1;"}, "column 'sizes': 'N=1;': '' is not NAME=NUMBER"),
        ({"sizes": "N=1;N=2"}, "column 'sizes': 'N=1;N=2': a size is given twice; give each once"),
        ({"time_min_s": "0.31"}, "column 'time_min_s': 0.31: above time_s, which is 0.3; swap or correct them"),
        ({"time_max_s": "0.29"}, "column 'time_s': 0.3: above time_max_s, which is 0.29"),
        ({"time_min_s": "0.2", "time_mean_s": "0.19"}, "column 'time_min_s': 0.2: above time_mean_s, which is 0.19"),
        ({"time_mean_s": "0.5", "time_max_s": "0.4"}, "column 'time_mean_s': 0.5: above time_max_s, which is 0.4"),
        (
            {"time_s": "", "energy_j": "1", "energy_scope": "gpu", "time_min_s": "2", "time_max_s": "1"},
            "column 'time_min_s': 2.0: above time_max_s, which is 1.0",
        ),
    ],
)  # fmt: skip
def test_a_bad_cell_is_told_with_its_row_and_column(cells: dict[str, str], told: str) -> None:
    message = refusal(table({"network": "vgg16"}, cells))
    assert message.startswith("the table: 1 problem:\n  row 3, ")
    assert told in message


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (("time_s", "time_ms"), "'time_ms' is unknown, columns are in SI units; divide by 1000 and rename it 'time_s'"),
        (("time_min_s", "time_min_ms"), "'time_min_ms' is unknown, columns are in SI units; divide by 1000 and"),
        (("time_min_s", "time_min_ms"), "and rename it 'time_min_s'"),
        (("energy_j", "energy_mj"), "and rename it 'energy_j'"),
        (("time_s", "latency_us"), "'latency_us' is unknown, columns are in SI units; divide by 1e6 and rename it 'time_s'"),
        (("time_s", "latency_s"), "'latency_s' is unknown, columns are in SI units; keep the values and rename it 'time_s'"),
        (("energy_j", "energy_mj"), "'energy_mj' is unknown, columns are in SI units; divide by 1000 and"),
        (("power_w", "power_mW"), "'power_mW' is unknown, columns are in SI units; divide by 1000 and rename it 'power_w'"),
        (("time_min_s", "time_min"), "column 'time_min' is unknown; did you mean 'time_min_s'"),
        (("licence", "license"), "column 'license' is unknown; did you mean 'licence'"),
        (("licence", "license"), "column 'licence' is missing; add it"),
        (("device,", ""), "column 'device' is missing; add it"),
        (("energy_j", "time_s"), "column 'time_s' appears twice; drop one"),
        ((",", ";"), "the header is one single cell; separate the columns with commas"),
    ],
)  # fmt: skip
def test_a_bad_header_is_told(change: tuple[str, str], told: str) -> None:
    assert told in refusal(io.StringIO(HEADER.replace(*change) + "\n"))


def test_milliseconds_beside_seconds_are_refused() -> None:
    assert "divide by 1000" in refusal(io.StringIO(HEADER + ",time_ms\n"))


@pytest.mark.parametrize(
    ("other", "same"),
    [
        ({}, True),
        ({"time_s": "0.4"}, True),
        ({"sizes": "W=224;H=224;N=1"}, True),
        ({"source": "you"}, True),
        ({"sizes": "N=8;H=224;W=224"}, False),
        ({"variant": "t1"}, False),
        ({"precision": "int8"}, False),
        ({"task": "training"}, False),
        ({"scope": "pipeline"}, False),
        ({"energy_j": "1", "energy_scope": "gpu"}, False),
    ],
)
def test_the_same_measurement_twice(other: dict[str, str], same: bool) -> None:
    if same:
        assert "row 3, the same measurement as row 2; drop one" in refusal(table({}, other))
    else:
        assert len(read_measurements(table({}, other))) == 2


def test_one_network_on_two_rails() -> None:
    rows = read_measurements(table(*({"energy_j": "1", "energy_scope": scope} for scope in (*ENERGY_SCOPES, "core-net"))))
    assert [row.energy_scope for row in rows] == ["wall", "board", "chip", "core", "gpu", "core-net"]


def test_all_problems_are_counted_and_ten_are_shown() -> None:
    message = refusal(table(*({"network": f"n{i}", "time_s": "-1"} for i in range(12))))
    assert message.startswith("the table: 12 problems:")
    assert [int(row) for row in re.findall(r"row (\d+)", message)] == list(range(2, 12))
    assert message.endswith("and 2 more")


def test_two_problems_of_one_row_are_both_told() -> None:
    message = refusal(table({"time_s": "x", "runs": "-3"}))
    assert "'time_s': 'x'" in message
    assert "'runs': '-3'" in message


def test_blank_lines_are_skipped_but_counted() -> None:
    header, good, bad = table({}, {"time_s": "-1", "network": "b"}).getvalue().splitlines()
    assert "row 5, column 'time_s'" in refusal(io.StringIO("\n".join([header, "", ",,", good, bad])))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "column 'device' is missing"),
        (f"{HEADER}\na,b,c\n", "row 2, 3 cells under 18 columns; give each column one cell, empty if unknown"),
        (f'{HEADER}\n"a\n', "is not CSV"),
        (f"{HEADER}\n{'a' * 200_000}\n", "is not CSV: field larger than field limit"),
    ],
)
def test_what_is_no_table(text: str, told: str) -> None:
    assert told in refusal(io.StringIO(text))


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    assert "none.csv: cannot be read" in refusal(tmp_path / "none.csv")
    (tmp_path / "latin.csv").write_bytes(HEADER.encode() + b"\n\xe9")
    assert "cannot be read as UTF-8" in refusal(tmp_path / "latin.csv")
    assert "cannot be read" in refusal(tmp_path)


def test_a_spreadsheets_byte_order_mark_is_no_matter(tmp_path: Path) -> None:
    path = tmp_path / "excel.csv"
    path.write_bytes(b"\xef\xbb\xbf" + table({}).getvalue().encode())
    assert read_measurements(path) == read_measurements(table({}))


# there and back

ids = st.from_regex(r"[a-z0-9][a-z0-9.+_-]{0,8}", fullmatch=True)
printable = st.characters(categories=("L", "N", "P", "S"), include_characters=" ")
lines = st.text(printable, max_size=12).map(str.strip)
named = st.text(printable, min_size=1, max_size=12).map(lambda text: text.strip() or "x")
size_names = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,3}", fullmatch=True)
amounts = st.floats(min_value=0, exclude_min=True, allow_nan=False, allow_infinity=False)
times = st.lists(amounts, min_size=3, max_size=3).map(sorted)


@st.composite
def measurements(draw: st.DrawFn) -> Measurement:
    least, mean, greatest = draw(times)
    energy = draw(st.none() | amounts)
    return Measurement(
        device=draw(ids), runtime=draw(ids), precision=draw(st.sampled_from(sorted(PRECISIONS))), variant=draw(ids),
        network=draw(named), sizes=draw(st.dictionaries(size_names, st.integers(1, 10**9), max_size=3)),
        task=draw(st.sampled_from(sorted(TASKS))), scope=draw(st.sampled_from(sorted(SCOPES))),
        time_s=mean, time_min_s=draw(st.sampled_from([least, None])), time_max_s=draw(st.sampled_from([greatest, None])),
        time_std_s=draw(st.none() | st.just(0.0) | amounts), runs=draw(st.none() | st.integers(1, 10**6)),
        energy_j=energy, energy_scope=draw(st.sampled_from(["wall", "gpu-net"])) if energy else None,
        source=draw(named), licence=draw(named), suspect=draw(lines), note=draw(lines),
    )  # fmt: skip


@given(st.lists(measurements(), max_size=5, unique_by=lambda row: row.key))
@settings(max_examples=60, deadline=None)
def test_what_is_written_is_read_again(tmp_path_factory: pytest.TempPathFactory, rows: list[Measurement]) -> None:
    path = tmp_path_factory.getbasetemp() / "there-and-back.csv"
    write_measurements(path, rows)
    assert read_measurements(path) == rows


def test_columns_that_nobody_fills_are_left_out(tmp_path: Path) -> None:
    path = tmp_path / "small.csv"
    write_measurements(path, read_measurements(table({})))
    assert path.read_text() == (
        "device,runtime,precision,variant,network,sizes,time_s,source,licence\na-board,ncnn,fp32,t4,resnet50,N=1;H=224;W=224,0.3,me,CC0-1.0\n"
    )


def test_a_default_is_spelt_out_beside_other_values(tmp_path: Path) -> None:
    path = tmp_path / "tasks.csv"
    write_measurements(path, read_measurements(table({}, {"task": "training"})))
    assert [row["task"] for row in csv.DictReader(path.read_text().splitlines())] == ["inference", "training"]


def test_a_failure_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "kept.csv"
    path.write_text("old")

    def rows() -> object:
        yield from read_measurements(table({}))
        raise RuntimeError

    with pytest.raises(RuntimeError):
        write_measurements(path, rows())  # type: ignore[arg-type]
    assert [file.name for file in tmp_path.iterdir()] == ["kept.csv"]
    assert path.read_text() == "old"


def test_a_full_disk_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "kept.csv"
    path.write_text("old")

    def full(*_: object) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(OSError, match="no space left"):
        write_measurements(path, read_measurements(table({})))
    assert [file.name for file in tmp_path.iterdir()] == ["kept.csv"]
    assert path.read_text() == "old"


def test_sizes_given_in_code_follow_the_same_rule() -> None:
    row = read_measurements(table({}))[0]
    with pytest.raises(ValueError, match="NAME=NUMBER"):
        Measurement(**row.model_dump(exclude={"sizes"}), sizes={"N;H": 1})
    assert parse_sizes("") == {}


# the shipped table against the table it was made from


@pytest.fixture(scope="module")
def published(shared: Path) -> list[dict[str, str]]:
    with gzip.open(shared / "data" / "ncnn_benchmark.csv.gz", "rt", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def ncnn() -> list[Measurement]:
    return [row for row in load_measurements() if row.source == "ncnn-benchmark"]


def titles() -> dict[str, str]:
    return {title: device.id for device in load_devices().values() for title in device.listed_as.get("ncnn-benchmark", ())}


def of(row: dict[str, str], columns: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(row[column] for column in columns)


CONFIGURATION = ("threads", "powersave", "gpu_device", "run", "build_note")
# title's beginning, configuration on the page -> variant
VARIANTS = [
    ("Raspberry Pi 4 Model B", ("4", "0", "-1", "0", ""), "raspberry-pi-4b", "fp32", "t4"),
    ("Raspberry Pi 4 Model B", ("1", "0", "-1", "0", ""), "raspberry-pi-4b", "fp32", "t1"),
    ("Raspberry Pi 3 Model B+", ("4", "0", "-1", "0", ""), "raspberry-pi-3b-plus", "fp32", "t4"),
    ("Raspberry Pi 5 Broadcom BCM2712, Cortex", ("4", "0", "-1", "0", ""), "raspberry-pi-5", "fp16", "t4"),
    ("Raspberry Pi 5 Broadcom BCM2712, VideoCore", ("4", "0", "0", "0", ""), "raspberry-pi-5", "fp16", "vulkan"),
    ("Raspberry Pi 5 Broadcom BCM2712 Overclock", ("4", "0", "-1", "0", ""), "raspberry-pi-5-overclocked", "fp16", "t4"),
    ("NVIDIA Jetson Nano", ("1", "0", "0", "0", ""), "jetson-nano", "fp16", "vulkan"),
    ("NVIDIA Jetson Nano", ("4", "0", "0", "0", ""), "jetson-nano", "fp16", "vulkan-t4"),
    ("NVIDIA Jetson Nano", ("4", "0", "-1", "0", ""), "jetson-nano", "fp32", "t4"),
    ("Rockchip RK3588 (Cortex", ("4", "2", "-1", "0", ""), "rockchip-rk3588", "fp16", "t4-big"),
    ("Rockchip RK3588 (Cortex", ("1", "1", "-1", "0", ""), "rockchip-rk3588", "fp16", "t1-little"),
    ("Rockchip RK3588 (Quad", ("4", "2", "-1", "0", ""), "rockchip-rk3588-board-2", "fp16", "t4-big"),
    ("Rockchip RK3399", ("2", "2", "-1", "0", ""), "rockchip-rk3399", "fp32", "t2-big"),
    ("OrangePi4 LTS", ("6", "0", "-1", "0", ""), "orange-pi-4-lts", "fp32", "t6"),
    ("HUAWEI KunPeng 920 2251K", ("4", "2", "-1", "0", ""), "kunpeng-920-2251k", "fp16", "t4"),
    ("Loongson 3A4000", ("4", "1", "-1", "0", ""), "loongson-3a4000", "fp32", "t4-little"),
    ("AXERA AX620A", ("1", "0", "0", "0", ""), "axera-ax620a", "fp32", "t1"),
    ("AXERA AX620A", ("4", "0", "-1", "0", ""), "axera-ax620a", "fp32", "t4"),
    ("Ingenic T40XP", ("2", "0", "0", "0", ""), "ingenic-t40xp", "fp32", "t2"),
    ("Qualcomm SM8550-AB", ("1", "2", "0", "1", ""), "snapdragon-8-gen-2", "fp16", "vulkan-run2"),
    ("MacBook Pro (15-inch, 2019)", ("1", "0", "0", "0", ""), "macbook-pro-15-2019", "fp16", "vulkan"),
    ("MacBook Pro (15-inch, 2019)", ("1", "0", "1", "0", ""), "macbook-pro-15-2019", "fp16", "vulkan-uhd-graphics-630"),
    ("Microsoft Azure Standard D64s v6", ("8", "0", "-1", "0", "no-avx512"), "azure-d64s-v6", "fp32", "t8-noavx512"),
    ("Microsoft Azure Standard D64s v6", ("8", "0", "-1", "0", "avx512"), "azure-d64s-v6", "fp32", "t8"),
    ("NVIDIA RTX3090", ("1", "0", "0", "0", ""), "rtx-3090", "fp16", "vulkan"),
    ("NVIDIA RTX3090", ("10", "2", "0", "0", ""), "rtx-3090", "fp16", "vulkan-t10"),
]


@pytest.mark.parametrize(("title", "configuration", "device", "precision", "variant"), VARIANTS)
def test_a_configuration_of_the_page_is_a_profile(
    published: list[dict[str, str]], title: str, configuration: tuple[str, ...], device: str, precision: str, variant: str
) -> None:
    on_page = [row for row in published if row["device"].startswith(title) and of(row, CONFIGURATION) == configuration]
    for called, wanted in (("default", precision), ("int8", "int8")):
        lines = [row for row in on_page if row["precision"] == called]
        expected = {row["network"].removesuffix("_int8"): float(row["time_avg_ms"]) / 1000 for row in lines}
        rows = [row for row in ncnn() if row.profile == f"{device}/ncnn/{wanted}/{variant}"]
        assert {row.network: row.time_mean_s for row in rows} == pytest.approx(expected, rel=1e-12)
        assert len(rows) == len(lines)


def test_every_line_of_the_page_is_here_once(published: list[dict[str, str]]) -> None:
    device_of = titles()
    expected = Counter(
        (
            device_of[row["device"]], row["network"].removesuffix("_int8"), row["precision"] == "int8",
            int(row["loop_count"]), *(round(float(row[f"time_{which}_ms"]) * 1000) for which in ("min", "avg", "max")),
        )
        for row in published
    )  # fmt: skip
    found = Counter(
        (
            row.device, row.network, row.precision == "int8", row.runs,
            *(round(time * 1e6) for time in (row.time_min_s, row.time_mean_s, row.time_max_s) if time),
        )
        for row in ncnn()
    )  # fmt: skip
    assert found == expected


def test_configurations_have_as_many_rows_as_on_the_page(published: list[dict[str, str]]) -> None:
    device_of = titles()
    configurations = Counter(of(row, (*CONFIGURATION, "device", "precision")) for row in published)
    repeats = {("4", "2", "-1", "0", ""): 2}  # the page prints this run of Loongson 3A4000 twice
    expected: Counter[tuple[str, int]] = Counter()
    for (*configuration, title, _), rows in configurations.items():
        times = repeats.get(tuple(configuration), 1) if title.startswith("Loongson 3A4000") else 1
        expected[device_of[title], rows // times] += times
    found = Counter((profile.split("/")[0], rows) for profile, rows in Counter(row.profile for row in ncnn()).items())
    assert found == expected


def test_the_least_time_is_fitted_where_runs_differ_much(published: list[dict[str, str]]) -> None:
    spread = Counter(float(row["time_max_ms"]) > 2 * float(row["time_min_ms"]) for row in published)
    noted = [row for row in ncnn() if "least time taken" in row.note]
    assert len(noted) == spread[True] > 0
    assert {row.time_s for row in noted} == {row.time_min_s for row in noted}
    assert all(row.time_s == row.time_mean_s for row in ncnn() if "least time taken" not in row.note)


def test_the_inputs_are_those_of_the_networks(shared: Path) -> None:
    with (shared / "data" / "ncnn_networks.csv").open(encoding="utf-8") as file:
        inputs = {row["network"]: (1, int(row["input_h"]), int(row["input_w"])) for row in csv.DictReader(file)}
    inputs["mobilenet_yolov3"] = 1, 416, 416
    assert [row for row in ncnn() if tuple(row.sizes[name] for name in "NHW") != inputs[row.network]] == []


def test_half_precision_is_what_the_core_has(published: list[dict[str, str]]) -> None:
    """ARMv8.2 brought half-precision arithmetic; the 32-bit and 8.0 cores, x86 and the rest are taken without."""
    device_of = titles()
    plain = {"armv7", "armv8", "x86", "x86-64", "k1om", "mips32", "mips64", "loongarch64", "riscv64", "sw_64"}
    isa = {device_of[row["device"]]: row["isa"] for row in published}
    on_cpu = [row for row in ncnn() if row.variant.startswith("t") and row.precision != "int8"]
    assert [row for row in on_cpu if (row.precision == "fp32") != (isa[row.device] in plain)] == []
    assert {row.precision for row in ncnn() if row.variant.startswith("vulkan")} == {"fp16", "int8"}


def test_int8_on_vulkan_is_told_to_be_the_cpu() -> None:
    rows = [row for row in ncnn() if row.precision == "int8" and row.variant.startswith("vulkan")]
    assert rows
    assert all("on the host's CPU" in row.note for row in rows)
    on_gpu = {row.network: row.time_s for row in rows if row.device == "jetson-nano" and row.variant == "vulkan-t4"}
    on_cpu = {row.network: row.time_s for row in ncnn() if row.profile == "jetson-nano/ncnn/int8/t4"}
    assert on_gpu == pytest.approx(on_cpu, rel=0.1)


def test_suspect_rows_are_few_and_faster_than_their_twin() -> None:
    rows = [row for row in ncnn() if row.suspect]
    twin = {row.network: row.time_s for row in ncnn() if row.profile == "rockchip-rk3588/ncnn/fp16/vulkan"}
    assert len(rows) == 16
    ratios = [twin[row.network] / row.time_s for row in rows if row.time_s and twin.get(row.network)]  # type: ignore[operator]
    assert min(ratios) > 3


def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("ncnn_tables", ROOT / "calibration" / "scripts" / "ncnn_tables.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_shipped_table_is_what_the_script_makes(published: list[dict[str, str]], shared: Path) -> None:
    tables = script()
    inputs = tables.read_inputs(shared / "data" / "ncnn_networks.csv")
    assert tables.measurements(published, tables.titled(load_devices().values()), inputs) == ncnn()


def test_every_source_is_explained() -> None:
    explained = (ROOT / "calibration" / "SOURCES.md").read_text(encoding="utf-8")
    assert [source for source in {row.source for row in load_measurements()} if f"## {source}\n" not in explained] == []


def test_the_tables_stay_small() -> None:
    sizes = [path.stat().st_size for path in (ROOT / "calibration" / "measurements").glob("*.csv")]
    assert sizes
    assert max(sizes) < 1_500_000


# the page that tells users about it


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", DOCS.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def test_the_page_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my-board.toml").write_text(blocks("toml")[0], encoding="utf-8")
    (tmp_path / "my-board.csv").write_text(blocks("csv")[0], encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    result = doctest.testfile(str(DOCS), module_relative=False)
    assert result.attempted >= 8
    assert result.failed == 0


def test_the_mistakes_on_the_page_are_told_as_it_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "wrong.csv").write_text(blocks("csv wrong")[0], encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    assert refusal(Path("wrong.csv")) == blocks("text")[0].rstrip("\n")


def test_the_page_names_every_column_and_word() -> None:
    named = set(re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```$", "", DOCS.read_text(encoding="utf-8"), flags=re.M | re.S)))
    assert {*COLUMNS, *PRECISIONS, *TASKS, *SCOPES, *ENERGY_SCOPES} <= named
