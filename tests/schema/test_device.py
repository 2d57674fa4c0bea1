"""Device files: the rules of the format, finding a device, and the shipped facts against the table that states them."""

from __future__ import annotations

import csv
import gzip
import re
from collections import defaultdict
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from costmodel.errors import InvalidDevice, UnknownDevice
from costmodel.schema.device import KINDS, Device, devices, find_device, load_devices, read_devices, slug
from costmodel.schema.measurement import load_measurements

SOURCE = "ncnn-benchmark"
COLUMNS = ("isa", "cpu_core", "soc_or_gpu", "soc")
GOOD = 'id = "a-board"\ntitle = "A Board"\nkind = "cpu-board"\nsource = "datasheet"\n'


def write(folder: Path, text: str, name: str = "a.toml") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def test_the_least_that_a_device_needs(tmp_path: Path) -> None:
    (device,) = read_devices(write(tmp_path, f"[[device]]\n{GOOD}"))
    assert (device.id, device.kind, device.clusters, device.gpus, device.isa) == ("a-board", "cpu-board", (), (), None)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_accepted(tmp_path: Path, kind: str) -> None:
    assert read_devices(write(tmp_path, "[[device]]\n" + GOOD.replace("cpu-board", kind)))[0].kind == kind


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[[device]\n", "cannot be read as TOML"),
        ("", "a device file is a list of [[device]] tables; there is none"),
        ("[device]\nid = 'x'", "a device file is a list of [[device]] tables; there is none"),
        (f"unit = 'ms'\n[[device]]\n{GOOD}", "key 'unit' stands outside of them"),
        ("[[device]]\nid = 'a'\ntitle = 'A'\nkind = 'phone'", "device a: source: Field required"),
        ("[[device]]\n" + GOOD.replace("a-board", "A Board"), "write 'a-board', not 'A Board'"),
        ("[[device]]\n" + GOOD.replace("cpu-board", "laptop"), "no such kind"),
        ("[[device]]\n" + GOOD.replace("cpu-board", "fone"), "did you mean 'phone'?"),
        (f"[[device]]\n{GOOD}ram = 4", "ram: Extra inputs are not permitted"),
        (f"[[device]]\n{GOOD}clusters = [{{ core = 'a72', count = 0 }}]", "clusters.0.count: Input should be greater than"),
        (f"[[device]]\n{GOOD}clusters = [{{ core = 'a72', clock_hz = '1.8 GHz' }}]", "clusters.0.clock_hz: Input should be"),
        (f"[[device]]\n{GOOD}clusters = [{{ core = 'a72', clock_hz = inf }}]", "0.clock_hz: Input should be a finite"),
        (f"[[device]]\n{GOOD}clusters = [{{ count = 4 }}]", "clusters.0.core: Field required"),
        (f"[[device]]\n{GOOD}memory_bytes = -1", "memory_bytes: Input should be greater than"),
    ],
)  # fmt: skip
def test_a_bad_file_is_told(tmp_path: Path, text: str, told: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(InvalidDevice, match=re.escape(told)) as error:
        read_devices(path)
    assert str(path) in str(error.value)


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(InvalidDevice, match=r"none\.toml: cannot be read"):
        read_devices(tmp_path / "none.toml")


@pytest.mark.parametrize("second", ["id = 'a-board'", "id = 'b'\naliases = ['a-board']"])
def test_a_name_means_one_device(tmp_path: Path, second: str) -> None:
    write(tmp_path, f"[[device]]\n{GOOD}")
    write(tmp_path, f"[[device]]\n{second}\ntitle = 'B'\nkind = 'phone'\nsource = 'me'", "b.toml")
    with pytest.raises(InvalidDevice, match="'a-board' names both 'a-board' and"):
        load_devices(tmp_path)


@pytest.mark.parametrize(
    ("name", "device"),
    [
        ("raspberry-pi-4b", "raspberry-pi-4b"),
        ("raspberry-pi-4", "raspberry-pi-4b"),
        ("Raspberry Pi 4 Model B", "raspberry-pi-4b"),
        ("rpi4", "raspberry-pi-4b"),
        ("raspberry-pi-3", "raspberry-pi-3b-plus"),
        ("Raspberry Pi 3 Model B+", "raspberry-pi-3b-plus"),
        ("rpi5", "raspberry-pi-5"),
        ("raspberry-pi-5-overclocked", "raspberry-pi-5-overclocked"),
        ("Jetson Nano", "jetson-nano"),
        ("RTX_3090", "rtx-3090"),
        ("RTX3090", "rtx-3090"),
        ("rk3588", "rockchip-rk3588"),
        ("Snapdragon 855+", "snapdragon-855-plus"),
        ("FT-2000+/64", "phytium-ft-2000-plus-64"),
    ],
)
def test_devices_answer_to_what_people_call_them(name: str, device: str) -> None:
    assert find_device(name).id == device


@pytest.mark.parametrize(
    ("wrong", "meant"),
    [("raspbery-pi-4", "raspberry-pi-4"), ("jetson-nona", "jetson-nano"), ("rtx3091", "rtx3090")],
)
def test_an_unknown_device_is_answered_with_the_nearest(wrong: str, meant: str) -> None:
    with pytest.raises(UnknownDevice, match=f"no device '{wrong}'; did you mean .*'{meant}'.*add-a-device"):
        find_device(wrong)


def test_every_measurement_has_its_device() -> None:
    assert {row.device for row in load_measurements()} <= devices().keys()


def test_a_caller_cannot_spoil_the_shipped_devices() -> None:
    devices().clear()
    assert "raspberry-pi-4b" in devices()


@given(st.text(max_size=40))
def test_a_slug_is_its_own_slug(text: str) -> None:
    assert slug(slug(text)) == slug(text)
    assert re.fullmatch(r"([a-z0-9]+(-[a-z0-9]+)*)?", slug(text))


# the shipped facts, against the titles and labels of the table they are from


@pytest.fixture(scope="module")
def listed(shared: Path) -> dict[str, dict[str, set[str]]]:
    """The columns of the source table, by title."""
    found: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    with gzip.open(shared / "data" / "ncnn_benchmark.csv.gz", "rt", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            for column in COLUMNS:
                found[row["device"]][column] |= {row[column]} - {""}
    return found


def shipped() -> list[Device]:
    return [device for device in devices().values() if SOURCE in device.listed_as]


def test_every_title_belongs_to_one_device(listed: dict[str, dict[str, set[str]]]) -> None:
    assert sorted(title for device in shipped() for title in device.listed_as[SOURCE]) == sorted(listed)


WORDS = {"quad": 4.0, "six": 6.0}


def words(text: str) -> str:
    return re.sub(r"[^a-z0-9.]+", " ", text.lower())


def numbers(text: str) -> set[float]:
    """Every number of a title, in digits or as a word."""
    digits = {float(number) for number in re.findall(r"\d+(?:\.\d+)?", text)}
    return digits | {WORDS[word] for word in words(text).split() if word in WORDS}


def stated(device: Device) -> list[tuple[str, set[float]]]:
    """What a device file says in numbers, each with the ways in which a title may write it."""
    clocks = [(cluster.core, hertz) for cluster in device.clusters for hertz in (cluster.clock_hz, cluster.boost_hz)]
    clocks += [(gpu.id, gpu.clock_hz) for gpu in device.gpus]
    counts = [(cluster.core, cluster.count) for cluster in device.clusters]
    counts += [(gpu.id, count) for gpu in device.gpus for count in (gpu.compute_units, gpu.lanes, gpu.tensor_cores)]
    memories = [(gpu.id, gpu.memory_bytes) for gpu in device.gpus]
    return [
        *[(name, {hertz / 1e9, hertz / 1e6}) for name, hertz in clocks if hertz],
        *[(name, {float(count)}) for name, count in counts if count],
        *[(name, {size / 2**30, size / 2**20}) for name, size in memories if size],
    ]


def only_listed() -> list[Device]:
    """The devices of which nothing is known but titles and labels; a datasheet tells more."""
    return [device for device in shipped() if len(device.listed_as) == 1 or "neusight" not in device.listed_as]


@pytest.mark.parametrize("device", only_listed(), ids=lambda device: device.id)
def test_the_facts_of_a_device_are_those_of_its_titles(device: Device, listed: dict[str, dict[str, set[str]]]) -> None:
    titles = device.listed_as[SOURCE]
    known = numbers(" ".join(titles))
    assert [fact for fact in stated(device) if not fact[1] & known] == []
    columns = {name: {value for title in titles for value in listed[title][name]} for name in COLUMNS}
    assert device.isa is None or {device.isa} == columns["isa"]
    chips = words(" ".join([*columns["soc"], *titles])).split()
    assert [word for word in words(device.soc or "").split() if re.search(r"\d", word) and word not in chips] == []
    labels = words(" ".join([*columns["cpu_core"], *titles]))
    assert [cluster.core for cluster in device.clusters if not named(cluster.core, labels)] == []
    gpus = words(" ".join([*columns["soc_or_gpu"], *titles]))
    assert [gpu.name for gpu in device.gpus if words(gpu.name) not in gpus] == []
    makes = {make for gpu in device.gpus for make in (gpu.chip, gpu.architecture) if make}
    assert {make for make in makes if words(make) not in words(" ".join(titles)).split()} == set()


def named(core: str, labels: str) -> bool:
    """Whether a core's name stands in a title or label, perhaps short ('A55') or as the titles spell it ('Kyro')."""
    name = core.replace("-", " ?")
    forms = name, name.removeprefix("cortex ?"), name.replace("kryo", "kyro")
    return any(re.search(rf"\b{form}\b", labels) for form in forms)


def test_the_check_of_facts_can_fail(listed: dict[str, dict[str, set[str]]]) -> None:
    device = devices()["raspberry-pi-4b"]
    fast = device.model_copy(update={"clusters": (device.clusters[0].model_copy(update={"clock_hz": 2.2e9}),)})
    with pytest.raises(AssertionError):
        test_the_facts_of_a_device_are_those_of_its_titles(fast, listed)
