"""The report's charts as inline SVG: for light and dark, for print, and with a text alternative."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

import numpy as np

WIDTH = 960
LEFT = 150  # room for names
ROW = 34
_SIDE, _MARGIN_LEFT, _MARGIN_BOTTOM, _MARGIN_TOP = 400, 58, 46, 10  # of the square chart

Position = Callable[[float], float]  # a value → its place on an axis


@dataclass(frozen=True)
class Estimate:
    """A value with its interval, where one was computed."""

    value: float | None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Pair:
    """One line of a before/after chart."""

    name: str
    before: Estimate
    after: Estimate
    remark: str = ""


def before_after_chart(rows: Sequence[Pair], label: str, percent: bool = True) -> str:
    """Returns a chart with before (hollow) and after (filled) of each row on one axis from 0.

    Intervals are lines. `label` says in words what the chart shows; `percent` writes the axis as
    per cent.
    """
    ends = [
        end
        for row in rows
        for estimate in (row.before, row.after)
        for end in (estimate.value, estimate.high)
        if end is not None
    ]
    ticks = axis_ticks(0.0, max(ends, default=1.0))
    top, right = 8, 64
    height = top + ROW * len(rows) + 30

    def x(value: float) -> float:
        return LEFT + (WIDTH - LEFT - right) * min(max(value, 0.0), ticks[-1]) / ticks[-1]

    drawn = []
    for tick in ticks:
        drawn.append(
            f'<line class="axis" x1="{x(tick):.1f}" x2="{x(tick):.1f}" y1="{top}" '
            f'y2="{height - 28}"/>'
        )
        text = f"{100 * tick:.4g} %" if percent else f"{tick:g}"
        drawn.append(f'<text x="{x(tick):.1f}" y="{height - 8}" text-anchor="middle">{text}</text>')
    for number, row in enumerate(rows):
        y = top + ROW * number + ROW / 2
        drawn.append(f'<text class="name" x="0" y="{y + 4:.1f}">{escape(row.name)}</text>')
        drawn += _estimate(row.before, x, y=y - 6, style="mute")
        drawn += _estimate(row.after, x, y=y + 6, style="mark")
        if row.remark:
            drawn.append(
                f'<text x="{WIDTH - right + 14}" y="{y + 4:.1f}">{escape(row.remark)}</text>'
            )
    return _svg(WIDTH, height, label, drawn)


def _estimate(estimate: Estimate, x: Position, *, y: float, style: str) -> list[str]:
    """Returns a dot and its interval on the line `y`; nothing without a value."""
    if estimate.value is None:
        return []
    drawn = []
    if estimate.low is not None and estimate.high is not None:
        drawn.append(
            f'<line class="{style}-line" stroke-width="2" x1="{x(estimate.low):.1f}" '
            f'x2="{x(estimate.high):.1f}" y1="{y:.1f}" y2="{y:.1f}"/>'
        )
    width = 1.5 if style == "mute" else 0
    drawn.append(
        f'<circle class="{style}" stroke-width="{width}" cx="{x(estimate.value):.1f}" '
        f'cy="{y:.1f}" r="4.5"/>'
    )
    return drawn


@dataclass(frozen=True)
class Mark:
    """Something that happened at a place on the axis of a line chart."""

    at: int
    says: str
    alarm: bool = False


def line_chart(
    points: Sequence[tuple[int, Estimate]],
    names: Sequence[str],
    marks: Sequence[Mark],
    *,
    label: str,
    percent: bool = False,
) -> str:
    """Returns a small line chart with a band of intervals, and marks of what happened.

    `points` are (place, estimate), a place being the number of a name in `names`, which stand below
    the axis. Alarms are drawn as full lines, other marks dashed.
    """
    ends = [
        end
        for _, estimate in points
        for end in (estimate.value, estimate.low, estimate.high)
        if end is not None
    ]
    low, high = min(ends, default=0.0), max(ends, default=1.0)
    ticks = axis_ticks(_floor(low, high), high, most=4)
    width, height, left, bottom = WIDTH // 2, 190, 62, 34

    def x(place: float) -> float:
        return left + (width - left - 16) * (place + 0.5) / max(len(names), 1)

    def y(value: float) -> float:
        return 10 + (height - 10 - bottom) * (1 - (value - ticks[0]) / (ticks[-1] - ticks[0]))

    drawn = []
    for tick in ticks:
        text = f"{100 * tick:.4g} %" if percent else f"{tick:.4g}"
        drawn.append(
            f'<line class="axis" x1="{left}" x2="{width - 16}" y1="{y(tick):.1f}" '
            f'y2="{y(tick):.1f}"/><text x="{left - 8}" y="{y(tick) + 4:.1f}" '
            f'text-anchor="end">{text}</text>'
        )
    for place in sorted({0, len(names) - 1} if names else set()):
        anchor = "start" if place == 0 else "end"
        drawn.append(
            f'<text x="{x(place):.1f}" y="{height - 12}" text-anchor="{anchor}">'
            f"{escape(names[place])}</text>"
        )
    for mark in marks:
        style = 'class="mark-line"' if mark.alarm else 'class="base" stroke-dasharray="4 4"'
        drawn.append(
            f'<line {style} stroke-width="1.5" x1="{x(mark.at):.1f}" x2="{x(mark.at):.1f}" '
            f'y1="10" y2="{height - bottom}"><title>{escape(mark.says)}</title></line>'
        )
    return _svg(width, height, label, [*drawn, *_band_and_line(points, x, y)])


def _floor(low: float, high: float) -> float:
    """Returns a round number at or below `low`, 0 where that is near."""
    span = max(high - low, abs(high) * 0.1, 1e-9)
    if 0 <= low < span:
        return 0.0
    power = 10.0 ** np.floor(np.log10(span))
    return float(np.floor(low / power) * power)


def _band_and_line(points: Sequence[tuple[int, Estimate]], x: Position, y: Position) -> list[str]:
    """Returns the band between low and high, the line through the values, and a dot a value."""
    known = [(at, one) for at, one in points if one.value is not None]
    whole = [(at, one) for at, one in known if one.low is not None and one.high is not None]
    drawn = []
    if len(whole) > 1:
        upper = [f"{x(at):.1f},{y(one.high or 0.0):.1f}" for at, one in whole]
        lower = [f"{x(at):.1f},{y(one.low or 0.0):.1f}" for at, one in reversed(whole)]
        drawn.append(f'<polygon class="mark" opacity=".14" points="{" ".join([*upper, *lower])}"/>')
    line = " ".join(f"{x(at):.1f},{y(one.value or 0.0):.1f}" for at, one in known)
    drawn.append(f'<polyline class="mark-line" stroke-width="2" points="{line}"/>')
    drawn += [
        f'<circle class="mark" cx="{x(at):.1f}" cy="{y(one.value or 0.0):.1f}" r="3"/>'
        for at, one in known
    ]
    return drawn


def prediction_chart(
    points: Sequence[tuple[float, float]],
    groups: Sequence[tuple[float, Estimate]],
    *,
    across: str,
    up: str,
    label: str,
) -> str:
    """Returns a square chart: predictions across, outcomes upwards, and the line of agreement.

    `points` are single customers (drawn faint, may be empty); `groups` are means of groups with an
    interval upwards; `across` and `up` name the axes, and `label` says what the chart shows.
    """
    values = [value for point in points for value in point] + [
        value for at, group in groups for value in (at, group.value, group.high) if value
    ]
    ticks = axis_ticks(0.0, max(values, default=1.0))

    def x(value: float) -> float:
        return _MARGIN_LEFT + _SIDE * min(value / ticks[-1], 1)

    def y(value: float) -> float:
        return _MARGIN_TOP + _SIDE * (1 - min(max(value, 0) / ticks[-1], 1))

    drawn = _grid(ticks, x, y)
    drawn += [
        f'<circle class="mark" opacity=".22" cx="{x(a):.1f}" cy="{y(b):.1f}" r="2.4"/>'
        for a, b in points
    ]
    for at, estimate in groups:
        if estimate.value is None:
            continue
        if estimate.low is not None and estimate.high is not None:
            drawn.append(
                f'<line class="mark-line" stroke-width="2" x1="{x(at):.1f}" x2="{x(at):.1f}" '
                f'y1="{y(estimate.low):.1f}" y2="{y(estimate.high):.1f}"/>'
            )
        drawn.append(f'<circle class="mark" cx="{x(at):.1f}" cy="{y(estimate.value):.1f}" r="5"/>')
    drawn.append(
        f'<text x="{_MARGIN_LEFT + _SIDE / 2}" y="{_MARGIN_TOP + _SIDE + 40}" '
        f'text-anchor="middle">{escape(across)}</text>'
    )
    drawn.append(
        f'<text transform="translate(12 {_MARGIN_TOP + _SIDE / 2}) rotate(-90)" '
        f'text-anchor="middle">{escape(up)}</text>'
    )
    width, height = _MARGIN_LEFT + _SIDE + 24, _MARGIN_TOP + _SIDE + _MARGIN_BOTTOM
    return _svg(width, height, label, drawn)


def _grid(ticks: Sequence[float], x: Position, y: Position) -> list[str]:
    """Returns the grid of the square chart with its tick labels, and the diagonal."""
    left, bottom = _MARGIN_LEFT, _MARGIN_TOP + _SIDE
    drawn = []
    for tick in ticks:
        drawn.append(
            f'<line class="axis" x1="{x(tick):.1f}" x2="{x(tick):.1f}" y1="{_MARGIN_TOP}" '
            f'y2="{bottom}"/>'
        )
        drawn.append(
            f'<line class="axis" x1="{left}" x2="{left + _SIDE}" y1="{y(tick):.1f}" '
            f'y2="{y(tick):.1f}"/>'
        )
        text = f"{100 * tick:.4g} %"
        drawn.append(
            f'<text x="{x(tick):.1f}" y="{bottom + 20}" text-anchor="middle">{text}</text>'
        )
        drawn.append(f'<text x="{left - 8}" y="{y(tick) + 4:.1f}" text-anchor="end">{text}</text>')
    drawn.append(
        f'<line class="base" stroke-dasharray="4 4" x1="{x(0)}" y1="{y(0)}" x2="{x(ticks[-1])}" '
        f'y2="{y(ticks[-1])}"/>'
    )
    return drawn


def curve_chart(name: str, curves: Sequence[tuple[str, Sequence[tuple[float, float]]]]) -> str:
    """Returns a chart of one metric by step, a line for each named curve of (step, value).

    The first curve is drawn hollow, the others filled, told apart by dashes.
    """
    values = [value for _, points in curves for _, value in points]
    ticks = axis_ticks(min(values, default=0.0), max(values, default=1.0))
    steps = axis_ticks(0.0, max((step for _, points in curves for step, _ in points), default=1.0))
    left, width, height, bottom = 70, 620, 200, 40
    right = WIDTH - left - width

    def x(step: float) -> float:
        return left + width * step / steps[-1]

    def y(value: float) -> float:
        return 10 + height * (1 - (value - ticks[0]) / ((ticks[-1] - ticks[0]) or 1.0))

    drawn = []
    for tick in ticks:
        drawn.append(
            f'<line class="axis" x1="{left}" x2="{left + width}" y1="{y(tick):.1f}" '
            f'y2="{y(tick):.1f}"/>'
            f'<text x="{left - 8}" y="{y(tick) + 4:.1f}" text-anchor="end">{tick:.4g}</text>'
        )
    for step in steps:
        drawn.append(
            f'<text x="{x(step):.1f}" y="{height + 28}" text-anchor="middle">{step:g}</text>'
        )
    for number, (label, points) in enumerate(curves):
        if not points:
            continue
        places = " ".join(f"{x(step):.1f},{y(value):.1f}" for step, value in points)
        style = "mute-line" if number == 0 else "mark-line"
        dash = f' stroke-dasharray="{8 // number} {2 * number}"' if number > 1 else ""
        drawn.append(
            f'<polyline class="{style}" fill="none" stroke-width="2"{dash} points="{places}"/>'
            f'<text x="{left + width + 8}" y="{y(points[-1][1]) + 4 + 14 * number:.1f}">'
            f"{escape(label[: right // 8])}</text>"
        )
    return _svg(WIDTH, height + bottom, f"{name} by step", drawn)


def axis_ticks(low: float, high: float, most: int = 6) -> list[float]:
    """Returns round ticks from `low` that cover `high`.

    At most `most` steps of 1, 2, 2.5 or 5 times a power of ten.
    """
    span = max(high - low, 1e-9)
    power = 10.0 ** np.floor(np.log10(span / most))
    step = next(
        power * factor
        for factor in (1, 2, 2.5, 5, 10)
        if power * factor * most >= span * (1 - 1e-9)
    )
    return [float(low + step * k) for k in range(int(np.ceil(span / step - 1e-9)) + 1)]


def _svg(width: float, height: float, label: str, drawn: Sequence[str]) -> str:
    title = escape(label)
    return (
        f'<svg viewBox="0 0 {width:.0f} {height:.0f}" width="{width:.0f}" height="{height:.0f}" '
        f'role="img" aria-label="{title}" xmlns="http://www.w3.org/2000/svg">'
        f"<title>{title}</title>{''.join(drawn)}</svg>"
    )
