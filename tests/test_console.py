"""Progress reaches people: a live display in a terminal, a line every few seconds elsewhere."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from engine import console
from engine.console import ConsoleListener
from engine.progress import Report, readable_seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [1000.0]
    monkeypatch.setattr(console.time, "monotonic", lambda: now[0])
    return now


def test_where_there_is_no_terminal_lines_come_at_most_every_few_seconds(clock, capsys):
    with ConsoleListener() as listener:
        for done in range(100):
            listener(Report("Training", done, 100, 90.0, "PSNR 28.1 dB"))
            clock[0] += 0.5
    lines = capsys.readouterr().err.splitlines()
    # 50 seconds of work: the start, and one line for each 5 seconds after it.
    assert len(lines) == 10
    assert lines[1] == "Training:  10 %, PSNR 28.1 dB, 1 min 30 s left"


def test_where_there_is_no_terminal_each_stage_tells_its_start_and_its_end_at_once(clock, capsys):
    with ConsoleListener() as listener:
        for report in (Report("Reading", 0, 4), Report("Reading", 4, 4), Report("Training", 0, 9)):
            listener(report)
    assert capsys.readouterr().err.splitlines() == ["Reading:   0 %", "Reading: 100 %", "Training:   0 %"]


def test_standard_output_stays_free_for_results(capsys):
    with ConsoleListener() as listener:
        listener(Report("Reading", 0, 4))
        listener.log("Segmenter: graph-cut")
    out, err = capsys.readouterr()
    assert out == ""
    assert "Segmenter: graph-cut" in err


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """What a terminal of 120 columns receives from listeners made in the test."""
    shown = io.StringIO()

    def on_paper(**options: bool) -> Console:
        del options["stderr"]
        return Console(file=shown, force_terminal=True, width=120, **options)

    monkeypatch.setattr(console, "Console", on_paper)
    return shown


def test_a_terminal_shows_stage_share_time_left_and_detail(terminal):
    with ConsoleListener() as listener:
        listener(Report("Training", 1, 2, 8.0, "PSNR 28.1 dB"))
    for words in ("Training", "50%", "8 s left", "PSNR 28.1 dB"):
        assert words in terminal.getvalue()


def test_a_terminal_shows_brackets_in_names_as_they_are(terminal):
    with ConsoleListener() as listener:
        listener(Report("View [a]", 1, 2, None, "images/[/b] [bold]x.png"))
        listener.log("skipped [/c].png")
    for words in ("View [a]", "images/[/b] [bold]x.png", "skipped [/c].png"):
        assert words in terminal.getvalue()


@pytest.mark.parametrize(
    ("seconds", "text"), [(None, ""), (0.2, "0 s"), (59.4, "59 s"), (59.6, "1 min 00 s"), (80.0, "1 min 20 s")]
)
def test_times_are_written_for_people(seconds, text):
    assert readable_seconds(seconds) == text
