"""Metashape's camera XML, written here from its manual, and projections worked out here by its formulas."""

from __future__ import annotations

import numpy as np
import pytest
from small_captures import refuses, ring, write_photo

from engine.captures.brown import BrownLens, brown_camera
from engine.captures.load import load_capture
from engine.captures.rays import project
from engine.captures.validate import BadView

WIDTH, HEIGHT, F = 160, 120, 150.0
LENS = {"f": F, "cx": 3.5, "cy": -2.25, "k1": -0.08, "k2": 0.02, "k3": -0.003, "p1": 0.002, "p2": -0.001}
TURN = np.array([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])


def write_metashape(folder, lens=LENS, kind="frame", scale=2.0, translation=(5.0, -1.0, 0.5), head="", attributes=""):
    """Cameras on a ring, in a chunk that is turned by 90 degrees, scaled and moved."""
    cameras = []
    for i, pose in enumerate(ring(5)):
        write_photo(folder / f"images/IMG_{i}.png", (WIDTH, HEIGHT))
        opencv = pose @ np.diag([1.0, -1.0, -1.0, 1.0])
        numbers = " ".join(map(repr, map(float, opencv.ravel())))
        cameras.append(
            f'<camera id="{i}" sensor_id="0" component_id="0" label="IMG_{i}"{attributes}>'
            f"<transform>{numbers}</transform></camera>"
        )
    cameras.append('<camera id="9" sensor_id="0" label="IMG_9"></camera>')  # not aligned
    calibration = "".join(f"<{name}>{value!r}</{name}>" for name, value in lens.items())
    size = f'<resolution width="{WIDTH}" height="{HEIGHT}"/>'
    rotation = " ".join(map(str, TURN.ravel()))
    (folder / "cameras.xml").write_text(
        f"""<?xml version="1.0" encoding="UTF-8"?>{head}
<document version="2.0.0"><chunk label="Chunk 1" enabled="true">
<sensors next_id="1"><sensor id="0" label="unknown" type="{kind}">{size}
<calibration type="{kind}" class="initial">{size}<f>1</f></calibration>
<calibration type="{kind}" class="adjusted">{size}{calibration}</calibration></sensor></sensors>
<components next_id="1"><component id="0"><transform><rotation>{rotation}</rotation>
<translation>{" ".join(map(str, translation))}</translation><scale>{scale}</scale></transform></component></components>
<cameras next_id="10" next_group_id="1">{"".join(cameras[:2])}<group id="0" label="more">{"".join(cameras[2:])}</group>
</cameras></chunk></document>""",
        encoding="utf-8",
    )
    return folder


def manual(lens, local):
    """Pixels of points [N, 3] in a frame camera (x right, y down, z ahead) as the manual has it: its p1, its p2."""
    x, y = local[:, 0] / local[:, 2], local[:, 1] / local[:, 2]
    r = np.hypot(x, y)
    radial = 1 + sum(lens.get(f"k{i}", 0) * r ** (2 * i) for i in (1, 2, 3, 4))
    p1, p2 = lens.get("p1", 0), lens.get("p2", 0)
    bent_x = x * radial + (p1 * (r**2 + 2 * x**2) + 2 * p2 * x * y)
    bent_y = y * radial + (p2 * (r**2 + 2 * y**2) + 2 * p1 * x * y)
    u = WIDTH * 0.5 + lens.get("cx", 0) + bent_x * lens["f"] + bent_x * lens.get("b1", 0) + bent_y * lens.get("b2", 0)
    return np.stack([u, HEIGHT * 0.5 + lens.get("cy", 0) + bent_y * lens["f"]], axis=1)


def points_before(count=200):
    random = np.random.default_rng(2)
    return np.stack([random.uniform(-0.5, 0.5, count), random.uniform(-0.38, 0.38, count), np.ones(count)], axis=1)


