"""Tests of what is deployed: Bicep, hooks, the package."""
