"""The scan: once a day, which scale sets may be maintained now, what stands in their way, and by request a start."""
