"""The worker is killed after each awaited step in turn: every request ends once, every instance is maintained once."""

from pathlib import Path

import pytest

from tests.reliability import stories
from tests.reliability.estates import Story
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


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.parametrize("circumstances", CIRCUMSTANCES)
@pytest.mark.parametrize("story", STORIES)
def test_killed_after_any_step(story: str, circumstances: str, tmp_path: Path) -> None:
    kill_after_every_step(getattr(stories, story), tmp_path, CIRCUMSTANCES[circumstances])


@pytest.mark.parametrize("circumstances", DISTURBANCES)
def test_a_rollout_under(circumstances: str, tmp_path: Path) -> None:
    live_undisturbed(stories.THREE_WAVES, tmp_path, DISTURBANCES[circumstances])
