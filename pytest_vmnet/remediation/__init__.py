"""Carry out a decision: rungs, journal, proof."""
