"""Frames of a video are picked where they are sharp and the camera has moved on."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from engine.progress import Job
from engine.structure.frames import Look, pick, take_frames
from sa3d_blender.protocol.errors import Cancelled, CaptureError


def test_the_sharpest_frame_of_each_stretch_is_taken():
    looks = [Look(i, 2.0 if i % 10 == 7 else 1.0, 0.01) for i in range(100)]
    chosen = pick(looks, 10)
    assert [look.index % 10 for look in chosen] == [7] * len(chosen) and len(chosen) >= 9


def test_a_pause_gives_few_frames_and_blur_none():
    looks = [Look(i, 1.0, 0.0 if 100 <= i < 200 else 0.02) for i in range(300)]
    chosen = [look.index for look in pick(looks, 30)]
    assert sum(100 <= i < 200 for i in chosen) <= 2 and sum(i < 100 for i in chosen) > 5
    looks = [Look(i, 0.05 if 40 <= i < 60 else 1.0, 0.02) for i in range(100)]
    assert not any(42 <= look.index < 58 for look in pick(looks, 20))


@pytest.fixture
def video(tmp_path):
    """A window that slides over noise, 60 frames of 160 x 120; every third frame is blurred."""
    av = pytest.importorskip("av")
    rng = np.random.default_rng(0)
    wide = Image.fromarray(rng.integers(0, 255, (60, 200, 3), dtype=np.uint8)).resize(
        (400, 120), Image.Resampling.BICUBIC
    )
    path = tmp_path / "walk.mp4"
    with av.open(str(path), "w") as film:
        stream = film.add_stream("libx264", rate=24, options={"crf": "12"})
        stream.width, stream.height, stream.pix_fmt = 160, 120, "yuv420p"
        for i in range(60):
            picture = wide.crop((4 * i, 0, 4 * i + 160, 120))
            if i % 3:
                picture = picture.resize((20, 15), Image.Resampling.BOX).resize((160, 120), Image.Resampling.BICUBIC)
            film.mux(stream.encode(av.VideoFrame.from_image(picture)))
        film.mux(stream.encode())
    return path


def test_frames_of_a_video_are_written_sharp_and_in_order(video, tmp_path):
    photos = take_frames(video, 8, tmp_path / "work", 2000, Job())
    numbers = [int(photo.name[6:12]) for photo in photos]
    assert 6 <= len(numbers) <= 8 and numbers == sorted(numbers)
    assert all(number % 3 == 0 for number in numbers)
    assert all((tmp_path / "work/images" / photo.name).is_file() for photo in photos)


def test_a_stopped_job_stops_and_a_file_that_is_no_video_is_refused(video, tmp_path):
    job = Job()
    job.cancel.set()
    with pytest.raises(Cancelled):
        take_frames(video, 8, tmp_path / "work", 2000, job)
    (tmp_path / "bad.mp4").write_bytes(b"no video" * 100)
    with pytest.raises(CaptureError, match="can't be read"):
        take_frames(tmp_path / "bad.mp4", 8, tmp_path / "work", 2000, Job())
