"""Tables of figures, as they are printed on the terminal and on the page."""

from __future__ import annotations

import math
from dataclasses import dataclass

from rich.box import SIMPLE_HEAD
from rich.table import Table as RichTable

from engine.console import table_console


@dataclass(frozen=True)
class Table:
    """Words in columns; the first column is aligned to the left. ``note`` says what the figures mean."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""


def show(tables: list[Table]) -> None:
    """Prints tables on standard output."""
    console = table_console()
    for table in tables:
        rich = RichTable(
            box=SIMPLE_HEAD,
            padding=(0, 1, 0, 0),
            pad_edge=False,
            title=table.title,
            caption=table.note or None,
            title_justify="left",
            caption_justify="left",
        )
        for i, name in enumerate(table.columns):
            # Names, figures and words of heads stay whole; where there is too little room, heads break into lines.
            longest = max(map(len, [*name.split(), *(row[i] for row in table.rows)]), default=0)
            rich.add_column(name, justify="right" if i else "left", no_wrap=not i, min_width=longest)
        for row in table.rows:
            rich.add_row(*row)
        # A table wider than the terminal runs over its edge, for a figure cut short would be another figure.
        console.print(rich, width=max(console.width, console.measure(rich).minimum), crop=False)


def figure(value: object, digits: int = 3) -> str:
    """A number with some digits; a dash where there is none."""
    if not isinstance(value, int | float) or not math.isfinite(value):
        return "-"
    return f"{value:.{digits}f}"


def gain(value: float) -> str:
    """A difference with its sign."""
    return f"{value:+.3f}"
