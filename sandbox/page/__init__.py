"""The sandbox's page: a local web page on which scale sets, requests, queues, calls and events are seen as they move.

    with Page(bus, arm) as page:
        print(page.address)

It reads the services without changing them, and does nothing but remember the last messages and calls while nobody
looks. What changes anything needs the token in `page.address`. docs/sandbox.md describes what it shows and does.
"""

from sandbox.page.control.controls import WorkerProcess
from sandbox.page.server import Page

__all__ = ["Page", "WorkerProcess"]
