"""What the unit tests share: how hypothesis behaves on a machine whose speed is not known."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("unit", deadline=None, database=None, max_examples=60)
settings.load_profile("unit")
