"""Service Bus on top of the protocol: addresses, `$cbs`, `$management`, settlement and faults."""
