"""How many inputs made to break them the parsers read, and how many crashed one: a count for each.

python benchmarks/fuzz.py --inputs 100000     about half an hour; --only NAME for one parser, --seed N for other inputs
"""

from __future__ import annotations

import argparse
import resource
import sys
import time
import traceback
from collections import Counter
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, given, seed, settings

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from cflows_core.errors import CflowsError

CHECKS: Any = list(HealthCheck)  # none of them: inputs may be slow, and large
LONGEST = 10.0  # seconds of a processor for one input, beyond which it counts as a crash
SHOWN = 3  # crashes of each kind that are printed whole


def main() -> None:
    from tests.fuzz.pages import end_visits
    from tests.fuzz.parsers import PARSERS

    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--inputs", type=int, default=100_000)
    asked.add_argument("--only", choices=PARSERS)
    asked.add_argument("--seed", type=int, default=0)
    given_ = asked.parse_args()
    chosen = {given_.only: PARSERS[given_.only]} if given_.only else PARSERS
    whole = sum(parser.share for parser in chosen.values())
    print(f"{'parser':24}{'inputs':>10}{'read':>10}{'refused':>10}{'crashes':>10}{'slowest':>10}{'seconds':>10}")
    total: Counter[str] = Counter()
    for name, parser in chosen.items():
        begin = time.perf_counter()
        counts, slowest = tried(parser.inputs, parser.read, round(given_.inputs * parser.share / whole), given_.seed)
        total += counts
        counted = "".join(f"{counts[kind]:>10,}" for kind in ("inputs", "read", "refused", "crashes"))
        print(f"{name:24}{counted}{slowest:>8.2f} s{time.perf_counter() - begin:>10.0f}", flush=True)
    end_visits()
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
    print(f"{total['inputs']:,} inputs, {total['crashes']} crashes; the most memory in use: {memory:,.0f} MB")
    sys.exit(bool(total["crashes"]))


def tried(inputs, read, number: int, first: int) -> tuple[Counter[str], float]:
    """Let a parser read so many inputs; what became of them, and the seconds of the slowest."""
    counts: Counter[str] = Counter()
    kinds: Counter[str] = Counter()
    slowest = [0.0]

    @seed(first)
    @settings(max_examples=max(1, number), deadline=None, database=None, phases=[Phase.generate], suppress_health_check=CHECKS)
    @given(inputs)
    def one(said) -> None:
        begin = time.process_time()
        counts["inputs"] += 1
        try:
            read(said)
            counts["read"] += 1
        except CflowsError:
            counts["refused"] += 1
        except Exception as problem:
            counts["crashes"] += 1
            frame = traceback.extract_tb(problem.__traceback__)[-1]
            kind = f"{type(problem).__name__} at {Path(frame.filename).name}:{frame.lineno}"
            kinds[kind] += 1
            if kinds[kind] <= SHOWN:
                print(f"  {kind}: {problem!s:.200} for {said!r:.400}", file=sys.stderr)
        took = time.process_time() - begin
        if took > LONGEST:
            counts["crashes"] += 1
            print(f"  {took:.1f} s for {said!r:.400}", file=sys.stderr)
        slowest[0] = max(slowest[0], took)

    one()
    return counts, slowest[0]


if __name__ == "__main__":
    main()