@pytest.mark.parametrize("extra", [{}, {"b1": 1.5}, {"k4": 0.004}, {"k4": 0.004, "b2": 0.01}])
def test_points_fall_where_the_manual_says(tmp_path, extra):
    lens = {**LENS, **extra}
    capture = load_capture(write_metashape(tmp_path, lens))
    assert capture.format == "metashape" and len(capture) == 5
    local = points_before()
    for view, pose in zip(capture.views, ring(5), strict=True):
        opencv = pose @ np.diag([1.0, -1.0, -1.0, 1.0])
        in_chunk = 3.0 * local @ opencv[:3, :3].T + opencv[:3, 3]
        in_world = 2.0 * in_chunk @ TURN.T + (5.0, -1.0, 0.5)
        at, depth = project(view.camera, in_world)
        np.testing.assert_allclose(depth, 6.0, atol=1e-9)
        assert np.abs(at - manual(lens, local)).max() < (0.02 if "b2" in extra else 1e-3)
    assert len(capture.warnings) == ("b2" in extra)


def test_a_fisheye_bends_the_angle(tmp_path):
    lens = {"f": 90.0, "k1": 0.02, "k2": -0.004}
    camera = load_capture(write_metashape(tmp_path, lens, "fisheye")).views[0].camera
    angle = np.radians([10.0, 40.0])
    local = np.stack([np.tan(angle), np.zeros(2), -np.ones(2)], axis=1)
    at, _ = project(camera, local @ camera.world_from_camera[:3, :3].T + camera.position)
    expected = WIDTH / 2 + 90.0 * angle * (1 + 0.02 * angle**2 - 0.004 * angle**4)
    np.testing.assert_allclose(at[:, 0], expected, atol=1e-6)


def test_an_equisolid_fisheye_is_fitted():
    fit = brown_camera(BrownLens(WIDTH, HEIGHT, 90.0, 80.0, 60.0, kind="equisolid"))
    angle = np.radians([5.0, 25.0, 45.0])
    at, _ = project(fit.camera, np.stack([np.tan(angle), np.zeros(3), -np.ones(3)], axis=1))
    np.testing.assert_allclose(at[:, 0], 80.0 + 90.0 * 2 * np.sin(angle / 2), atol=1e-2)


def test_a_chunk_on_a_map_is_brought_to_the_origin_upright_and_in_metres(tmp_path):
    capture = load_capture(write_metashape(tmp_path, translation=(388_200.0, 5_820_000.0, 40.0), scale=9.0))
    moved = np.array([388_200.0, 5_820_000.0, 40.0])
    middle = np.round(np.median([9.0 * TURN @ p[:3, 3] for p in ring(5)], axis=0) + moved)
    for pose, view in zip(ring(5), capture.views, strict=True):
        expected = 9.0 * TURN @ pose[:3, 3] + moved - middle
        np.testing.assert_allclose(view.camera.position, expected, atol=1e-8)
        np.testing.assert_allclose(view.camera.world_from_camera[:3, :3], TURN @ pose[:3, :3], atol=1e-9)
    near = np.array(capture.extra["brought_near"])
    np.testing.assert_allclose(near[:3, 3], -middle)
    assert "somewhere on a map" in capture.warnings[0]


def test_a_chunk_on_the_earth_stands_upright(tmp_path):
    # 50 degrees north, 14 east, as Metashape places chunks of any map: from the earth's middle
    north, east = np.radians(50.0), np.radians(14.0)
    up = np.array([np.cos(north) * np.cos(east), np.cos(north) * np.sin(east), np.sin(north)])
    to_east = np.array([-np.sin(east), np.cos(east), 0.0])
    normal = 6_378_137.0 / np.sqrt(1 - 0.00669438 * np.sin(north) ** 2)
    place = normal * up - (0, 0, 0.00669438 * normal * np.sin(north))
    standing = np.stack([to_east, np.cross(up, to_east), up], axis=1)  # the ring's z is up there, its x east
    path = write_metashape(tmp_path, translation=place, scale=3.0) / "cameras.xml"
    path.write_text(path.read_text().replace(" ".join(map(str, TURN.ravel())), written(standing)))
    capture = load_capture(path)
    for pose, view in zip(ring(5), capture.views, strict=True):
        np.testing.assert_allclose(view.camera.world_from_camera[:3, :3], pose[:3, :3], atol=1e-5)
    places = np.array([view.camera.position for view in capture.views])
    rings = np.array([3.0 * pose[:3, 3] for pose in ring(5)])
    np.testing.assert_allclose(places - places[0], rings - rings[0], atol=1e-3)
    assert np.abs(places).max() < 10 and "somewhere on the earth" in capture.warnings[0]


