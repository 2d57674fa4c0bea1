"""Reading modules whose weights would not fit: time and peak memory of ``from_torch``, each in a process of its own.

    python benchmarks/from_torch.py [NAME ...]

The weights are on torch's meta device, so they take no memory before either. Needs torch, onnxscript and transformers.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CONFIGURATIONS = {
    "GPT-2, 0.1 B": "GPT2LMHeadModel(GPT2Config(use_cache=False))",
    "Llama 2, 7 B": "LlamaForCausalLM(LlamaConfig(use_cache=False))",
    "Llama 2, 70 B": "LlamaForCausalLM(LlamaConfig(hidden_size=8192, intermediate_size=28672, num_hidden_layers=80, "
    "num_attention_heads=64, num_key_value_heads=8, use_cache=False))",
}
CHILD = """
import json, sys, time, warnings
from pathlib import Path
warnings.simplefilter("ignore")
import torch
from tests.torch_networks import declare_torchvision_operators
declare_torchvision_operators()
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM
import costmodel as cm
import onnxscript, costmodel.read.torch

def peak_bytes():
    return next(int(line.split()[1]) * 1024 for line in Path("/proc/self/status").open() if line.startswith("VmHWM"))

with torch.device("meta"):
    module = {module}
before, start = peak_bytes(), time.perf_counter()
network = cm.from_torch(module, {{"input_ids": torch.zeros(1, 16, dtype=torch.int64)}}, dynamic={{"input_ids": ("N", "S")}})
seconds = time.perf_counter() - start
counted = cm.count(network).total
print(json.dumps({{
    "before": before, "after": peak_bytes(), "seconds": seconds, "layers": len(network.layers),
    "params": int(counted.params), "stated": sum(p.numel() for p in module.parameters()), "macs": str(counted.macs),
}}))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"Some of: {', '.join(CONFIGURATIONS)}.")
    names = parser.parse_args().names or list(CONFIGURATIONS)
    print("| module | parameters | its weights in fp32 | peak memory before | growth | time | layers | multiply-adds |")
    print("|---|---|---|---|---|---|---|---|")
    for name in names:
        command = [sys.executable, "-c", CHILD.format(module=CONFIGURATIONS[name])]
        child = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
        found = json.loads(child.stdout.splitlines()[-1])
        assert found["params"] == found["stated"], found
        cells = (
            name,
            f"{found['params']:,}",
            f"{found['params'] * 4 / 1e9:.1f} GB",
            f"{found['before'] / 1e6:.0f} MB",
            f"{(found['after'] - found['before']) / 1e6:.0f} MB",
            f"{found['seconds']:.0f} s",
            f"{found['layers']:,}",
            found["macs"],
        )
        print(f"| {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
