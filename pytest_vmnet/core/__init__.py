"""Facts in, findings and a decision out: pure functions and frozen data, no I/O, no clock."""