def test_cameras_that_are_switched_off_are_no_views(tmp_path):
    refuses("no cameras with poses", write_metashape(tmp_path, attributes=' enabled="false"'))


@pytest.mark.parametrize(
    ("head", "word"),
    [
        ('<!DOCTYPE d [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;&a;&a;">]>', "document type"),
        ('<!DOCTYPE d SYSTEM "file:///etc/passwd">', "document type"),
        ("<a>" * 200, "nested"),
        ("<", "not valid XML"),
    ],
)
def test_xml_that_hides_something_is_refused(tmp_path, head, word):
    refuses(word, write_metashape(tmp_path, head=head) / "cameras.xml")


@pytest.mark.parametrize(
    ("old", "new", "word"),
    [
        ("<f>150.0</f>", "<f>-1</f>", "focal length"),
        ("<f>150.0</f>", "<f>nan</f>", "not finite"),
        ("<f>150.0</f>", "<f>x</f>", "numbers"),
        ("<k1>-0.08</k1>", "<k1>-50</k1><k4>1</k4>", "folds over"),
        ("<scale>2.0</scale>", "<scale>-2.0</scale>", "numbers"),
        ('type="frame"', 'type="spherical"', "spherical"),
        ("<transform>", "<transform>1 ", "16 numbers"),
        (f'width="{WIDTH}"', 'width="100000000000"', "100000000000"),
        ("<cameras", "<kameras", "not an export|not valid"),
    ],
)
def test_numbers_that_make_no_sense_are_one_sentence(tmp_path, old, new, word):
    path = write_metashape(tmp_path) / "cameras.xml"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new).replace("</cameras>", "</kameras>" if "kameras" in new else "</cameras>"))
    refuses(word.split("|")[0], path)


def test_additional_corrections_are_told_of(tmp_path):
    path = write_metashape(tmp_path) / "cameras.xml"
    assert not [line for line in load_capture(path).warnings if "corrections" in line]
    more = '<corrections type="fourier"><coeffs>0.1 0.2</coeffs></corrections></calibration>'
    path.write_text(path.read_text().replace("</calibration>", more))
    capture = load_capture(path)
    assert capture.views and any("additional corrections of 1 of its lenses" in line for line in capture.warnings)


def test_a_lens_without_sense_is_a_bad_view():
    for lens in (BrownLens(0, 5, 1.0, 0, 0), BrownLens(9, 9, 1e-300, 0, 0, (1.0, 0, 0, 1e300))):
        with pytest.raises(BadView):
            brown_camera(lens)


OPENCV = np.diag([1.0, -1.0, -1.0, 1.0])


def written(matrix):
    return " ".join(map(repr, map(float, np.asarray(matrix).ravel())))


