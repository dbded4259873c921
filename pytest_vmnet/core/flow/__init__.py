"""Flows: what is sent, which way it takes, and what a site can bear. Pure."""
