"""HTML and SVG elements whose texts and attributes cannot be anything but text."""

from __future__ import annotations

from html import escape
from typing import Self

from pytest_vmnet.report.wording import plain

_READABLE = 620  # px; below, a picture is scrolled


class Markup(str):
    """Text that is markup already; only `element`, `join` and constants of ours make it."""

    __slots__ = ()

    def __add__(self, other: str) -> Self:
        """Return both, the other one escaped unless it is markup too."""
        return type(self)(f"{self}{_safe(other)}")


def element(tag: str, *content: object, **attributes: object) -> Markup:
    """Return one element.

    >>> element("p", "<b>", class_="x")
    '<p class="x">&lt;b&gt;</p>'

    Args:
        tag: Its name, ours.
        content: Its content in order; whatever is not `Markup` is escaped. None is left out.
        attributes: Its attributes; a trailing underscore is dropped, others become dashes, and
            None leaves an attribute out.
    """
    named = "".join(
        f' {name.rstrip("_").replace("_", "-")}="{_safe(value)}"'
        for name, value in attributes.items()
        if value is not None
    )
    return Markup(f"<{tag}{named}>{join(*content)}</{tag}>")


def join(*content: object) -> Markup:
    """Return the parts one after the other; whatever is not `Markup` is escaped."""
    return Markup("".join(_safe(part) for part in content if part is not None))


def fitting(width: int) -> str:
    """Return the style of a picture that shrinks with the page, down to what can be read."""
    return f"min-width:{min(width, _READABLE)}px"


def _safe(part: object) -> str:
    if isinstance(part, Markup):
        return str(part)
    shown = plain(part, 4000).replace(" %", "\N{NO-BREAK SPACE}%")  # they stay on one line
    return escape(shown, quote=True)
