"""Fit every shipped profile from the shipped measurements: ``python calibration/scripts/fit_profiles.py``.

Deterministic: equal measurements give equal files. Profiles of configurations that are gone are removed.
"""

from __future__ import annotations

import time
from pathlib import Path

from costmodel.calibration import calibrate_all, is_fittable
from costmodel.gpu.profiles import profile_from_datasheet
from costmodel.schema.device import devices
from costmodel.schema.measurement import load_measurements

PROFILES = Path(__file__).resolve().parent.parent / "profiles"
FEWEST = 10
KERNELS = "neusight"  # the cards of this source have datasheets, and kernels instead of networks


def main() -> None:
    started = time.perf_counter()
    fitted = calibrate_all(filter(is_fittable, load_measurements()), fewest=FEWEST)
    fitted += [profile_from_datasheet(device) for device in devices().values() if KERNELS in device.listed_as]
    kept = {profile.save(PROFILES) for profile in fitted}
    for path in set(PROFILES.glob("*/*/*/*.json")) - kept:
        path.unlink()
    print(f"{len(fitted)} profiles in {time.perf_counter() - started:.0f} s")


if __name__ == "__main__":
    main()
