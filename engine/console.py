"""Progress on standard error: a live display in a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from engine.progress import Report, readable_seconds

SECONDS_BETWEEN_LINES = 5.0
TABLE_WIDTH = 110


def table_console() -> Console:
    """Standard output for tables of figures: never so narrow that a figure is cut, even in a pipe."""
    console = Console()
    return console if console.width >= TABLE_WIDTH else Console(width=TABLE_WIDTH)


class ConsoleListener:
    """Shows the progress of a job. Use it in a ``with`` statement; call it with reports, ``log`` lines between."""

    def __init__(self) -> None:
        self.console = Console(stderr=True, highlight=False)
        self.live = self.console.is_terminal
        self.progress = Progress(
            # No markup in words that come from files: "[/a]" in a photo's name is no tag.
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            TextColumn("{task.percentage:>3.0f}%"),
            TimeElapsedColumn(),
            TextColumn("{task.fields[left]}"),
            TextColumn("{task.fields[detail]}", style="dim", markup=False),
            console=self.console,
        )
        self.task: TaskID | None = None
        self.stage = ""
        self.last_line = 0.0

    def __enter__(self) -> ConsoleListener:
        if self.live:
            self.progress.start()
        return self

    def __exit__(self, *rest: object) -> None:
        if self.live:
            self.progress.stop()

    def log(self, line: str) -> None:
        """One line for the user, above the progress display."""
        if self.live:
            self.progress.console.print(line, markup=False)
        else:
            print(line, file=sys.stderr, flush=True)

    def __call__(self, report: Report) -> None:
        left = f"{readable_seconds(report.seconds_left)} left" if report.seconds_left else ""
        if self.live:
            if report.stage != self.stage or self.task is None:
                self.task = self.progress.add_task(report.stage, total=report.total, left="", detail="")
            self.progress.update(self.task, completed=report.done, left=left, detail=report.detail)
        else:
            now = time.monotonic()
            finished = report.done >= report.total
            if report.stage == self.stage and not finished and now - self.last_line < SECONDS_BETWEEN_LINES:
                return
            if finished and not report.detail and report.total == 1:
                self.stage = report.stage
                return
            share = 100 * report.done / max(report.total, 1e-9)
            words = [f"{report.stage}: {share:3.0f} %", report.detail, left]
            print(", ".join(w for w in words if w), file=sys.stderr, flush=True)
            self.last_line = now
        self.stage = report.stage
