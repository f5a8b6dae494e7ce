"""Completion scripts, written by `make completion` with shtab; `vmss-maintenance completion SHELL` prints them."""
