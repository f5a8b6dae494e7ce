"""Kill a worker after every step it takes, each time in an environment of its own, and check the results."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tests.reliability.documentation import as_written, steps
from tests.reliability.environment import environment
from tests.reliability.killable_worker import CrashPoint, kinds_of
from tests.reliability.story import Story

# Workers mostly wait, for links to open and for maintenance to end: many stories fit on one core.
CONCURRENCY = 10
# Three waves have three steps of each kind.
OF_A_KIND = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Circumstances:
    """Circumstances of a run besides being killed.

    `workers`: how many there are. `timers`: how many each has. `twice`: every message is delivered twice. `late`: the
    successor starts after the maintenance that was begun has ended, as after a lock of five minutes.
    """

    workers: int = 1
    timers: int = 1
    twice: bool = False
    late: bool = False


PLAIN = Circumstances()
# `batched`: not reached, but the worker sent a batch to the same entity, and what the point is about may be among it.
Came = Literal["reached", "batched", "missed"]


def kill_after_every_step(story: Story, folder: Path, circumstances: Circumstances = PLAIN) -> None:
    """List the steps of a worker that is not killed, then kill one after each. Fails at the first unexpected result."""
    crashes = list(_crash_points(run_undisturbed(story, folder / "undisturbed", circumstances)))

    def kill_at(number: int) -> Came:
        return kill(crashes[number], story, folder / str(number), circumstances)

    with ThreadPoolExecutor(CONCURRENCY) as threads:
        came = list(zip(crashes, threads.map(kill_at, range(len(crashes))), strict=True))
    reached = {crash.kind for crash, how in came if how == "reached"}
    batched = {crash.kind for crash, how in came if how == "batched"}
    written = {as_written(crash.kind) for crash in crashes}
    assert written <= steps(), f"not in docs/reliability.md: {written - steps()}"
    missed = {crash.kind for crash in crashes if not _by_chance(crash, story)} - reached - batched
    # Of two workers either may do the work.
    assert not missed or (reached and circumstances.workers > 1), f"never killed after: {missed}"


def _by_chance(crash: CrashPoint, story: Story) -> bool:
    """Whether a step depends on what is sent at the same time (the batch of several messages, and its sending), or on
    how soon a worker is there: a blackout of seconds may be over by then."""
    call, _, which = crash.kind.partition(" ")
    if crash.kind.rpartition(" ")[2] in story.may_publish:
        return True
    return call == "create_message_batch" or (call == "send_messages" and " " not in which)


def run_undisturbed(story: Story, folder: Path, circumstances: Circumstances = PLAIN) -> list[str]:
    """The steps of the first worker if nobody is killed."""
    with environment(story, folder) as services, ExitStack() as runs:
        workers = [
            runs.enter_context(services.worker(timers=circumstances.timers, twice=circumstances.twice))
            for _ in range(circumstances.workers)
        ]
        services.send_requests()
        assert services.finish(*workers), services.report()
        services.wait_for_calls(workers[0])
        services.check()
        return services.steps()


def kill(crash: CrashPoint, story: Story, folder: Path, circumstances: Circumstances = PLAIN) -> Came:
    """Kill the first worker at a crash point, and have another finish. How near the first came to the point."""
    timers, twice = circumstances.timers, circumstances.twice
    with environment(story, folder) as services, ExitStack() as runs:
        first = runs.enter_context(services.worker(crash=crash, timers=timers, twice=twice))
        others = [
            runs.enter_context(services.worker(timers=timers, twice=twice)) for _ in range(circumstances.workers - 1)
        ]
        services.send_requests()
        if not services.finish(first):
            if circumstances.late:
                services.wait_for_maintenance()
            services.expire_locks()
            successor = runs.enter_context(services.worker(timers=timers, twice=twice))
            assert services.finish(successor, *others), services.report()
        # The last step of all may end after the message that it settles is gone.
        reached = services.reaches(crash, first)
        services.check()
        if reached:
            return "reached"
        call, entity = crash.kind.split(" ")[:2]
        return "batched" if call == "send_messages" and f"{call} {entity}" in services.steps() else "missed"


def _crash_points(steps: list[str]) -> Iterator[CrashPoint]:
    """Of the steps of one kind the first ones and the last: a run polls as often as there is time."""
    kinds = [kind for step in steps for kind in kinds_of(step)]
    total = Counter(kinds)
    taken: Counter[str] = Counter()
    for kind in kinds:
        taken[kind] += 1
        if taken[kind] <= OF_A_KIND or taken[kind] == total[kind]:
            yield CrashPoint(kind, taken[kind])
