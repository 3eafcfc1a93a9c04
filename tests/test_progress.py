"""Jobs report where they stand, time their stages and stop when asked to."""

from __future__ import annotations

import threading

import pytest

from engine.progress import Job, Report
from sa3d_blender.protocol.errors import Cancelled


def test_a_stage_reports_its_start_each_step_and_its_end():
    reports: list[Report] = []
    job = Job(listener=reports.append)
    with job.stage("Reading", 4) as stage:
        stage.advance(1, "a")
        stage.at(3, "b")
        stage.advance()
    assert [(r.stage, r.done, r.total, r.detail) for r in reports] == [
        ("Reading", 0, 4, ""),
        ("Reading", 1, 4, "a"),
        ("Reading", 3, 4, "b"),
        ("Reading", 4, 4, ""),
        ("Reading", 4, 4, ""),
    ]
    assert reports[0].seconds_left is None
    assert reports[-1].seconds_left == 0


def test_the_time_left_is_worked_out_from_the_steps_behind(monkeypatch):
    now = [100.0]
    monkeypatch.setattr("engine.progress.time.perf_counter", lambda: now[0])
    reports: list[Report] = []
    job = Job(listener=reports.append)
    with job.stage("Work", 10) as stage:
        now[0] += 6.0
        stage.advance(2)
        stage.at(4, seconds_left=1.5)
        now[0] += 4.0
    assert reports[1].seconds_left == pytest.approx(24.0)  # 8 steps of 3 s
    assert reports[2].seconds_left == 1.5
    assert job.timings == {"Work": pytest.approx(10.0)}
    with job.stage("Work"):
        now[0] += 1.0
    assert job.timings == {"Work": pytest.approx(11.0)}  # stages of one name add up


def test_a_cancelled_job_stops_at_the_next_step_and_starts_no_other_stage():
    cancel = threading.Event()
    reports: list[Report] = []
    job = Job(listener=reports.append, cancel=cancel)
    job.check()
    with pytest.raises(Cancelled) as caught, job.stage("Work", 3) as stage:
        stage.advance()
        cancel.set()
        stage.advance()
    assert caught.value.cure
    assert reports[-1].done == 1  # neither the step nor the end was reported
    assert "Work" in job.timings
    with pytest.raises(Cancelled), job.stage("More"):
        pytest.fail("the stage began")
