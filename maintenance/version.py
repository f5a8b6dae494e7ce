"""The version of the worker: of its code, its User-Agent, its events' documentation and its release notes."""

VERSION = "0.2.0"
