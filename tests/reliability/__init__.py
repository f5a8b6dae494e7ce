"""Nothing lost, nothing twice: the worker killed anywhere, messages delivered twice, timers fired twice."""
