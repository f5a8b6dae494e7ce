"""Vocabulary of the worker: resources, instances, observations, operations, messages, ids and errors. No I/O."""
