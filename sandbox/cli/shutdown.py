"""Closes the clients of a functions app before its event loop ends."""

from __future__ import annotations

import sys

# The module of this project's app that holds its clients. An app without it has nothing to close here.
_APP_MODULE = "maintenance.worker"


async def close_app() -> None:
    """Call `close_worker()` of the app that was loaded, if it has one and has been used.

    Azure ends the process, and the clients with it; here the event loop is closed first, and would report them. The
    module is looked up among those the app has imported: the sandbox imports nothing of an app.
    """
    module = sys.modules.get(_APP_MODULE)
    if module is not None:
        await module.close_worker()
