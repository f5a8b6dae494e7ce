"""The worker is killed after each awaited step in turn: every request ends once, every instance is maintained once."""

from dataclasses import replace
from datetime import timedelta
from itertools import product
from pathlib import Path

import pytest

from sandbox.resource_manager import Fault
from tests.reliability import stories
from tests.reliability.environment import Story, environment
from tests.reliability.killing import Circumstances, kill_after_every_step, live_undisturbed

STORIES = [name for name, value in vars(stories).items() if isinstance(value, Story)]
DISTURBANCES = {
    "two workers": Circumstances(workers=2),
    "a timer that fires twice": Circumstances(timers=2),
    "every message delivered twice": Circumstances(twice=True),
}
CIRCUMSTANCES = {
    "alone": Circumstances(),
    **DISTURBANCES,
    "after a long lock": Circumstances(late=True),
}


def test_killed_after_any_step_of_a_request_for_two_instances(tmp_path: Path) -> None:
    kill_after_every_step(stories.TWO_INSTANCES, tmp_path)


def test_killed_while_arm_has_the_post_and_not_done_it(tmp_path: Path) -> None:
    late = Fault(method="POST", delay=timedelta(seconds=1.5))
    story = replace(stories.TWO_INSTANCES, faults=(late,), settings={"MAINTENANCE_SETTLE_TIME": "PT3S"})
    with environment(story, tmp_path) as place:
        with place.worker() as first:
            place.ask()
            place.asked_of_arm("POST", "performMaintenance")
            first.kill()
        place.bury()
        with place.worker() as heir:
            assert place.finish(heir), place.account()
            place.check()


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("story", "circumstances"),
    # Its maintenance does not end.
    [each for each in product(STORIES, CIRCUMSTANCES) if each != ("PAST_ITS_DEADLINE", "after a long lock")],
)
def test_killed_after_any_step(story: str, circumstances: str, tmp_path: Path) -> None:
    kill_after_every_step(getattr(stories, story), tmp_path, CIRCUMSTANCES[circumstances])


@pytest.mark.parametrize("circumstances", DISTURBANCES)
def test_a_rollout_under(circumstances: str, tmp_path: Path) -> None:
    live_undisturbed(stories.THREE_WAVES, tmp_path, DISTURBANCES[circumstances])
