"""What quantised files weigh: ONNX Runtime's quantisers on networks of the zoo, and what costmodel says.

    python -m benchmarks.stored_size [--write]

``--write`` writes the sizes to tests/data/stored_size.json. Needs onnxruntime.
"""

from __future__ import annotations

import argparse
import json
import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_dynamic, quantize_static
from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer
from onnxruntime.quantization.preprocess import quant_pre_process

import costmodel as cm

FACTS = Path(__file__).parent.parent / "tests" / "data" / "stored_size.json"
INT4 = [{"group": group, "zero_points": zeros} for group in (32, 128) for zeros in (False, True)]
CONVOLUTIONS = ("resnet18", "mobilenet_v2", "squeezenet1_1", "mobilenet_v3_small")
CASES: list[tuple[str, str, Mapping[str, Any]]] = [
    *((name, precision, {}) for name in CONVOLUTIONS for precision in ("fp32", "int8", "int8-dynamic")),
    *((name, precision, {}) for name in ("bert_small", "vit_b_16") for precision in ("fp32", "int8-dynamic")),
    *((name, "int4", options) for name in ("bert_small", "vit_b_16") for options in INT4),
    ("vit_b_16", "int8", {}),
]


class OnePoint(CalibrationDataReader):  # type: ignore[misc]
    """One input of ones: sizes do not depend on what it is."""

    def __init__(self, network: cm.Network) -> None:
        point = network.bind({})
        shapes = {name: [cm.Dim.of(extent).at(point) for extent in x.dims] for name, x in network.inputs.items()}
        self.points = iter([{name: np.ones(shape, network.inputs[name].dtype) for name, shape in shapes.items()}])

    def get_next(self) -> Any:
        return next(self.points, None)


def written(network: cm.Network, folder: Path, precision: str, options: Mapping[str, Any]) -> Path:
    """The network as a file of that precision."""
    source, target = folder / "source.onnx", folder / "target.onnx"
    cm.save_onnx(network, source)
    if precision == "fp32":
        return source
    if precision == "int8-dynamic":
        quantize_dynamic(source, target, weight_type=QuantType.QInt8, per_channel=True)
    elif precision == "int8":
        prepared = folder / "prepared.onnx"
        quant_pre_process(source, prepared, skip_symbolic_shape=True)
        quantize_static(prepared, target, OnePoint(network), quant_format=QuantFormat.QDQ, per_channel=True)
    else:
        model = onnx.load(source)
        by = MatMulNBitsQuantizer(model, block_size=options["group"], is_symmetric=not options["zero_points"])
        by.process()
        by.model.save_model_to_file(str(target), use_external_data_format=False)
    return target


def measured() -> Iterator[tuple[str, str, Mapping[str, Any], int]]:
    for name, precision, options in CASES:
        with TemporaryDirectory() as folder:
            yield name, precision, options, written(cm.zoo(name), Path(folder), precision, options).stat().st_size


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help=f"Write {FACTS.name}.")
    arguments = parser.parse_args()
    logging.disable(logging.ERROR)
    facts = []
    print("| network | precision | file, bytes | told, bytes | error |\n|---|---|--:|--:|--:|")
    for name, precision, options, size in measured():
        facts.append({"network": name, "precision": precision, "options": options, "file_bytes": size})
        told = cm.storage(cm.zoo(name), precision, **options).at()
        label = " ".join([precision, *(f"{key}={value}" for key, value in options.items())])
        print(f"| {name} | {label} | {size:,} | {told:,} | {told / size - 1:+.2%} |", flush=True)
    if arguments.write:
        how = {"onnxruntime": onnxruntime.__version__, "command": "python -m benchmarks.stored_size --write"}
        FACTS.write_text(json.dumps({**how, "cases": facts}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
