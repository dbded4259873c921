"""Measurements: `python -m benchmarks [NAME ...]`. Nothing here is a test; nothing asserts."""
