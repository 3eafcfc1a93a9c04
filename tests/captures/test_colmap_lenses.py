"""Every camera model of COLMAP maps rays to the pixels, and pixels to the rays, to which pycolmap maps them."""

from __future__ import annotations

import numpy as np
import pycolmap
import pytest
from colmap_models import write_colmap
from small_captures import refuses

from engine.captures.colmap_lenses import camera_of
from engine.captures.colmap_model import MODELS, ColmapLens
from engine.captures.load import load_capture
from engine.captures.rays import project, rays_through
from engine.captures.validate import BadView

SIZE = (400, 300)
LENSES = {
    "SIMPLE_PINHOLE": (320, 205, 148),
    "PINHOLE": (320, 310, 205, 148),
    "SIMPLE_RADIAL": (320, 205, 148, 0.1),
    "RADIAL": (320, 205, 148, -0.1, 0.02),
    "OPENCV": (320, 310, 205, 148, -0.1, 0.02, 0.003, -0.002),
    "OPENCV_FISHEYE": (190, 192, 205, 148, 0.02, -0.01, 0.002, -0.0005),
    "FULL_OPENCV": (320, 310, 205, 148, -0.1, 0.02, 0.003, -0.002, 0.01, 0.02, 0.01, 0.005),
    "FOV": (300, 310, 205, 148, 0.9),
    "SIMPLE_RADIAL_FISHEYE": (190, 205, 148, 0.02),
    "RADIAL_FISHEYE": (190, 205, 148, 0.02, -0.005),
    "THIN_PRISM_FISHEYE": (300, 305, 205, 148, 0.02, -0.01, 5e-4, -4e-4, 0.002, -0.001, 3e-4, -2e-4),
    "RAD_TAN_THIN_PRISM_FISHEYE": (
        *(250, 250, 205, 148, 0.02, -0.01, 5e-4, -4e-4),
        *(0.002, -0.001, 3e-4, -2e-4, 1e-4, 1e-4, 1e-4, 1e-4),
    ),
    "SIMPLE_DIVISION": (300, 205, 148, -0.15),
    "DIVISION": (300, 310, 205, 148, -0.15),
    "SIMPLE_FISHEYE": (170, 205, 148),
    "FISHEYE": (170, 165, 205, 148),
    "EUCM": (300, 305, 205, 148, 0.55, 1.1),
}
# The sideways parts of a thin prism behind a fisheye's angle have no counterpart in OpenCV's models.
APPROXIMATED_PX = {"THIN_PRISM_FISHEYE": 0.1, "RAD_TAN_THIN_PRISM_FISHEYE": 0.1}


def test_every_model_of_colmap_is_known_by_its_number_and_its_parameters():
    for name, model in pycolmap.CameraModelId.__members__.items():
        if name != "INVALID":
            camera = pycolmap.Camera.create_from_model_name(1, name, 100.0, *SIZE)
            assert MODELS[model.value] == (name, len(camera.params))
    assert {name for name, _ in MODELS.values()} == {*LENSES, "EQUIRECTANGULAR"}


@pytest.mark.parametrize("name", LENSES)
def test_both_ways_through_a_lens_are_pycolmaps_to_a_thousandth_of_a_pixel(name):
    params = LENSES[name]
    theirs = pycolmap.Camera(model=name, width=SIZE[0], height=SIZE[1], params=np.array(params, np.float64))
    fit = camera_of(ColmapLens(name, *SIZE, params))
    tolerance = APPROXIMATED_PX.get(name, 1e-3)
    assert fit.miss_px <= tolerance
    # at other pixels than those that lenses are fitted at
    x, y = np.meshgrid(np.linspace(0.5, SIZE[0] - 0.5, 37), np.linspace(0.5, SIZE[1] - 0.5, 31))
    pixels = np.stack([x.ravel(), y.ravel()], axis=1)
    plane = np.asarray(theirs.cam_from_img(pixels))
    seen = np.concatenate([plane, np.ones((len(plane), 1))], axis=1)
    pixels = np.asarray(theirs.img_from_cam(seen))
    found, depth = project(fit.camera, seen * (1, -1, -1))
    np.testing.assert_allclose(depth, 1.0)
    assert np.abs(found - pixels).max() < tolerance
    _, rays = rays_through(fit.camera, pixels)
    again = np.asarray(theirs.img_from_cam(rays * (1, -1, -1)))
    assert np.abs(again - pixels).max() < tolerance


def test_an_approximated_lens_says_so_and_by_how_much(tmp_path):
    lens = (20, 20, 8, 6, 0.05, -0.01, 0.01, -0.01, 0.002, -0.001, 0.01, -0.01)
    told = load_capture(write_colmap(tmp_path, lens=("THIN_PRISM_FISHEYE", lens))).warnings
    assert len(told) == 1 and "lenses of 5 photos" in told[0] and "approximated to within 0.0" in told[0]


def test_a_lens_that_is_fitted_without_loss_needs_no_word(tmp_path):
    capture = load_capture(write_colmap(tmp_path, lens=("FOV", (20, 20, 8, 6, 0.8))))
    assert capture.warnings == () and capture.views[0].camera.model == "opencv"


def test_a_panorama_is_refused(tmp_path):
    refuses("panorama", write_colmap(tmp_path, lens=("EQUIRECTANGULAR", (16, 12))))


@pytest.mark.parametrize(
    ("name", "params"),
    [
        ("FOV", (300, 310, 205, 148, 1e200)),
        ("EUCM", (300, 305, 205, 148, -5.0, -1.0)),
        ("DIVISION", (300, 310, 205, 148, 50.0)),
        ("THIN_PRISM_FISHEYE", (300, 305, 205, 148, 5.0, -9.0, 3.0, -4.0, 9.0, -9.0, 3.0, 4.0)),
        ("OPENCV", (300, 305, 205, 148, float("inf"), 0, 0, 0)),
        ("EUCM", (1e-300, 305, 205, 148, 0.5, 1.0)),
    ],
)
def test_wild_parameters_are_a_bad_view_not_a_crash(name, params):
    with pytest.raises(BadView):
        camera_of(ColmapLens(name, *SIZE, params))