def test_photoscan_s_oldest_files_have_a_lens_for_each_camera_and_count_from_the_corner(tmp_path):
    lens = {"fx": 151.0, "fy": F, "cx": 84.0, "cy": 57.0, "skew": 0.0, "k1": -0.08, "p1": 0.002, "p2": -0.001}
    inner = "".join(f"<{name}>{value!r}</{name}>" for name, value in lens.items())
    cameras = []
    for i, pose in enumerate(ring(4)):
        write_photo(tmp_path / f"IMG_{i}.jpg", (WIDTH, HEIGHT))
        cameras.append(
            f'<camera label="IMG_{i}.jpg"><resolution width="{WIDTH}" height="{HEIGHT}"/><calibration>'
            f"<width>{WIDTH}</width><height>{HEIGHT}</height>{inner}</calibration>"
            f"<transform>{written(pose @ OPENCV)}</transform></camera>"
        )
    world = np.eye(4)
    world[:3, :3], world[:3, 3] = 2.0 * TURN, (5.0, -1.0, 0.5)
    (tmp_path / "cameras.xml").write_text(
        f"<?xml version='1.0'?><collection><cameras>{''.join(cameras)}</cameras>"
        f"<transform>{written(world)}</transform></collection>"
    )
    capture = load_capture(tmp_path)
    assert len(capture) == 4 and capture.warnings == ()
    local = points_before()
    x, y = local[:, 0], local[:, 1]
    r2 = x**2 + y**2
    bent_x = x * (1 - 0.08 * r2) - 0.001 * (r2 + 2 * x**2) + 2 * 0.002 * x * y  # as Agisoft Lens 0.4 has it
    bent_y = y * (1 - 0.08 * r2) + 0.002 * (r2 + 2 * y**2) - 2 * 0.001 * x * y
    expected = np.stack([84.0 + 151.0 * bent_x, 57.0 + F * bent_y], axis=1)
    for view, pose in zip(capture.views, ring(4), strict=True):
        in_chunk = local @ (pose @ OPENCV)[:3, :3].T + pose[:3, 3]
        at, _ = project(view.camera, 2.0 * in_chunk @ TURN.T + (5.0, -1.0, 0.5))
        np.testing.assert_allclose(at, expected, atol=1e-6)


@pytest.mark.parametrize("extra", [{"b2": 0.8}, {"b2": -0.8, "b1": 1.0}, {"p3": 2.0, "p4": -1.0}])
def test_skew_and_further_tangential_terms_come_out_near(tmp_path, extra):
    lens = {**LENS, **extra}
    capture = load_capture(write_metashape(tmp_path, lens))
    local = points_before()
    x, y = local[:, 0], local[:, 1]
    r = np.hypot(x, y)
    if "p3" in extra:
        more = 1 + 2.0 * r**2 - r**4
        lens = {**lens, "p1": lens["p1"] * more, "p2": lens["p2"] * more}
    at, _ = project(
        capture.views[0].camera,
        2.0 * (local @ (ring(5)[0] @ OPENCV)[:3, :3].T + ring(5)[0][:3, 3]) @ TURN.T + (5.0, -1.0, 0.5),
    )
    assert np.abs(at - manual(lens, local)).max() < 0.22  # more than 0.3 with a camera that is not turned
    assert "approximated" in capture.warnings[0]


def rig(tmp_path, placed="<location>0.25 0.0 0.1</location>"):
    """Three places of a rig: a master that looks at the middle, and a fellow that is turned against it."""
    turned = np.array([[0.0, 0.0, 1.0], [0.0, 1.0, 0.0], [-1.0, 0.0, 0.0]])
    size = f'<resolution width="{WIDTH}" height="{HEIGHT}"/>'
    lens = f'<calibration type="frame" class="adjusted">{size}<f>{F}</f></calibration>'
    cameras = []
    for i, pose in enumerate(ring(3)):
        for name in ("front", "side"):
            write_photo(tmp_path / f"images/{name}_{i}.png", (WIDTH, HEIGHT))
        cameras.append(
            f'<camera id="{2 * i}" sensor_id="0" label="front_{i}">'
            f"<transform>{written(pose @ OPENCV)}</transform></camera>"
            f'<camera id="{2 * i + 1}" sensor_id="1" master_id="{2 * i}" label="side_{i}"/>'
        )
    (tmp_path / "cameras.xml").write_text(
        f'<document version="1.5.0"><chunk><sensors><sensor id="0" type="frame">{size}{lens}</sensor>'
        f'<sensor id="1" type="frame" master_id="0">{size}{lens}<rotation locked="false">{written(turned)}</rotation>'
        f"{placed}</sensor></sensors><cameras>{''.join(cameras)}</cameras></chunk></document>"
    )
    return tmp_path


