"""One outcome, many faces."""
