"""A flow's timeline as an inline SVG: where a mark stands says it, colour only helps."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count

from pytest_vmnet.core.outcome import Flow, Timeline
from pytest_vmnet.core.words import Leg
from pytest_vmnet.report.markup import Markup, element, fitting, join
from pytest_vmnet.report.picture import columns
from pytest_vmnet.report.timeline import (
    ANSWERED,
    Window,
    enlarged,
    leg_of,
    packets_in,
    stays,
    whole,
)
from pytest_vmnet.report.wording import flow_name, plain

_CHAR = 7.4  # width of a monospace character of 12 px
_PLOT = 760  # width of the time axis
_LANE, _BAND, _GAP = 34, 14, 6  # heights
_TOP, _BOTTOM = 24, 34
_LEAST_STEP = 70  # least room between two labels of the axis
_SHORT, _TALL = 5, 16  # half-heights of a probe's mark
_LEGS = (Leg.REQUEST, Leg.REPLY, Leg.UNKNOWN)
_WORDS = {
    Leg.REQUEST: "request died",
    Leg.REPLY: "reply died",
    Leg.UNKNOWN: "request or reply died",
}


@dataclass(frozen=True, slots=True)
class _Sheet:
    """A stretch of time on paper.

    Attributes:
        flow: The flow.
        timeline: Its timeline.
        window: What is shown.
        left: Where the time axis begins.
        top: Upper edge.
        wide: How wide a probe's mark is.
    """

    flow: Flow
    timeline: Timeline
    window: Window
    left: float
    top: float
    wide: float

    def x(self, moment: float) -> float:
        """Return where a moment is on the axis."""
        return round(self.left + _PLOT * (moment - self.window.begin) / self.window.length, 1)

    @property
    def bands(self) -> Sequence[str]:
        """The ports that have a band."""
        return self.timeline.ports if self.timeline.moved_us else ()

    @property
    def bottom(self) -> float:
        """Lower edge of the lanes, where the axis is."""
        return self.top + _TOP + 2 * _LANE / 2 + _GAP + (_BAND + _GAP) * len(self.bands)


def timeline_svg(flow: Flow, timeline: Timeline) -> Markup:
    """Return the timeline of *flow* as one ``svg`` element that needs no style sheet."""
    names = ["probes", *(plain(port, 24) for port in timeline.ports)]
    left = 16 + max(columns(name) for name in names) * _CHAR
    sheets = [_Sheet(flow, timeline, whole(timeline), left, 0, 1.0)]
    if zoom := enlarged(timeline):
        sheets.append(_Sheet(flow, timeline, zoom, left, sheets[0].bottom + _BOTTOM + 8, 2.5))
    end = sheets[-1].bottom + _BOTTOM
    legend, height = _legend(flow, timeline, left, end)
    width = round(left + _PLOT + 24)
    return element(
        "svg",
        element("title", f"{flow_name(flow)}: its probes in time"),
        element("desc", _description(timeline)),
        *(_panel(sheet, zoom if at == 0 else None) for at, sheet in enumerate(sheets)),
        legend,
        xmlns="http://www.w3.org/2000/svg",
        class_="vmnet-time",
        role="img",
        viewBox=f"0 0 {width} {round(height)}",
        width=width,
        height=round(height),
        style=fitting(width),
        font_family="ui-monospace, 'DejaVu Sans Mono', Menlo, Consolas, monospace",
        font_size="12",
        fill="currentColor",
        stroke="none",
    )


def _description(timeline: Timeline) -> str:
    died = sum(fate != ANSWERED for fate in timeline.fates)
    text = f"{len(timeline.fates)} probes, {died} of them died."
    if timeline.moved_us:
        mac = f" of {timeline.alignment.mac}" if timeline.alignment else ""
        text += f" The bridge's FDB entry{mac} moved {timeline.moves} times"
        text += f" between {', '.join(timeline.ports)}."
    if timeline.alignment:
        text += f" {timeline.alignment.sentence}."
    return text


def _panel(sheet: _Sheet, zoom: Window | None) -> Markup:
    middle = sheet.top + _TOP + _LANE / 2
    name = element("text", "probes", x=8, y=middle + 4, font_weight="bold")
    base = _stroke(f"M{sheet.left:g} {middle:g}h{_PLOT}", "1", stroke_opacity="0.35")
    return join(
        _heading(sheet, zoom),
        name,
        base,
        *_probes(sheet, middle),
        *(_band(sheet, port, middle + _LANE / 2 + _GAP + (_BAND + _GAP) * port)
          for port in range(len(sheet.bands))),
        _axis(sheet),
    )  # fmt: skip


def _heading(sheet: _Sheet, zoom: Window | None) -> Markup:
    if sheet.top:
        return element("text", "enlarged", x=sheet.left, y=sheet.top + 12, font_weight="bold")
    if zoom is None:
        return Markup()
    begin, end = sheet.x(zoom.begin), sheet.x(zoom.end)
    bracket = _stroke(f"M{begin:g} 20v-6H{max(end, begin + 2):g}v6", "1.5")
    label = element("text", "enlarged below", x=max(begin, sheet.left), y=10, font_size="11")
    return element("g", bracket, label)


def _probes(sheet: _Sheet, middle: float) -> Iterator[Markup]:
    """Draw a short mark for each answered probe, a tall one up or down for each that died."""
    marks: dict[Leg | None, list[float]] = {}
    for moment, fate in packets_in(sheet.timeline, sheet.window):
        leg = None if fate == ANSWERED else leg_of(sheet.flow, fate)
        marks.setdefault(leg if leg in _WORDS or leg is None else Leg.UNKNOWN, []).append(
            sheet.x(moment)
        )
    for leg in (None, *_LEGS):
        if places := marks.get(leg):
            yield _marks(places, leg, middle, sheet.wide)


def _marks(places: Iterable[float], leg: Leg | None, middle: float, wide: float) -> Markup:
    up, down = {
        None: (_SHORT, _SHORT), Leg.REQUEST: (_TALL, 0), Leg.REPLY: (0, _TALL),
    }.get(leg, (_TALL, _TALL))  # fmt: skip
    path = "".join(f"M{x:g} {middle - up:g}v{up + down}" for x in places)
    if leg is None:
        return _stroke(path, f"{wide:g}", stroke_opacity="0.7")
    return _stroke(path, f"{1.5 * wide:g}", class_="vmnet-dead")


def _band(sheet: _Sheet, port: int, y: float) -> Markup:
    """Draw where the FDB entry was on a port: an empty box for the guest's own, full ones else."""
    spans = [(s.begin, s.end) for s in stays(sheet.timeline, sheet.window) if s.port == port]
    path = "".join(
        f"M{sheet.x(begin):g} {y:g}h{max(sheet.x(end) - sheet.x(begin), 0.3):.3g}v{_BAND}"
        f"H{sheet.x(begin):g}z"
        for begin, end in spans
    )
    name = element("text", plain(sheet.timeline.ports[port], 24), x=8, y=y + 11)
    rail = _stroke(f"M{sheet.left:g} {y + _BAND:g}h{_PLOT}", "1", stroke_opacity="0.35")
    if not path:
        return join(name, rail)
    own = port == 0
    box = element(
        "path", d=Markup(path), fill_opacity="0.2" if own else None,
        stroke="currentColor" if sheet.top else None, stroke_width="0.5",
        class_=None if own else "vmnet-dead",
    )  # fmt: skip
    return join(name, rail, box)