def test_cameras_of_a_rig_hang_from_their_master(tmp_path):
    capture = load_capture(rig(tmp_path))
    assert [view.name for view in capture.views[3:]] == [f"images/side_{i}.png" for i in range(3)]
    for pose, view in zip(ring(3), capture.views[3:], strict=True):
        right, up, back = pose[:3, 0], pose[:3, 1], pose[:3, 2]
        np.testing.assert_allclose(view.camera.position, pose[:3, 3] + 0.25 * right - 0.1 * back, atol=1e-12)
        np.testing.assert_allclose(view.camera.forward, right, atol=1e-12)  # its third column: the master's right
        np.testing.assert_allclose(view.camera.world_from_camera[:3, 1], up, atol=1e-12)


def test_a_fellow_whose_place_is_left_empty_stands_in_its_master_s(tmp_path):
    path = rig(tmp_path, '<location fixed="1"/>') / "cameras.xml"
    text = path.read_text()
    path.write_text(text[: text.index("<rotation")] + '<rotation fixed="1"/>' + text[text.index("<location") :])
    views = load_capture(path).views
    np.testing.assert_allclose(views[3].camera.world_from_camera, views[0].camera.world_from_camera, atol=1e-12)


def test_a_rig_of_nonsense_is_one_sentence(tmp_path):
    refuses("numbers", rig(tmp_path, "<location>0.25 zero 0.1</location>"))
    warnings = load_capture(rig(tmp_path, "<location>nan 0 1e308</location>")).warnings
    assert (
        "3 of 6 views are left out: images/side_0.png because its pose holds values that are not finite" in warnings[0]
    )


def test_of_several_chunks_the_one_with_most_aligned_cameras_is_read(tmp_path):
    path = write_metashape(tmp_path) / "cameras.xml"
    chunk = path.read_text().split("?>", 1)[1].removeprefix('\n<document version="2.0.0">').removesuffix("</document>")
    first = '<chunk label="Tests"><sensors/><cameras><camera id="0" sensor_id="0" label="IMG_0"/></cameras></chunk>'
    path.write_text(f'<document version="2.0.0">{first}{chunk}</document>')
    capture = load_capture(path)
    assert len(capture) == 5
    assert "2 chunks; the one with most aligned cameras is read, Chunk 1" in capture.warnings[0]


def test_photos_that_were_not_aligned_are_named(tmp_path):
    write_photo(write_metashape(tmp_path) / "images/IMG_9.png", (WIDTH, HEIGHT))
    assert "1 photos are left out, as they were not aligned: images/IMG_9.png" in load_capture(tmp_path).warnings[0]


def test_a_panorama_is_refused_as_one_even_where_it_has_no_calibration(tmp_path):
    path = write_metashape(tmp_path) / "cameras.xml"
    text = path.read_text().replace('type="frame"', 'type="spherical"')
    path.write_text(text[: text.index("<calibration")] + text[text.rindex("</calibration>") + len("</calibration>") :])
    refuses("'spherical', which no camera of one direction is", path)


@pytest.mark.parametrize("kind", ["equidistant_fisheye", "equisolid_fisheye"])
def test_the_fisheyes_of_version_2_3_are_read(tmp_path, kind):
    camera = load_capture(write_metashape(tmp_path, {"f": 90.0}, kind)).views[0].camera
    angle = np.radians(40.0)
    local = np.array([[np.tan(angle), 0.0, -1.0]])
    at, _ = project(camera, local @ camera.world_from_camera[:3, :3].T + camera.position)
    shrunk = angle if kind == "equidistant_fisheye" else 2 * np.sin(angle / 2)
    np.testing.assert_allclose(at[0, 0], WIDTH / 2 + 90.0 * shrunk, atol=1e-2)
