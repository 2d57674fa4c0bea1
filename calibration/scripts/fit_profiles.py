"""Fit every shipped profile from the shipped measurements: ``python calibration/scripts/fit_profiles.py``.

Deterministic: equal measurements give equal files. Profiles of configurations that are gone are removed.
"""

from __future__ import annotations

import time
from pathlib import Path

from costmodel.calibration import calibrate_all
from costmodel.schema.measurement import Measurement, load_measurements
from costmodel.specs import benchmark_names

PROFILES = Path(__file__).resolve().parent.parent / "profiles"
FEWEST = 10


def usable(row: Measurement) -> bool:
    """Rows of networks that the zoo has, where the configuration ran what its name says.

    ncnn runs int8 networks on the CPU also when it is asked for Vulkan, so those rows time a host processor that most
    of them do not name.
    """
    on_host = row.precision == "int8" and row.variant.startswith("vulkan")
    return row.network in benchmark_names(row.runtime) and not on_host


def main() -> None:
    started = time.perf_counter()
    fitted = calibrate_all(filter(usable, load_measurements()), fewest=FEWEST)
    kept = {profile.save(PROFILES) for profile in fitted}
    for path in set(PROFILES.glob("*/*/*/*.json")) - kept:
        path.unlink()
    print(f"{len(fitted)} profiles in {time.perf_counter() - started:.0f} s")


if __name__ == "__main__":
    main()
