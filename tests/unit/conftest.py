"""What the unit tests share: how hypothesis behaves on a slow machine, and SIGINT."""

from __future__ import annotations

import signal

from hypothesis import settings

# What was started in the background ignores SIGINT, and so would everything that a test starts.
signal.signal(signal.SIGINT, signal.default_int_handler)

settings.register_profile("unit", deadline=None, database=None, max_examples=60)
settings.load_profile("unit")
