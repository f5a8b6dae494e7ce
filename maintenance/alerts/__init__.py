"""Azure Monitor alerts: reads them, turns them into requests, and discovers scale sets with planned maintenance."""