def _axis(sheet: _Sheet) -> Markup:
    y = sheet.bottom
    step, decimals = _step(sheet.window)
    first = -(-sheet.window.begin // step)
    last = sheet.window.end // step
    moments = [at * step for at in range(first, last + 1)]
    ticks = "".join(f"M{sheet.x(moment):g} {y:g}v5" for moment in moments)
    labels = [
        element(
            "text", f"{moment / 1e6:.{decimals}f}", x=sheet.x(moment), y=y + 18,
            text_anchor="middle", font_size="11",
        )
        for moment in moments
        if sheet.x(moment) < sheet.left + _PLOT - 24
    ]  # fmt: skip
    unit = element(
        "text", "seconds", x=sheet.left + _PLOT, y=y + 18, text_anchor="end", font_size="11"
    )
    return join(_stroke(f"M{sheet.left:g} {y:g}h{_PLOT}{ticks}", "1"), *labels, unit)


def _step(window: Window) -> tuple[int, int]:
    """Return a round step of the axis in us, and the decimals that its seconds need."""
    least = window.length * _LEAST_STEP / _PLOT
    rounds = (digit * 10**power for power in count() for digit in (1, 2, 5))
    step = next(each for each in rounds if each >= least)
    decimals = max(0, 6 - (len(str(step)) - len(str(step).rstrip("0"))))
    return step, decimals


def _legend(flow: Flow, timeline: Timeline, left: float, top: float) -> tuple[Markup, float]:
    """Return the legend in words and its lower edge; a line breaks where it gets too long."""
    fates = [None if fate == ANSWERED else leg_of(flow, fate) for fate in set(timeline.fates)]
    items = [(_sample(leg), "answered" if leg is None else _WORDS[leg])
             for leg in (None, *_LEGS) if leg in fates]  # fmt: skip
    if timeline.moved_us:
        own, *foreign = (plain(port, 24) for port in timeline.ports)
        items.append((_box(own=True), f"FDB entry on {own}, the guest's own port"))
        items += [(_box(own=False), f"on {port}") for port in foreign]
    parts = []
    x, y = left, top + 8
    for sample, words in items:
        wide = 22 + columns(words) * _CHAR
        if x > left and x + wide > left + _PLOT:
            x, y = left, y + 34
        label = element("text", words, x=18, y=4)
        parts.append(element("g", sample, label, transform=f"translate({x:.1f} {y:g})"))
        x += wide + 22
    return join(*parts), y + 24


def _sample(leg: Leg | None) -> Markup:
    line = _stroke("M0 0h12", "1", stroke_opacity="0.35")
    return join(line, _marks([6], leg, 0, 1.5))


def _box(*, own: bool) -> Markup:
    return element(
        "rect", x=0, y=-6, width=13, height=12, fill_opacity="0.2" if own else None,
        stroke="currentColor", class_=None if own else "vmnet-dead",
    )  # fmt: skip


def _stroke(path: str, width: str, **more: object) -> Markup:
    return element(
        "path", d=Markup(path), fill="none", stroke="currentColor", stroke_width=width, **more
    )
