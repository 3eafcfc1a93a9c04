"""Photos without cameras in Blender: the offer, what is asked of the engine, the capture that comes, cancelling."""

from __future__ import annotations

PHOTOS = """
import os
from bl_ext.user_default.sa3d.sa3d_blender.opening import photos_without_cameras
from pathlib import Path
folder = Path(here, "walk")
folder.mkdir()
for n in range(4):
    image = bpy.data.images.new("p", 8, 8)
    image.filepath_raw, image.file_format = str(folder / ("IMG_%d.png" % n)), "PNG"
    image.save()
def opened(request, engine):
    body = {k: v for k, v in given["described"].items() if k not in ("points", "colours")}
    arrays = {"points": np.array(given["described"]["points"], np.float32),
              "colours": np.array(given["described"]["colours"], np.uint8)}
    engine.say(Result(request.id, body, {name: RawArray.of(each) for name, each in arrays.items()}))
def find_poses(request, engine):
    engine.say(Progress(request.id, "Matching photos", 0.5, 30.0, ""))
    engine.say(Log(request.id, "Warning: 1 of 4 photos found no place: IMG_3.png."))
    engine.say(Result(request.id, {"capture": request.body["out"], "placed": 3}))
plays["find_poses"], plays["open_capture"] = find_poses, opened
link.use(launch)
"""


def test_cameras_are_found_then_the_capture_is_imported(jobs):
    seen = jobs(
        PHOTOS
        + """
before = len(bpy.data.collections)
seen["finished"] = refused(lambda: bpy.ops.sa3d.find_poses(filepath=str(folder)))
job = finish()
seen["state"], seen["title"], seen["log"] = job.state, job.title, "\\n".join(job.log)
seen["asked"] = [[one.kind, one.body] for one in asked]
seen["folder"], seen["more"] = str(folder), len(bpy.data.collections) > before
"""
    )
    assert seen["state"] == "done" and seen["finished"] == ["FINISHED"], seen["log"]
    (first, body), (second, opened) = seen["asked"]
    assert (first, second) == ("find_poses", "open_capture")
    assert body["photos"] == seen["folder"] and body["out"] == opened["path"] == seen["folder"] + "-capture"
    assert seen["title"] == "Find Cameras of walk" and "IMG_3.png" in seen["log"] and seen["more"]


def test_the_job_can_be_cancelled_and_imports_nothing_then(jobs):
    seen = jobs(
        PHOTOS
        + """
plays["find_poses"] = lambda request, engine: engine.say(Progress(request.id, "Placing photos", 0.2, 60.0, ""))
bpy.ops.sa3d.find_poses(filepath=str(folder))
pump_until(lambda: jobs.running() and jobs.running().stage == "Placing photos")
bpy.ops.sa3d.cancel(uid=jobs.running().uid)
job = finish()
seen["state"], seen["kinds"] = job.state, [one.kind for one in asked]
"""
    )
    assert seen["state"] == "cancelled" and seen["kinds"] == ["find_poses"]


def test_importing_tells_photos_without_cameras_from_captures(jobs):
    seen = jobs(
        PHOTOS
        + """
def lacking(path):
    found = photos_without_cameras(Path(path))
    return None if found is None else found.name
seen["folder"], seen["photo"] = lacking(folder), lacking(folder / "IMG_1.png")
seen["import"] = refused(lambda: bpy.ops.sa3d.import_capture(filepath=str(folder)))
(folder.parent / "film.mp4").write_bytes(b"")
seen["video"] = lacking(folder.parent / "film.mp4")
seen["missing"] = refused(lambda: bpy.ops.sa3d.find_poses(filepath=str(folder / "no")))
(folder / "cameras.json").write_text("{}")
seen["with cameras"] = lacking(folder)
(folder / "cameras.json").unlink()
(folder / "IMG_1.xmp").write_text('<x:xmpmeta xmlns:crs="http://ns.adobe.com/camera-raw-settings/1.0/"/>')
seen["with an editor's notes"] = lacking(folder)
(folder / "IMG_1.xmp").write_text('<x:xmpmeta xmlns:xcr="http://www.capturingreality.com/ns/xcr/1.1#"/>')
seen["with sidecars"] = lacking(folder)
(folder / "IMG_1.xmp").unlink()
(folder.parent / "sparse").mkdir()
seen["beside a model"] = lacking(folder)
seen["asked"] = len(asked)
"""
    )
    assert seen["folder"] == seen["photo"] == "walk" and seen["video"] == "film.mp4"
    assert "has no cameras" in seen["import"] and "isn't there" in seen["missing"]
    assert seen["with an editor's notes"] == "walk" and seen["with sidecars"] is None
    assert seen["with cameras"] is None and seen["beside a model"] is None and seen["asked"] == 0
