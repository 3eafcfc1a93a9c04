"""RealityCapture's sidecars: as versions 2 to 4 write them, and what a photo's neighbour may be else."""

from __future__ import annotations

import numpy as np
import pytest
from small_captures import refuses, ring, write_photo

from engine.captures.load import load_capture
from engine.captures.rays import project
from sa3d_blender.protocol.errors import CaptureError

SIZE = (120, 90)
LENS = {
    "FocalLength35mm": "30",
    "Skew": "0",
    "AspectRatio": "1",
    "PrincipalPointU": "0.016",
    "PrincipalPointV": "-0.008",
}
BROWN = {**LENS, "DistortionModel": "brown4t2", "DistortionCoeficients": "-0.1 0.02 0 0.003 0.001 -0.002"}


def sidecar(values, elements=("Rotation", "Position", "DistortionCoeficients")):
    attributes = " ".join(f'xcr:{name}="{text}"' for name, text in values.items() if name not in elements)
    inner = "".join(f"<xcr:{name}>{values[name]}</xcr:{name}>" for name in elements if name in values)
    return (
        '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">\n'
        f'<rdf:Description xcr:Version="3" xcr:PosePrior="initial" {attributes}\n'
        f'xmlns:xcr="http://www.capturingreality.com/ns/xcr/1.1#">{inner}</rdf:Description></rdf:RDF></x:xmpmeta>\n'
    )


def placed(pose, move=(0.0, 0.0, 0.0)):
    """What a sidecar says of a camera at ``pose``: camera from world, right, down and ahead row by row."""
    rotation = np.diag([1.0, -1.0, -1.0]) @ pose[:3, :3].T
    return {
        "Rotation": " ".join(map(repr, map(float, rotation.ravel()))),
        "Position": " ".join(map(repr, map(float, pose[:3, 3] + move))),
    }


def write_sidecars(folder, values=LENS, count=4, move=(0.0, 0.0, 0.0), **how):
    for i, pose in enumerate(ring(count)):
        write_photo(folder / f"IMG_{i}.jpg", SIZE)
        (folder / f"IMG_{i}.xmp").write_text(sidecar({**values, **placed(pose, move)}, **how))
    return folder


@pytest.mark.parametrize("elements", [("Rotation", "Position", "DistortionCoeficients"), ("Position",), ("Rotation",)])
@pytest.mark.parametrize("where", ["", "images"])
def test_cameras_stand_where_the_sidecars_say(tmp_path, elements, where):
    write_sidecars(tmp_path / where, BROWN, elements=elements)
    capture = load_capture(tmp_path)
    assert capture.format == "reality" and len(capture) == 4 and capture.warnings == ()
    for pose, view in zip(ring(4), capture.views, strict=True):
        np.testing.assert_allclose(view.camera.world_from_camera, pose, atol=1e-12)


def test_a_sidecar_or_the_photos_folder_may_be_chosen(tmp_path):
    write_sidecars(tmp_path / "images")
    assert len(load_capture(tmp_path / "images/IMG_2.xmp")) == len(load_capture(tmp_path / "images")) == 4


def test_sidecars_and_table_of_the_same_camera_agree(tmp_path):
    # forums.unrealengine.com/t/710449: what both exports say of one camera (the last digits are cut off there)
    turned = "0.982594073038806 0.185426733553445 -0.0112166890261935 -0.032113633044729 0.11008102707942 "
    turned += "-0.993403685341366 -0.18296885582437 0.976472781986697 0.114"
    angles = "163.736597399311,83.4154313461628,174.386496244756"
    lines = ["#name,x,y,alt,heading,pitch,roll,f"]
    for i in range(3):
        for kind in ("sidecars", "table"):
            write_photo(tmp_path / kind / f"p{i}.png", SIZE)
        (tmp_path / f"sidecars/p{i}.xmp").write_text(sidecar({**LENS, "Rotation": turned, "Position": f"{i} 2 3"}))
        lines.append(f"p{i}.png,{i},2,3,{angles},30")
    (tmp_path / "table/cameras.csv").write_text("\n".join(lines))
    for one, two in zip(load_capture(tmp_path / "sidecars").views, load_capture(tmp_path / "table").views, strict=True):
        np.testing.assert_allclose(one.camera.world_from_camera, two.camera.world_from_camera, atol=2e-4)


def test_points_fall_where_brown_s_lens_bends_them(tmp_path):
    values = {**BROWN, "AspectRatio": "1.01", "Coordinates": "relative", "InMeshing": "1"}
    view = load_capture(write_sidecars(tmp_path, values)).views[1]
    random = np.random.default_rng(4)
    x, y = random.uniform(-0.5, 0.5, 100), random.uniform(-0.35, 0.35, 100)
    pose = ring(4)[1]
    world = np.stack([x, -y, -np.ones(100)], axis=1) @ pose[:3, :3].T + pose[:3, 3]
    r2, t1, t2 = x**2 + y**2, 0.001, -0.002
    radial = 1 - 0.1 * r2 + 0.02 * r2**2 + 0.003 * r2**4
    bent_x = x * radial + t1 * (r2 + 2 * x**2) + 2 * t2 * x * y
    bent_y = y * radial + t2 * (r2 + 2 * y**2) + 2 * t1 * x * y
    expected = np.stack([60 + 0.016 * 120 + 100 * bent_x, 45 - 0.008 * 120 + 101 * bent_y], axis=1)
    at, _ = project(view.camera, world)
    assert np.abs(at - expected).max() < 1e-3


