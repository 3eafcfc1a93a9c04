"""One self-contained HTML page: tables of figures, and pictures of views, such as those that came out worst."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float
from PIL import Image
from scipy import ndimage

from engine.cache import atomic_file
from engine.evaluation.tables import Table

OURS, TRUTH = (1.0, 0.45, 0.05), (0.1, 0.8, 1.0)  # colours of the two outlines
LEAST_SIDE = 96  # pixels of the photo that a picture shows at least
SHOWN_SIDE = 360  # pixels of a picture's longer side on the page

STYLE = """
:root { color-scheme: light dark; }
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 76rem; padding: 0 1rem; }
table { border-collapse: collapse; margin: .5rem 0 .25rem; font-variant-numeric: tabular-nums; }
th, td { padding: .2rem .7rem; text-align: right; border-bottom: 1px solid #8884; }
th:first-child, td:first-child { text-align: left; }
.wide { overflow-x: auto; }
.note { opacity: .75; }
.pictures { display: flex; flex-wrap: wrap; gap: 1rem; }
figure { margin: 0; }
figure img { display: block; max-width: 100%; }
"""


@dataclass(frozen=True)
class Picture:
    """A picture [H, W, 3] in [0, 1] with words under it."""

    caption: str
    rgb: Float[np.ndarray, "h w 3"]


def outlined(
    rgb: Float[np.ndarray, "h w 3"],
    ours: Bool[np.ndarray, "h w"],
    truth: Bool[np.ndarray, "h w"],
    around: Bool[np.ndarray, "h w"] | None = None,
) -> Float[np.ndarray, "i j 3"]:
    """The photo around the object, enlarged, with our outline (orange) and the true one (blue).

    ``around`` says what has to be in the picture; by default both masks.
    """
    height, width = truth.shape
    either = ours | truth if around is None else around
    rows, columns = np.flatnonzero(either.any(1)), np.flatnonzero(either.any(0))
    if len(rows) == 0:
        rows, columns = np.array([0, height - 1]), np.array([0, width - 1])
    window = _window(rows, height), _window(columns, width)
    cut = rgb[window]
    scale = max(1, SHOWN_SIDE // max(cut.shape[:2]))
    big = np.repeat(np.repeat(cut, scale, 0), scale, 1).astype(np.float32)
    for mask, colour in ((truth, TRUTH), (ours, OURS)):
        large = np.repeat(np.repeat(mask[window], scale, 0), scale, 1)
        big[large & ~ndimage.binary_erosion(large, iterations=max(1, scale // 2))] = colour
    return big


def _window(used: np.ndarray, size: int) -> slice:
    low, high = int(used[0]), int(used[-1]) + 1
    margin = max((LEAST_SIDE - (high - low)) // 2, (high - low) // 6)
    return slice(max(0, low - margin), min(size, high + margin))


def write_page(
    path: Path,
    title: str,
    tables: Sequence[Table],
    pictures: Sequence[Picture],
    heading: str = "Worst views",
    legend: str = "Orange: ours. Blue: the truth.",
) -> None:
    """Writes the page whole or not at all. It refers to nothing outside itself.

    ``heading`` and ``legend`` stand over the pictures.

    Raises:
        StorageError: it can't be written.
    """
    parts = [f"<h1>{html.escape(title)}</h1>", *(_table(table) for table in tables)]
    if pictures:
        parts.append(f"<h2>{html.escape(heading)}</h2><p>{html.escape(legend)}</p>")
        parts.append('<div class="pictures">' + "".join(_picture(picture) for picture in pictures) + "</div>")
    head = (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta name="viewport" content="width=device-width"><title>{html.escape(title)}</title>'
        f"<style>{STYLE}</style></head>"
    )
    with atomic_file(path) as temporary:
        temporary.write_text(f"{head}\n<body>\n" + "\n".join(parts) + "\n</body></html>\n", encoding="utf-8")


def _table(table: Table) -> str:
    head = "".join(f"<th>{html.escape(name)}</th>" for name in table.columns)
    rows = "".join("<tr>" + "".join(f"<td>{html.escape(v)}</td>" for v in row) + "</tr>" for row in table.rows)
    note = f'<p class="note">{html.escape(table.note)}</p>' if table.note else ""
    return (
        f'<h2>{html.escape(table.title)}</h2><div class="wide"><table><thead><tr>{head}</tr></thead>'
        f"<tbody>{rows}</tbody></table></div>{note}"
    )


def _picture(picture: Picture) -> str:
    buffer = io.BytesIO()
    Image.fromarray((np.clip(picture.rgb, 0, 1) * 255 + 0.5).astype(np.uint8)).save(buffer, format="PNG")
    data = base64.b64encode(buffer.getvalue()).decode("ascii")
    words = html.escape(picture.caption)
    return f'<figure><img src="data:image/png;base64,{data}" alt="{words}"><figcaption>{words}</figcaption></figure>'
