"""A flow's path as an inline SVG: shapes and words say it, colour only helps."""

from __future__ import annotations

from pytest_vmnet.core.outcome import Flow
from pytest_vmnet.core.words import Leg
from pytest_vmnet.report.markup import Markup, element, fitting, join
from pytest_vmnet.report.path import Path, Station, death_sentence, lay_out
from pytest_vmnet.report.picture import columns
from pytest_vmnet.report.wording import flow_name

_CHAR = 7.4  # width of a monospace character of 12 px
_LEFT = 76  # room for the names of the rows
_ARROW, _MARKED = 14, 150  # least room between two boxes, and between middles with a mark
_TOP, _ROW = 62, 42
_WIDEST = 880  # most pixels between the first and the last station of one picture
_LABEL = {Leg.REQUEST: "request", Leg.REPLY: "reply", Leg.UNKNOWN: "either"}


def path_svg(flow: Flow) -> Markup:
    """Return the path of *flow* as ``svg`` elements that need no style sheet to be read.

    Most paths take one; a long one goes on in another, which repeats the last station.
    """
    whole = lay_out(flow)
    died = "; ".join(death_sentence(death) for death in flow.deaths)
    lost = f"{flow.lost} of {flow.transmitted} lost"
    title = f"{flow_name(flow)}: {lost}{f'. Died: {died}' if died else ''}"
    centres = _centres(whole)
    parts = []
    first = 0
    for last in range(1, len(centres)):
        if last + 1 == len(centres) or centres[last + 1] - centres[first] > _WIDEST:
            parts.append(whole.part(first, last))
            first = last
    width = max(map(_width, parts))  # one for all, so that they shrink alike
    return join(*(_picture(part, title, width) for part in parts))


def _width(path: Path) -> int:
    return round(_centres(path)[-1] + _half(path.stations[-1]) + 12)


def _picture(path: Path, title: str, width: int) -> Markup:
    centres = _centres(path)
    height = _TOP + _ROW * (len(path.legs) - 1) + 24
    rails = [_rail(x, height) for x in centres]
    stations = [_station(each, x) for each, x in zip(path.stations, centres, strict=True)]
    rows = [_row(path, leg, centres, _TOP + _ROW * at) for at, leg in enumerate(path.legs)]
    return element(
        "svg",
        element("title", title),
        *rails,
        *stations,
        *rows,
        xmlns="http://www.w3.org/2000/svg",
        class_="vmnet-path",
        role="img",
        viewBox=f"0 0 {width} {height}",
        width=width,
        height=height,
        style=fitting(width),
        font_family="ui-monospace, 'DejaVu Sans Mono', Menlo, Consolas, monospace",
        font_size="12",
        fill="currentColor",
        stroke="none",
    )


def _half(station: Station) -> float:
    return (columns(station.name) * _CHAR + 18) / 2


def _centres(path: Path) -> list[float]:
    centres = [_LEFT + _half(path.stations[0])]
    for gap in range(len(path.stations) - 1):
        marked = any(path.mark(leg, gap) for leg in path.legs)
        boxes = _half(path.stations[gap]) + _half(path.stations[gap + 1]) + _ARROW
        centres.append(round(centres[-1] + max(boxes, _MARKED if marked else 0), 1))
    return centres


def _rail(x: float, height: int) -> Markup:
    return element(
        "line", x1=x, y1=32, x2=x, y2=height - 6, stroke="currentColor", stroke_opacity="0.25",
        stroke_dasharray="1 4",
    )  # fmt: skip


def _station(station: Station, x: float) -> Markup:
    half = _half(station)
    box = element(
        "rect", x=round(x - half, 1), y=8, width=round(2 * half, 1), height=24,
        rx=12 if station.is_end else 3, fill="none", stroke="currentColor",
        stroke_dasharray="4 3" if station.doubt else None,
    )  # fmt: skip
    title = element("title", station.doubt) if station.doubt else None
    label = element("text", station.name, x=x, y=24, text_anchor="middle")
    return element("g", title, box, label)


def _row(path: Path, leg: Leg, centres: list[float], y: int) -> Markup:
    parts = [element("text", _LABEL[leg], x=8, y=y + 4, font_weight="bold")]
    counts = [_count(station, leg) for station in path.stations]
    for at, (count, x) in enumerate(zip(counts, centres, strict=True)):
        if count:
            parts.append(element("text", count, x=x, y=y + 4, text_anchor="middle"))
        if at + 1 < len(centres):
            ends = (x + _reach(count), centres[at + 1] - _reach(counts[at + 1]))
            parts.append(_gap(leg, path.mark(leg, at), ends, (count, counts[at + 1]), y))
    return join(*parts)


def _count(station: Station, leg: Leg) -> str:
    if leg is Leg.UNKNOWN:
        return ""
    return station.requests if leg is Leg.REQUEST else station.replies


def _reach(count: str) -> float:
    """Return how far from a station's middle a line has to keep, for its count to be read."""
    return len(count) * _CHAR / 2 + 5


def _gap(
    leg: Leg, dead: int, ends: tuple[float, float], counts: tuple[str, str], y: int
) -> Markup:
    """Draw what goes on between two stations: an arrow, nothing, or a death on the way."""
    middle = sum(ends) / 2
    if leg is Leg.UNKNOWN:
        return _death(middle, y, dead) if dead else Markup()
    forward = leg is Leg.REQUEST
    start, end = ends if forward else reversed(ends)
    begins, arrives = counts if forward else (counts[1] or counts[0], counts[0])
    if begins == "0":
        return _line(start, end, y, faint=True)
    if not dead:
        return join(_line(start, end, y), _head(end, y, forward=forward))
    side = 12 if forward else -12
    lost = _line(middle + side, end, y, faint=arrives == "0")
    head = _head(end, y, forward=forward) if arrives != "0" else None
    return join(_line(start, middle - side, y), lost, head, _death(middle, y, dead))


def _line(x1: float, x2: float, y: int, *, faint: bool = False) -> Markup:
    return element(
        "line", x1=round(x1, 1), y1=y, x2=round(x2, 1), y2=y, stroke="currentColor",
        stroke_width="1.5", stroke_dasharray="1 5" if faint else None,
        stroke_opacity="0.5" if faint else None,
    )  # fmt: skip


def _head(x: float, y: int, *, forward: bool) -> Markup:
    back = x - 8 if forward else x + 8
    return element("polygon", points=f"{x:.1f},{y} {back:.1f},{y - 4} {back:.1f},{y + 4}")


def _death(x: float, y: int, packets: int) -> Markup:
    cross = element(
        "path", d=f"M{x - 5:.1f} {y - 5}l10 10M{x - 5:.1f} {y + 5}l10 -10",
        stroke="currentColor", stroke_width="2.5",
    )  # fmt: skip
    ring = element(
        "circle", cx=f"{x:.1f}", cy=y, r=9, fill="none", stroke="currentColor", stroke_width="1.5"
    )
    words = element(
        "text", f"{packets} died", x=f"{x:.1f}", y=y - 13, text_anchor="middle", font_weight="bold"
    )
    return element("g", cross, ring, words, class_="vmnet-dead")
