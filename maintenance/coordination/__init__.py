"""What all workers see of each other: leases of scale sets, cancellation markers, notes. Values and JSON, no I/O."""
