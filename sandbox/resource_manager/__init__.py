"""Azure Resource Manager on loopback: scale sets under maintenance, without an account.

    with ManagedIdentity() as identity, ResourceManager(tokens=identity.accepts) as arm:
        seed_example(arm)
        ...  # arm.endpoint, identity.environment

Its REST API, and its control API under `/sandbox/`, are described in docs/sandbox.md.
"""

from sandbox.clock import Clock
from sandbox.resource_manager.calls import Call, Calls
from sandbox.resource_manager.compute.events import InstanceChanged, OperationEnded, OperationStarted
from sandbox.resource_manager.compute.instances import InstanceReport
from sandbox.resource_manager.compute.seeds import (
    EXAMPLE_RESOURCE_GROUP,
    EXAMPLE_SUBSCRIPTION_ID,
    Hiding,
    InstanceSeed,
    Outcome,
    ResultCode,
    ScaleSetSeed,
    State,
    seed_example,
)
from sandbox.resource_manager.endpoint import TokenCheck
from sandbox.resource_manager.events import ArmEvent, CallReceived, Observer
from sandbox.resource_manager.faults import Fault, FaultReport, Faults, http_date
from sandbox.resource_manager.rest.throttling import LimitLeft, Limits, Rate
from sandbox.resource_manager.server import ResourceManager

__all__ = [
    "EXAMPLE_RESOURCE_GROUP",
    "EXAMPLE_SUBSCRIPTION_ID",
    "ArmEvent",
    "Call",
    "CallReceived",
    "Calls",
    "Clock",
    "Fault",
    "FaultReport",
    "Faults",
    "Hiding",
    "InstanceChanged",
    "InstanceReport",
    "InstanceSeed",
    "LimitLeft",
    "Limits",
    "Observer",
    "OperationEnded",
    "OperationStarted",
    "Outcome",
    "Rate",
    "ResourceManager",
    "ResultCode",
    "ScaleSetSeed",
    "State",
    "TokenCheck",
    "http_date",
    "seed_example",
]
