"""What the lab says while it comes up, for everyone who asked for it."""

from __future__ import annotations

import threading
from collections.abc import Iterator


class Progress:
    """Lines that grow until they are closed; each follower gets all of them.

    Attributes:
        error: Why the lab did not come up, or None.
    """

    def __init__(self) -> None:
        self._lines: list[str] = []
        self._closed = False
        self._changed = threading.Condition()
        self.error: str | None = None

    def say(self, line: str) -> None:
        """Add *line*."""
        with self._changed:
            self._lines.append(line)
            self._changed.notify_all()

    def close(self, error: str | None = None) -> None:
        """End the lines, with *error* if what they told of has failed."""
        with self._changed:
            self.error = error
            self._closed = True
            self._changed.notify_all()

    def follow(self) -> Iterator[str]:
        """Yield the lines from the first on, and wait for more until they are closed."""
        told = 0
        while True:
            with self._changed:
                while not self._closed and len(self._lines) == told:
                    self._changed.wait()
                fresh = self._lines[told:]
                closed = self._closed
            yield from fresh
            told += len(fresh)
            if closed:
                return
