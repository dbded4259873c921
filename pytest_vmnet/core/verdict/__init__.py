"""From ledgers to flows and a verdict for each guest, and when packets died. Pure."""
