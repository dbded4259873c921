"""Probes ask and return facts; they never judge."""
