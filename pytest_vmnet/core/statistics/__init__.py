"""Bounds, bursts, association, latency. Pure."""
