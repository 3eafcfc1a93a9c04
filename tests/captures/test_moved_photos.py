"""transforms.json files whose paths were right in another place: where the program was started, on another machine."""

from __future__ import annotations

import pytest
from small_captures import change, change_frames, refuses, write_photo, write_transforms

from engine.captures.load import load_capture


def led_by(folder, prefix):
    """The capture in ``folder``, its file's paths led by ``prefix``."""
    write_transforms(folder)
    change_frames(folder, lambda frame: frame.update(file_path=prefix + frame["file_path"]))
    return folder


@pytest.mark.parametrize(
    "prefix", ["./data/fox/", "../../data/fox/", "/home/someone/fox/", "D:\\\\scans\\\\fox\\\\", "fox/./more/../"]
)
def test_photos_are_found_by_the_end_of_their_paths(tmp_path, prefix):
    capture = load_capture(led_by(tmp_path, prefix))
    assert [view.name for view in capture.views] == [f"images/{i}.png" for i in range(4)]
    assert capture.warnings == (
        "The file's paths lead elsewhere; the photos of these names in the capture's folder are taken.",
    )


def test_photos_that_lie_in_images_are_found_there(tmp_path):
    write_transforms(tmp_path)
    change_frames(tmp_path, lambda frame: frame.update(file_path="C:/" + frame["file_path"].split("/")[1]))
    assert load_capture(tmp_path).views[0].name == "images/0.png"


def test_a_path_that_is_right_leaves_the_others_as_they_are(tmp_path):
    led_by(tmp_path, "../fox/")
    write_photo(tmp_path / "right.png")
    change_frames(tmp_path, lambda frame: frame.update(file_path="right.png"), slice(1))
    refuses("outside", tmp_path)


def test_paths_that_lead_nowhere_say_what_they_said(tmp_path):
    led_by(tmp_path, "../fox/")
    for path in (tmp_path / "images").iterdir():
        path.rename(path.with_name(f"other_{path.name}"))
    refuses("outside", tmp_path)


def test_links_out_of_the_folder_are_not_followed(tmp_path):
    scene = led_by(tmp_path / "scene", "/data/")
    (scene / "images").rename(tmp_path / "photos")
    (scene / "images").symlink_to(tmp_path / "photos")
    refuses("outside", scene)


def test_masks_and_splits_follow_their_photos(tmp_path):
    led_by(tmp_path, "/data/fox/")
    for i in range(4):
        write_photo(tmp_path / f"masks/{i}.png", mode="L")
    change_frames(tmp_path, lambda f: f.update(mask_path=f["file_path"].replace("images", "masks")))
    change(tmp_path, lambda data: data.update(train_filenames=[f["file_path"] for f in data["frames"][:3]]))
    change(tmp_path, lambda data: data.update(test_filenames=[data["frames"][3]["file_path"]]))
    views = load_capture(tmp_path).views
    assert [view.split for view in views] == ["train", "train", "train", "test"]
    assert [view.mask_path for view in views] == [tmp_path / f"masks/{i}.png" for i in range(4)]
