"""One gate run: from settings to open doors, look, judge, decide, act, prove; live or replayed."""
