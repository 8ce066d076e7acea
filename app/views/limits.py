"""Limits that follow the data calmly: they give way when a curve would leave the plot, and close in only when half of it is empty."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from bokeh.models import BasicTicker, CustomJSTicker, CustomJSTickFormatter, LinearScale, LogScale, Range1d
from bokeh.plotting import figure

MARGIN = 0.06  # of the span, left free on either side
GIVE = 0.15  # of the span, taken in advance where a curve pushes
EMPTY = 0.5  # share of the plot that may be empty before the limits close in
BEYOND = 0.5  # of the anchors' span (on a log scale one decade at least), as far as the others may widen it
DECADES = 5.0  # of a log scale at most, from the highest value down


class Limits:
    """Sets one figure's vertical range.

    scale: linear or log. floor: a value that linear limits always reach. empty: `EMPTY`. decades: `DECADES`.
    """

    def __init__(self, axis: Range1d, scale: str = "linear", floor: float | None = None, empty: float = EMPTY, decades: float = DECADES):
        self.axis, self.scale, self.floor, self.empty, self.decades = axis, scale, floor, empty, decades
        self._now: tuple[float, float] | None = None  # as drawn: on a log scale the decades
        self._set: tuple[float, float] | None = None

    def forget(self) -> None:
        """Fit tightly next time."""
        self._now = None

    def rescale(self, scale: str) -> None:
        """Turn to another scale, with limits that it can draw until there is data."""
        self.scale = scale
        self.forget()
        self.axis.update(start=0.1 if scale == "log" else 0.0, end=1.0)

    def given(self, start: float | None, end: float | None) -> bool:
        """Whether `start` and `end` are limits that were set here."""
        if start is None or end is None or self._set is None:
            return True
        tolerance = 1e-6 * abs(self._set[1] - self._set[0])
        return abs(start - self._set[0]) <= tolerance and abs(end - self._set[1]) <= tolerance

    def fit(self, anchors: Sequence[np.ndarray], others: Sequence[np.ndarray] = ()) -> None:
        """Follow the `anchors`, and the `others` as far as they do not dwarf them."""
        span = self._span(anchors)
        wider = self._span(others)
        if span is None:
            span, wider = wider, None
        if span is None:
            return
        low, high = span
        if wider is not None:
            room = max(BEYOND * (high - low), 1.0 if self.scale == "log" else 1e-12)
            low, high = min(low, max(wider[0], low - room)), max(high, min(wider[1], high + room))
        if high - low < 1e-9 * max(abs(high), abs(low), 1e-300):
            pad = 0.5 if self.scale == "log" else max(abs(high), 1e-12) * 0.5
            low, high = low - pad, high + pad
        size = high - low
        target = (low - MARGIN * size, high + MARGIN * size)
        if self.scale == "linear" and self.floor is not None and low >= self.floor:
            target = (self.floor, target[1])
        elif self.scale == "linear" and low >= 0 > target[0]:
            target = (0.0, target[1])  # a quantity without negative values has no place below zero
        self._move(low, high, target)

    def _move(self, low: float, high: float, target: tuple[float, float]) -> None:
        if self._now is not None:
            start, end = self._now
            inside = start <= low and high <= end
            if inside and high - low > (1 - self.empty) * (end - start):
                return
            if not inside and high - low > (1 - self.empty) * (end - start):
                give = GIVE * (high - low)
                target = (start if start <= low else target[0] - give, end if high <= end else target[1] + give)
        self._now = target
        start, end = (10.0 ** target[0], 10.0 ** target[1]) if self.scale == "log" else target
        self._set = (float(start), float(end))
        self.axis.update(start=self._set[0], end=self._set[1])

    def _span(self, columns: Sequence[np.ndarray]) -> tuple[float, float] | None:
        lows, highs = [], []
        for column in columns:
            known = column[np.isfinite(column)]
            if self.scale == "log":
                known = known[known > 0]
            if len(known):
                lows.append(float(known.min()))
                highs.append(float(known.max()))
        if not lows:
            return None
        low, high = min(lows), max(highs)
        return (max(np.log10(low), np.log10(high) - self.decades), np.log10(high)) if self.scale == "log" else (low, high)


def use_scale(plot: figure, scale: str, axis: str = "y") -> None:
    """Give a figure a linear or a logarithmic axis, "x" or "y"."""
    log = scale == "log"
    drawn, grid = (plot.xaxis[0], plot.xgrid[0]) if axis == "x" else (plot.yaxis[0], plot.ygrid[0])
    plot.update(**{f"{axis}_scale": LogScale() if log else LinearScale()})
    drawn.ticker = grid.ticker = CustomJSTicker(major_code=_LOG_TICKS) if log else BasicTicker(desired_num_ticks=5)
    drawn.formatter = CustomJSTickFormatter(code=_LOG_LABELS) if log else CustomJSTickFormatter(code=_LINEAR_LABELS)


# Bokeh's own ticks turn linear below two decades. Here: below three quarters of one; else 1, 2, 5 in each, or decades alone if many.
_LOG_TICKS = """
const {start, end} = cb_data.range
if (!(start > 0 && end > start && end < Infinity)) return []
const first = Math.floor(Math.log10(start)), last = Math.ceil(Math.log10(end))
const decades = Math.log10(end / start)
if (decades < 0.75) {
  const rough = (end - start) / 7, power = Math.floor(Math.log10(rough))
  const step = [1, 2, 5, 10].find((m) => m * 10 ** power >= rough)
  const count = Math.floor(end / 10 ** power / step) - Math.ceil(start / 10 ** power / step) + 1
  return Array.from({length: count}, (_, i) => Number(`${(Math.ceil(start / 10 ** power / step) + i) * step}e${power}`))
}
const parts = decades > 2.5 ? [1] : decades > 1.6 ? [1, 3] : [1, 2, 5]
const stride = Math.max(1, Math.ceil(decades / 6))
const ticks = []
for (let n = first; n <= last; n += 1)
  if (((n % stride) + stride) % stride == 0) for (const m of parts) ticks.push(Number(`${m}e${n}`))
return ticks.filter((tick) => tick >= start && tick <= end)
"""
_POWER_OF_TEN = """
const raised = "\u2070\u00b9\u00b2\u00b3\u2074\u2075\u2076\u2077\u2078\u2079"
const power_of_ten = (n) => "10" + [...String(n)].map((c) => c == "-" ? "\u207b" : raised[c]).join("")
"""
_LOG_LABELS = f"""{_POWER_OF_TEN}
const power = Math.floor(Math.log10(tick) + 1e-9)
const apart = Math.min(...ticks.slice(1).map((other, i) => Math.abs(other - ticks[i]) / other))
const digits = Math.max(3, Math.min(8, 1 + Math.ceil(-Math.log10(apart)))) // as many as tell neighbours apart
if (power >= -3 && power <= 3) return String(Number(tick.toPrecision(digits)))
const mantissa = Number((tick / 10 ** power).toPrecision(digits))
return (mantissa == 1 ? "" : mantissa + "·") + power_of_ten(power)
"""
_LINEAR_LABELS = f"""{_POWER_OF_TEN}
const size = Math.max(...ticks.map(Math.abs))
const power = Math.floor(Math.log10(size))
if (tick == 0) return "0"
const plain = (value) => String(Number(value.toPrecision(6))).replace("-", "\u2212")
return size >= 1e-3 && size < 1e5 ? plain(tick) : plain(tick / 10 ** power) + "·" + power_of_ten(power)
"""
