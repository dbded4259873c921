"""The ledger: every probe packet at every point of its path, and what does not fit. Pure."""
