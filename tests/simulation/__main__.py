"""`python -m tests.simulation --seeds N --first K`: run seeds, tell what broke, and show what occurred."""

from __future__ import annotations

import argparse
import gc
import multiprocessing
import sys
import time
from collections import Counter
from collections.abc import Iterator

from tests.simulation.drawing import draw_plan
from tests.simulation.occurrences import table
from tests.simulation.story import Outcome, play_seed, silence, tell

STORIES = 5
# So many that break something are enough to know.
MOST_FAILED = 40
CHUNK = 25
# Progress is shown after so many.
SHOWN = 5_000


def settle_down() -> None:
    """For a process of which the simulation is all that it does: collect garbage rarely."""
    silence()
    gc.freeze()
    gc.set_threshold(50_000)


def run_seeds(seeds: range, jobs: int) -> Iterator[Outcome]:
    if jobs == 1:
        settle_down()
        yield from map(play_seed, seeds)
        return
    with multiprocessing.get_context("fork").Pool(jobs, initializer=settle_down) as pool:
        yield from pool.imap_unordered(play_seed, seeds, chunksize=CHUNK)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seeds", type=int, default=1000, help="how many")
    parser.add_argument("--first", type=int, default=1, help="the first of them")
    parser.add_argument("--jobs", type=int, default=2, help="processes at once")
    parser.add_argument("--story", action="store_true", help="tell the first seed's story, whatever came of it")
    options = parser.parse_args()
    settle_down()
    if options.story:
        print(tell(draw_plan(options.first)))
        return 0
    started, occurred = time.monotonic(), Counter[str]()
    failed: list[Outcome] = []
    for done, outcome in enumerate(run_seeds(range(options.first, options.first + options.seeds), options.jobs), 1):
        occurred.update(outcome.occurred)
        if done % SHOWN == 0:
            print(f"{done:,} of {options.seeds:,} seeds, {len(failed)} broke a promise", file=sys.stderr, flush=True)
        if outcome.broken:
            failed.append(outcome)
            print(f"seed {outcome.seed}: {outcome.broken[0]}", flush=True)
            if len(failed) == MOST_FAILED:
                break
    print(table(occurred))
    took = time.monotonic() - started
    print(f"{options.seeds} seeds in {took:.0f} s ({options.seeds / took:.0f} a second); {len(failed)} broke a promise")
    kinds = Counter(outcome.broken[0].promise for outcome in failed)
    print(", ".join(f"{promise}: {count}" for promise, count in sorted(kinds.items())))
    shown: set[str] = set()
    for outcome in sorted(failed, key=lambda each: each.seed):
        promise = outcome.broken[0].promise
        if promise not in shown and len(shown) < STORIES:
            shown.add(promise)
            print(f"\n{tell(draw_plan(outcome.seed))}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
