"""Scale sets, their instances and operations, and how they change with time. No I/O; the time is passed in."""
