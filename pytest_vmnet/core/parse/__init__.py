"""Parsers of what tools print and captures hold: bytes or text in, frozen facts out."""
