"""Kill a worker after every step it takes, each time on an environment of its own, and see what comes of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from tests.reliability.documentation import as_written, steps
from tests.reliability.environment import Story, environment
from tests.reliability.killable_worker import Death, kind_of

# Workers mostly wait, for links to open and for maintenance to end: many stories fit on one core.
AT_ONCE = 10
LAST_BREATH = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Circumstances:
    """Besides being killed: how many workers there are, how many timers each has, whether all is delivered twice, and
    whether the heir comes to it after the maintenance that was begun has ended, as after a lock of five minutes."""

    workers: int = 1
    timers: int = 1
    twice: bool = False
    late: bool = False


PLAIN = Circumstances()


def kill_after_every_step(story: Story, folder: Path, circumstances: Circumstances = PLAIN) -> None:
    """Enumerate the steps of a worker that is left alone, then kill one after each. Fails with the first story that
    did not end as it should."""
    deaths = list(_deaths(live_undisturbed(story, folder / "undisturbed", circumstances)))

    def die(number: int) -> bool:
        return kill(deaths[number], story, folder / str(number), circumstances)

    with ThreadPoolExecutor(AT_ONCE) as threads:
        died = [death for death, struck in zip(deaths, threads.map(die, range(len(deaths))), strict=True) if struck]
    told = {as_written(death.kind) for death in deaths}
    assert told <= steps(), f"not in docs/reliability.md: {told - steps()}"
    missed = {death.kind for death in deaths} - {death.kind for death in died}
    # Of two workers either may do the work.
    assert not missed or (died and circumstances.workers > 1), f"never killed after: {missed}"


def live_undisturbed(story: Story, folder: Path, circumstances: Circumstances = PLAIN) -> list[str]:
    """The steps of the first worker where nobody is killed."""
    with environment(story, folder) as place, ExitStack() as lives:
        workers = [
            lives.enter_context(place.worker(timers=circumstances.timers, twice=circumstances.twice))
            for _ in range(circumstances.workers)
        ]
        place.ask()
        assert place.finish(*workers), place.account()
        place.check()
        return place.steps()


def kill(death: Death, story: Story, folder: Path, circumstances: Circumstances = PLAIN) -> bool:
    """Let the first worker die, start another, let it finish. False if the first one never came to that step."""
    timers, twice = circumstances.timers, circumstances.twice
    with environment(story, folder) as place, ExitStack() as lives:
        first = lives.enter_context(place.worker(death=death, timers=timers, twice=twice))
        others = [
            lives.enter_context(place.worker(timers=timers, twice=twice)) for _ in range(circumstances.workers - 1)
        ]
        place.ask()
        if not place.finish(first):
            if circumstances.late:
                place.rest()
            place.bury()
            heir = lives.enter_context(place.worker(timers=timers, twice=twice))
            assert place.finish(heir, *others), place.account()
        # What was its last step may have been the last of all: it then dies of it a moment later.
        first.join(LAST_BREATH)
        place.check()
        return first.exitcode is not None


def _deaths(steps: list[str]) -> Iterator[Death]:
    taken: Counter[str] = Counter()
    for step in steps:
        kind = kind_of(step)
        taken[kind] += 1
        yield Death(kind, taken[kind])
