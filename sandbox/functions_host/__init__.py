"""A host for Azure Functions: finds the functions of a `function_app.py` and fires their triggers.

It stands in for the Functions host *and* its Python worker, for the three triggers this project uses:
Service Bus (queue or subscription), timer, HTTP. What a function is handed is built by the converters of
`azure.functions` from the metadata the real host sends, so what is None in Azure is None here.

Read in this order: `indexing` (which functions are there), `listeners.conversion` (what they are handed),
`invocation` (how one is run), `listeners` (what makes one run), `host`.
"""

from sandbox.functions_host.alarm_clock import AlarmClock, SystemAlarmClock
from sandbox.functions_host.configuration import HostConfiguration, HostJsonError, read_host_json
from sandbox.functions_host.host import FunctionsHost
from sandbox.functions_host.indexing import IndexedFunction, IndexingError, load_app

__all__ = [
    "AlarmClock",
    "FunctionsHost",
    "HostConfiguration",
    "HostJsonError",
    "IndexedFunction",
    "IndexingError",
    "SystemAlarmClock",
    "load_app",
    "read_host_json",
]
