"""What other teams build on: JSON Schemas, an AsyncAPI document and reference pages, all written by `make contracts`.

Nothing here is deployed. Requests come from the worker's own models; what an event holds is modelled in `event_models`.
A new field of a request needs its words in `request_words`, a new event its model; tests say what is missing.
"""
