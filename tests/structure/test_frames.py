"""Frames of a video are picked where they are sharp and the camera has moved on."""

from __future__ import annotations

import struct
from fractions import Fraction

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from engine.progress import Job
from engine.structure.frames import Look, _shift, pick, take_frames
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


def test_a_side_with_less_detail_is_no_blur():
    looks = [Look(i, 0.4 if i < 60 or i >= 260 else 2.5, 0.02) for i in range(300)]
    chosen = [look.index for look in pick(looks, 100)]
    assert sum(i < 50 for i in chosen) > 10 and sum(i >= 270 for i in chosen) > 5


@pytest.mark.parametrize("pixels", [0.0, 0.25, 0.5, 3.0, 5.75])
def test_motion_is_told_to_parts_of_a_pixel(pixels):
    noise = ndimage.gaussian_filter(np.random.default_rng(3).normal(size=(90, 220)), 2) * 400
    before, after = noise[:, 20:180], ndimage.shift(noise, (0, pixels), order=3)[:, 20:180]
    assert _shift(before, after) == pytest.approx(pixels / 160, abs=0.2 / 160)
    assert _shift(after, before) == pytest.approx(pixels / 160, abs=0.2 / 160)


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
    photos, told = take_frames(video, 8, tmp_path / "work", 2000, Job())
    numbers = [int(photo.name[6:12]) for photo in photos]
    assert not told and 6 <= len(numbers) <= 8 and numbers == sorted(numbers)
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


def arrows(count=12, size=(120, 160)):
    """Pictures with noise all over, and a red stripe that marks the upper edge."""
    rng = np.random.default_rng(1)
    for _ in range(count):
        noise = Image.fromarray(rng.integers(0, 255, (20, 15, 3), dtype=np.uint8)).resize(size)
        noise.paste((255, 0, 0), (0, 0, size[0], 24))
        yield noise


def film(path, pictures, codec="libx264", times_ms=None, **options):
    """Writes pictures as a video, at 24 a second or at the given times."""
    av = pytest.importorskip("av")
    with av.open(str(path), "w", options=options) as written:
        pictures = list(pictures)
        try:
            stream = written.add_stream(codec, rate=24)
        except av.codec.codec.UnknownCodecError:
            pytest.skip(f"this build of PyAV has no {codec}")
        stream.width, stream.height, stream.pix_fmt = *pictures[0].size, "yuv420p"
        if times_ms is not None:
            stream.codec_context.time_base = Fraction(1, 1000)
        for i, picture in enumerate(pictures):
            frame = av.VideoFrame.from_image(picture)
            if times_ms is not None:
                frame.pts, frame.time_base = times_ms[i], Fraction(1, 1000)
            written.mux(stream.encode(frame))
        written.mux(stream.encode())
    return path


@pytest.mark.parametrize(
    ("turn", "matrix"),
    [
        (Image.Transpose.ROTATE_90, (0, 1, 0, -1, 0, 0)),
        (Image.Transpose.ROTATE_180, (-1, 0, 0, 0, -1, 0)),
        (Image.Transpose.ROTATE_270, (0, -1, 0, 1, 0, 0)),
    ],
)
def test_a_phones_video_that_is_stored_on_its_side_is_set_upright(tmp_path, turn, matrix):
    path = film(tmp_path / "phone.mp4", [picture.transpose(turn) for picture in arrows()])
    data = bytearray(path.read_bytes())
    box = data.find(b"tkhd")
    start = box + 4 + (40 if data[box + 4] == 0 else 52)  # behind version, times, ids, volume: ISO 14496-12, 8.3.2
    assert struct.unpack(">9i", data[start : start + 36]) == (1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30)
    a, b, u, c, d, v = matrix
    data[start : start + 36] = struct.pack(">9i", a << 16, b << 16, u, c << 16, d << 16, v, 0, 0, 1 << 30)
    path.write_bytes(bytes(data))
    photos, _ = take_frames(path, 5, tmp_path / "work", 2000, Job())
    for photo in photos:
        with Image.open(tmp_path / "work/images" / photo.name) as frame:
            assert frame.size == (120, 160) == (photo.width, photo.height)
            top = np.asarray(frame)[4:16].mean((0, 1))
        assert top[0] > 200 and top[1:].max() < 60, "the red stripe is at the top"


def test_frames_of_no_steady_rate_and_hevc_are_read(tmp_path):
    times = np.cumsum(np.random.default_rng(2).integers(10, 200, 12)).tolist()
    photos, told = take_frames(film(tmp_path / "a.mp4", arrows(), times_ms=times), 6, tmp_path / "a", 2000, Job())
    assert len(photos) >= 3 and not told
    photos, told = take_frames(film(tmp_path / "b.mov", arrows(), "libx265"), 6, tmp_path / "b", 2000, Job())
    assert len(photos) >= 3 and not told


def test_of_a_video_that_ends_too_early_the_start_is_used_and_that_is_said(tmp_path):
    data = film(tmp_path / "whole.mp4", arrows(40), movflags="faststart").read_bytes()
    (tmp_path / "cut.mp4").write_bytes(data[: len(data) * 6 // 10])
    photos, told = take_frames(tmp_path / "cut.mp4", 6, tmp_path / "work", 2000, Job())
    assert len(photos) >= 3
    assert len(told) == 1 and "ends too early" in told[0] and "of its 40 frames" in told[0] and "Copy it" in told[0]


def test_a_video_that_gives_no_photos_is_refused_with_why(tmp_path):
    av = pytest.importorskip("av")
    data = film(tmp_path / "whole.mp4", arrows()).read_bytes()
    (tmp_path / "cut.mp4").write_bytes(data[: len(data) * 6 // 10])  # its index, which comes last, is gone
    (tmp_path / "empty.mp4").write_bytes(b"")
    film(tmp_path / "one.mp4", arrows(1))
    with av.open(str(tmp_path / "none.mp4"), "w") as written:
        stream = written.add_stream("mpeg4", rate=24)
        stream.width, stream.height, stream.pix_fmt = 120, 160, "yuv420p"
        written.start_encoding()
    with av.open(str(tmp_path / "sound.mp4"), "w") as written:
        stream = written.add_stream("aac", rate=44100)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 4096), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 44100
        written.mux(stream.encode(frame))
        written.mux(stream.encode())
    for name, why in (
        ("cut", "ends too early"),
        ("empty", "ends too early, or is no video"),
        ("one", "has 1 frame that can be read"),
        ("none", "holds no pictures"),
        ("sound", "holds no pictures"),
    ):
        with pytest.raises(CaptureError, match=why) as fault:
            take_frames(tmp_path / f"{name}.mp4", 6, tmp_path / "work", 2000, Job())
        assert fault.value.cure
    assert not (tmp_path / "work").exists()
