"""20,000 damaged files: how many are read or refused, the slowest, and the most memory. Anything else is a fault.

    python benchmarks/mutations.py [--count 20000]
"""

from __future__ import annotations

import argparse
import resource
import sys
import time
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests.read.mutations import mutations
from tests.read.test_mutations import answer, models


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=20_000)
    arguments = parser.parse_args()
    outcomes: Counter[str] = Counter()
    slowest = (0.0, 0)
    for seed, data in mutations(models(), arguments.count):
        started = time.perf_counter()
        try:
            outcomes[answer(data)] += 1
        except Exception as error:
            outcomes[f"FAULT {type(error).__name__}"] += 1
            print(f"seed {seed}: {type(error).__name__}: {str(error)[:200]}")
        slowest = max(slowest, (time.perf_counter() - started, seed))
    for outcome, times in outcomes.most_common():
        print(f"{times:7} {outcome}")
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"slowest {slowest[0]:.2f} s (seed {slowest[1]}), most memory {most:.0f} MB")


if __name__ == "__main__":
    main()