@pytest.mark.parametrize("model", ["division", "rationalP2D1T2"])
def test_lenses_that_are_not_known_for_sure_are_refused_with_what_to_export(tmp_path, model):
    values = {**LENS, "DistortionModel": model, "DistortionCoeficients": "-0.27 0 0 0 0 0"}
    refuses("set the distortion model to Brown3", write_sidecars(tmp_path, values))


def test_a_lens_of_division_that_bends_nothing_is_a_pinhole(tmp_path):
    values = {**LENS, "DistortionModel": "division", "DistortionCoeficients": "0 0 0 0 0 0"}
    assert load_capture(write_sidecars(tmp_path, values)).views[0].camera.model == "pinhole"


def test_the_largest_component_is_read(tmp_path):
    write_sidecars(tmp_path, count=5)
    for i in range(5):
        path = tmp_path / f"IMG_{i}.xmp"
        component = "{A}" if i in (1, 2, 4) else "{B}"
        path.write_text(path.read_text().replace('xcr:Version="3"', f'xcr:ComponentId="{component}"'))
    capture = load_capture(tmp_path)
    assert [view.name for view in capture.views] == ["IMG_1.jpg", "IMG_2.jpg", "IMG_4.jpg"]
    assert "2 photos belong to other components than most and are left out: IMG_0, IMG_3" in capture.warnings[0]


def test_cameras_on_a_map_are_brought_to_the_origin(tmp_path):
    capture = load_capture(write_sidecars(tmp_path, move=(388_200.0, 5_820_000.0, 40.0)))
    move = np.array(capture.extra["brought_near"])[:3, 3]
    for pose, view in zip(ring(4), capture.views, strict=True):
        expected = pose[:3, 3] + (388_200.0, 5_820_000.0, 40.0) + move
        np.testing.assert_allclose(view.camera.position, expected, atol=1e-8)
    assert np.abs(capture.views[0].camera.position).max() < 5 and "somewhere on a map" in capture.warnings[0]


def test_other_programs_sidecars_are_none(tmp_path):
    write_photo(tmp_path / "IMG_0.jpg", SIZE)
    (tmp_path / "IMG_0.xmp").write_text('<x:xmpmeta xmlns:x="adobe:ns:meta/" crs:Exposure="+0.3"/>')
    refuses("it has no cameras", tmp_path)


def test_sidecars_without_poses_say_what_to_do(tmp_path):
    for i in range(3):
        write_photo(tmp_path / f"IMG_{i}.jpg", SIZE)
        (tmp_path / f"IMG_{i}.xmp").write_text(sidecar(LENS))
    assert "Align" in refuses("not from where", tmp_path).cure


def test_a_photo_without_pose_is_left_out_and_named(tmp_path):
    write_sidecars(tmp_path)
    (tmp_path / "IMG_2.xmp").write_text(sidecar(LENS))
    assert "not aligned: IMG_2.jpg" in load_capture(tmp_path).warnings[0]


@pytest.mark.parametrize(
    ("old", "new", "word"),
    [
        ("<xcr:Rotation>", "<xcr:Rotation>1 ", "10 numbers, not 9"),
        ("<xcr:Position>", "<xcr:Position>one ", "a word for a number"),
        ("<xcr:Position>", "<xcr:Position>nan ", "numbers, not 3"),
        ('"30"', '"-30"', "focal length"),
        ('"30"', '"nan"', "not finite"),
        ("xcr:FocalLength35mm", "xcr:FocalLength", "no focal length"),
        ("<x:xmpmeta", "<!DOCTYPE x []><x:xmpmeta", "document type"),
        ("</rdf:RDF>", "", "not valid XML"),
        ("</rdf:RDF>", "</rdf:RDF>" + " " * 2**20, "more than a megabyte"),
        ("-0.1 0.02 0 0.003 0.001 -0.002", "1 2 3 4 5 6 7", "more than six numbers"),
    ],
)
def test_sidecars_that_make_no_sense_are_one_sentence(tmp_path, old, new, word):
    write_sidecars(tmp_path, BROWN)
    for path in tmp_path.glob("*.xmp"):
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new))
    refuses(word, tmp_path)


def test_a_sidecar_that_leads_elsewhere_is_not_opened(tmp_path):
    scene = write_sidecars(tmp_path / "scene")
    (scene / "IMG_0.xmp").rename(tmp_path / "away.xmp")
    (scene / "IMG_0.xmp").symlink_to(tmp_path / "away.xmp")
    assert [view.name for view in load_capture(scene).views] == ["IMG_1.jpg", "IMG_2.jpg", "IMG_3.jpg"]


@pytest.mark.parametrize(
    ("name", "word"), [("scene.rsproj", "Internal/External"), ("scene.psx", "Export Cameras"), ("bundle.out", "COLMAP")]
)
def test_what_else_these_programs_write_is_answered_with_what_to_export(tmp_path, name, word):
    (tmp_path / name).write_bytes(b"# Bundle file v0.3\n")
    with pytest.raises(CaptureError) as caught:
        load_capture(tmp_path / name)
    assert word in caught.value.cure
