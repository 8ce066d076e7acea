"""The palette as the page's style.

Colours reach the page as CSS variables (`css_variables`); axes and grids read them by themselves (Bokeh's `--bk-…`), curves carry the
variable's name in their tags and `assets/page.js` gives them its value, so that a change of theme needs no word with the server.
"""

from __future__ import annotations

FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Noto Sans', 'DejaVu Sans', sans-serif"


def css_variables(palette: dict[str, str]) -> str:
    """The palette as CSS declarations, those that Bokeh's axes, grids and labels read included."""
    lines = [f"--{name}: {color};" for name, color in palette.items()]
    lines += [
        f"--bk-background-fill-color: {palette['card']};",
        f"--bk-border-fill-color: {palette['card']};",
        f"--bk-axis-line-color: {palette['rule']};",
        f"--bk-axis-label-text-color: {palette['muted']};",
        f"--bk-major-label-text-color: {palette['muted']};",
        f"--bk-major-tick-line-color: {palette['rule']};",
        f"--bk-grid-line-color: {palette['grid']};",
    ]
    return "\n  ".join(lines)
