"""Worker killed after each awaited step in turn: each request ends once, and each instance is maintained once."""

from dataclasses import replace
from datetime import timedelta
from itertools import product
from pathlib import Path

import httpx
import pytest

from maintenance.arm.resource_manager import API_VERSION
from sandbox.resource_manager import Fault
from tests.reliability import stories
from tests.reliability.environment import environment
from tests.reliability.killing import Circumstances, kill_after_every_step, run_undisturbed
from tests.reliability.story import Story
from tests.support.limit import LIMIT

# Each story takes the worker through real locks and pauses, a minute and more.
pytestmark = pytest.mark.long

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


def test_killed_before_arm_starts_what_was_posted(tmp_path: Path) -> None:
    # ARM receives the POST and does nothing yet: it starts when the worker is dead, and before its successor speaks.
    pending = Fault(method="POST", delay=timedelta(hours=1))
    with environment(replace(stories.TWO_INSTANCES, faults=(pending,)), tmp_path) as services:
        with services.worker() as first:
            services.send_requests()
            services.wait_for_call_to_arm("POST", "performMaintenance")
            first.kill()
        services.expire_locks()
        (post,) = services.arm.calls.matching("POST", "performMaintenance")
        url = f"{services.arm.endpoint}{post.path}?api-version={API_VERSION}"
        headers = {"Authorization": f"Bearer {services.identity.issue()}", "Content-Type": "application/json"}
        assert httpx.post(url, content=post.body, headers=headers, timeout=LIMIT).status_code == 202
        with services.worker() as successor:
            assert services.finish(successor), services.report()
            services.check()
        assert len(services.arm.calls.matching("POST", "performMaintenance")) == 2, "the worker's own and the test's"


@pytest.mark.parametrize(
    ("circumstances", "story"),
    # The maintenance of this story does not end.
    [each for each in product(CIRCUMSTANCES, STORIES) if each != ("after a long lock", "PAST_ITS_DEADLINE")],
)
def test_killed_after_any_step(story: str, circumstances: str, tmp_path: Path) -> None:
    kill_after_every_step(getattr(stories, story), tmp_path, CIRCUMSTANCES[circumstances])


@pytest.mark.parametrize("circumstances", DISTURBANCES)
def test_rollout_with_disturbance_ends_once(circumstances: str, tmp_path: Path) -> None:
    run_undisturbed(stories.THREE_WAVES, tmp_path, DISTURBANCES[circumstances])
