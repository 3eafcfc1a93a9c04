"""A folder of photos becomes upright copies; what can't be used is named with a reason."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import ExifTags, Image

from engine.progress import Job
from engine.structure.photos import list_photos, prepare_photos
from sa3d_blender.protocol.errors import CaptureError


def picture(width=120, height=80, seed=0):
    return Image.fromarray(np.random.default_rng(seed).integers(0, 255, (height, width, 3), dtype=np.uint8))


def prepared(folder, tmp_path, max_side=2000, masks=None):
    paths, skipped = list_photos(folder)
    photos, more = prepare_photos(paths, masks, tmp_path / "work", max_side, Job())
    return {photo.source: photo for photo in photos}, {each.name: each.why for each in [*skipped, *more]}


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "photos"
    path.mkdir()
    return path


def test_a_turned_photo_is_set_upright_and_its_focal_length_becomes_pixels(folder, tmp_path):
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    exif[ExifTags.Base.Model] = "Phone"
    exif.get_ifd(0x8769)[ExifTags.Base.FocalLengthIn35mmFilm] = 26
    picture().save(folder / "a.jpg", exif=exif)
    photos, skipped = prepared(folder, tmp_path)
    photo = photos["a.jpg"]
    assert not skipped and (photo.width, photo.height) == (80, 120)
    assert photo.focal_px == pytest.approx(26 / np.hypot(36, 24) * np.hypot(80, 120))
    with Image.open(tmp_path / "work/images" / photo.name) as copy:
        assert copy.size == (80, 120) and copy.getexif().get(ExifTags.Base.Orientation, 1) == 1


def test_photos_of_one_camera_and_size_share_a_lens_and_others_do_not(folder, tmp_path):
    for seed, (name, model, size) in enumerate((("a", "X", 120), ("b", "X", 120), ("c", "Y", 120), ("d", "X", 140))):
        exif = Image.Exif()
        exif[ExifTags.Base.Model] = model
        picture(size, seed=seed).save(folder / f"{name}.jpg", exif=exif)
    photos, _ = prepared(folder, tmp_path)
    lens = {name: photo.lens for name, photo in photos.items()}
    assert lens["a.jpg"] == lens["b.jpg"] and len(set(lens.values())) == 3


@pytest.mark.parametrize("suffix", [".png", ".tif", ".webp", ".heic"])
def test_many_kinds_of_files_are_read(folder, tmp_path, suffix):
    if suffix == ".heic":
        pytest.importorskip("pillow_heif").register_heif_opener()
    picture().save(folder / f"a{suffix}")
    photos, skipped = prepared(folder, tmp_path)
    assert not skipped and photos[f"a{suffix}"].width == 120


def test_sixteen_bits_cmyk_and_opacity_become_plain_rgb(folder, tmp_path):
    Image.fromarray(np.full((80, 120), 257 * 200, np.uint16)).save(folder / "deep.png")
    picture().convert("CMYK").save(folder / "print.jpg")
    picture().convert("RGBA").save(folder / "clear.png")
    photos, skipped = prepared(folder, tmp_path)
    assert not skipped and len(photos) == 3
    for photo in photos.values():
        with Image.open(tmp_path / "work/images" / photo.name) as copy:
            assert copy.mode == "RGB"
            if photo.source == "deep.png":
                assert np.asarray(copy)[0, 0].tolist() == [200, 200, 200]


def test_a_huge_photo_is_shrunk_once(folder, tmp_path):
    picture(900, 600).save(folder / "a.jpg")
    photos, _ = prepared(folder, tmp_path, max_side=300)
    assert (photos["a.jpg"].width, photos["a.jpg"].height) == (300, 200)
    copy = tmp_path / "work/images" / photos["a.jpg"].name
    before = copy.stat().st_mtime_ns
    prepared(folder, tmp_path, max_side=300)
    assert copy.stat().st_mtime_ns == before


def test_what_cannot_be_used_is_named_with_a_reason(folder, tmp_path):
    picture(300, 300).save(folder / "cut.jpg")
    (folder / "cut.jpg").write_bytes((folder / "cut.jpg").read_bytes()[:3000])
    (folder / "text.png").write_text("no picture")
    picture(20, 20).save(folder / "tiny.png")
    picture().save(tmp_path / "outside.png")
    (folder / "link.png").symlink_to(tmp_path / "outside.png")
    # A header of 60,000 x 60,000 pixels with nothing behind it.
    bomb = Image.new("1", (1, 1))
    bomb.save(folder / "bomb.png")
    data = bytearray((folder / "bomb.png").read_bytes())
    data[16:24] = (60_000).to_bytes(4, "big") * 2
    import zlib

    data[29:33] = zlib.crc32(bytes(data[12:29])).to_bytes(4, "big")
    (folder / "bomb.png").write_bytes(bytes(data))
    photos, skipped = prepared(folder, tmp_path)
    assert not photos
    assert "damaged" in skipped["cut.jpg"] and "not a picture" in skipped["text.png"]
    assert "20 x 20" in skipped["tiny.png"] and "leads out" in skipped["link.png"]
    assert "megapixels" in skipped["bomb.png"]


def test_odd_names_become_names_that_every_program_reads(folder, tmp_path):
    for i, name in enumerate(("Blüte 1.png", "a b.png", "a_b.png")):
        picture(seed=i).save(folder / name)
    photos, skipped = prepared(folder, tmp_path)
    names = [photo.name for photo in photos.values()]
    assert not skipped and len(set(names)) == 3
    assert all(name.isascii() and " " not in name for name in names)


def test_masks_go_along_black_and_white_and_of_the_photos_size(folder, tmp_path):
    picture(900, 600).save(folder / "a.jpg")
    masks = tmp_path / "masks"
    masks.mkdir()
    mask = np.zeros((60, 90), np.uint8)
    mask[:, 45:] = 255
    Image.fromarray(mask).save(masks / "a.png")
    photos, _ = prepared(folder, tmp_path, max_side=300, masks=masks)
    with Image.open(tmp_path / "work/masks" / photos["a.jpg"].mask) as written:
        levels = np.asarray(written)
    assert levels.shape == (200, 300) and set(np.unique(levels)) == {0, 255} and levels[:, 200:].min() == 255


def test_a_digital_zoom_that_only_the_equivalent_focal_length_tells_is_another_lens(folder, tmp_path):
    for seed, equivalent in enumerate((26, 26, 52)):
        exif = Image.Exif()
        inner = exif.get_ifd(0x8769)
        inner[ExifTags.Base.FocalLength], inner[ExifTags.Base.FocalLengthIn35mmFilm] = 5.7, equivalent
        picture(seed=seed).save(folder / f"{seed}.jpg", exif=exif)
    photos, _ = prepared(folder, tmp_path)
    lens = [photos[f"{seed}.jpg"].lens for seed in range(3)]
    assert lens[0] == lens[1] != lens[2]


def test_of_exact_copies_one_is_taken_and_the_others_are_named(folder, tmp_path):
    for name in ("a.jpg", "b.jpg"):
        picture(seed=1).save(folder / name)
    picture(seed=2).save(folder / "c.jpg")
    photos, skipped = prepared(folder, tmp_path)
    assert set(photos) == {"a.jpg", "c.jpg"} and "exact copy" in skipped["b.jpg"]


def test_panoramas_are_left_out_and_wide_screens_are_not(folder, tmp_path):
    picture(1200, 220).save(folder / "wide.jpg")
    xmp = b"<x:xmpmeta><GPano:ProjectionType>equirectangular</GPano:ProjectionType></x:xmpmeta>"
    picture(400, 200).save(folder / "sphere.jpg", xmp=xmp)
    picture(235, 100).save(folder / "cinema.jpg")
    photos, skipped = prepared(folder, tmp_path)
    assert set(photos) == {"cinema.jpg"}
    assert "panorama" in skipped["wide.jpg"] and "panorama" in skipped["sphere.jpg"]


def test_a_grey_photo_becomes_rgb_and_a_turned_heic_upright_with_its_focal_length(folder, tmp_path):
    pytest.importorskip("pillow_heif").register_heif_opener()
    picture().convert("L").save(folder / "grey.jpg")
    upright = Image.new("RGB", (80, 120), (0, 0, 255))
    upright.paste((255, 0, 0), (0, 0, 80, 40))
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    exif.get_ifd(0x8769)[ExifTags.Base.FocalLengthIn35mmFilm] = 26
    upright.transpose(Image.Transpose.ROTATE_90).save(folder / "phone.HEIC", exif=exif.tobytes(), quality=90)
    photos, skipped = prepared(folder, tmp_path)
    assert not skipped and photos["phone.HEIC"].focal_px == pytest.approx(26 / np.hypot(36, 24) * np.hypot(80, 120))
    with Image.open(tmp_path / "work/images" / photos["phone.HEIC"].name) as copy:
        assert copy.format == "JPEG" and copy.size == (80, 120)
        assert copy.getpixel((40, 10))[0] > 200 and copy.getpixel((40, 110))[2] > 200
    with Image.open(tmp_path / "work/images" / photos["grey.jpg"].name) as copy:
        assert copy.mode == "RGB"


def test_a_folder_without_photos_is_refused(folder):
    with pytest.raises(CaptureError, match="holds no photos"):
        list_photos(folder)
