"""The errors of profiles from datasheets: devices of ncnn's benchmark -> calibration/datasheets/ncnn-cpu.csv.

    python calibration/scripts/fit_datasheets.py

Every device is left out once and predicted from its datasheet; what is written says how far off that was.
"""

from __future__ import annotations

import numpy as np

from costmodel.datasheets import ERRORS, measured_tables, unseen_costs
from costmodel.schema.data import data_folder
from costmodel.schema.profile import write_whole

if __name__ == "__main__":
    lines = ["configuration,network,log_error"]
    for table, costs, _ in unseen_costs(measured_tables("ncnn")):
        errors = np.log(table.work @ costs / table.times)
        lines += [f"{table.id},{name},{error:.3f}" for name, error in zip(table.networks, errors, strict=True)]
    path = data_folder("calibration") / ERRORS
    path.parent.mkdir(exist_ok=True)
    write_whole(path, "\n".join(lines) + "\n")
