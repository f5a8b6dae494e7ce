"""After `azd down`: remove what lies outside the resource group, and only what is ours. Runs any number of times."""

from __future__ import annotations

import os
import sys

from infra.hooks.azure_cli import Az, AzureCliError, az, say
from infra.hooks.rights import clean, needed_subscriptions, seen_subscriptions


def main(run: Az = az) -> int:
    failed = 0
    for subscription in dict.fromkeys(needed_subscriptions(os.environ) + seen_subscriptions(os.environ)):
        try:
            clean(subscription, os.environ, run)
        except AzureCliError as error:
            failed = 1
            say(f"Subscription {subscription} is not clean yet; run `azd down` again, or this hook: {error}")
    if os.environ.get("WORKER_SERVICE_BUS_NAMESPACE_ID"):
        say("The queues and the topic in your namespace are left: they may hold messages. Delete them by hand.")
    return failed


if __name__ == "__main__":
    sys.exit(main())
