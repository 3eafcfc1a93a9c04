"""Quads over a result by Blender's own remesher: a copy that is the artist's, with the original hidden and whole."""

from __future__ import annotations

import pytest

# A result with enough of a surface: the engine's box, replaced by a finely divided ball with red and blue halves.
BALL = """
bpy.ops.sa3d.add_click(place=(0.5, 0.5))
bpy.ops.sa3d.segment()
finish()
made = made_of()
import bmesh
fine = bmesh.new()
bmesh.ops.create_icosphere(fine, subdivisions=4, radius=0.5)
fine.to_mesh(made.data)
fine.free()
if "Color" in made.data.color_attributes:
    made.data.color_attributes.remove(made.data.color_attributes["Color"])
paint = made.data.color_attributes.new("Color", "FLOAT_COLOR", "POINT")
for vertex, value in zip(made.data.vertices, paint.data):
    value.color = (1, 0, 0, 1) if vertex.co.x > 0 else (0, 0, 1, 1)
made.data.uv_layers.new(name="UVMap")
made.location = (3, 2, 1)
made.modifiers.new("Mine", "SUBSURF")
bpy.context.view_layer.update()
before = len(made.data.polygons), len(made.modifiers)
"""


def test_a_result_gets_quads_in_its_colours_and_is_kept(jobs):
    seen = jobs(
        BALL
        + """
seen["done"] = sorted(bpy.ops.sa3d.quad_remesh(faces=600))
quads = made_of("Object Quads")
bpy.context.view_layer.update()
seen["faces"] = len(quads.data.polygons), sum(len(face.vertices) == 4 for face in quads.data.polygons)
seen["extent"] = extent(quads)
colours = quads.data.color_attributes["Color"].data
wrong = [i for i, v in enumerate(quads.data.vertices)
         if abs(v.co.x) > 0.1 and (colours[i].color[0] > 0.5) != (v.co.x > 0)]
seen["wrong"] = len(wrong), len(quads.data.vertices)
seen["material"] = [m.name for m in quads.data.materials], len(quads.data.uv_layers), len(quads.modifiers)
seen["own"] = [key for key in ("sa3d_object_uid", "sa3d_capture_uid", "sa3d_self") if key in quads]
seen["original"] = (made.hide_get(), made.hide_render, (len(made.data.polygons), len(made.modifiers)) == before,
                    len(made.data.uv_layers), "sa3d_object_uid" in made)
seen["active"] = bpy.context.view_layer.objects.active.name, [o.name for o in bpy.context.selected_objects]
from bl_ext.user_default.sa3d.sa3d_blender.operators.results import result_of
seen["result"] = result_of(bpy.context).name
"""
    )
    assert seen["done"] == ["FINISHED"]
    faces, quads = seen["faces"]
    assert 300 < faces < 1200 and quads == faces
    assert seen["extent"][0] == pytest.approx([2.5, 1.5, 0.5], abs=0.03)
    assert seen["extent"][1] == pytest.approx([3.5, 2.5, 1.5], abs=0.03)
    wrong, vertices = seen["wrong"]
    assert vertices > 300 and wrong == 0
    assert seen["material"] == [["SA3D Vertex Colours"], 0, 0] and seen["own"] == []
    assert seen["original"] == [True, True, True, 1, True]
    assert seen["active"] == ["Object Quads", ["Object Quads"]]
    assert seen["result"] == "Object"  # the capture's mesh is what it was


def test_it_is_one_step_of_undo(jobs):
    seen = jobs(
        BALL
        + """
bpy.ops.ed.undo_push(message="before")
bpy.ops.sa3d.quad_remesh("EXEC_DEFAULT", True, faces=300)
seen["there"] = "Object Quads" in bpy.data.objects
bpy.ops.ed.undo()
seen["undone"] = "Object Quads" in bpy.data.objects, bpy.data.objects["Object"].hide_get()
"""
    )
    assert seen["there"] and seen["undone"] == [False, False]


def test_what_can_not_be_remeshed_is_told_and_leaves_everything_as_it_was(jobs):
    seen = jobs(
        BALL
        + """
bpy.ops.sa3d.select_result()
cut = bmesh.new()
cut.from_mesh(made.data)
edge = cut.edges[:][-1]
for height in (1, 2, 3):  # five faces at one edge
    cut.faces.new((*edge.verts, cut.verts.new((0, 0, height))))
cut.to_mesh(made.data)
cut.free()
seen["refused"] = refused(lambda: bpy.ops.sa3d.quad_remesh(faces=300))
seen["objects"] = sorted(o.name for o in bpy.data.objects if o.type == "MESH" and o.name.startswith("Object"))
seen["meshes"] = sorted(m.name for m in bpy.data.meshes if "Quads" in m.name)
seen["shown"] = made.hide_get(), bpy.context.view_layer.objects.active.name, made.select_get()
"""
    )
    assert seen["refused"] == ["CANCELLED"] and seen["objects"] == ["Object"] and seen["meshes"] == []
    assert seen["shown"] == [False, "Object", True]


def test_it_waits_for_jobs_and_for_a_good_mesh(jobs):
    seen = jobs(
        BALL
        + """
made["sa3d_draft"] = True
seen["draft"] = refused(bpy.ops.sa3d.quad_remesh)
del made["sa3d_draft"]
held = []
plays["segment"] = lambda request, engine: held.append((request, engine))
bpy.ops.sa3d.segment()
pump_until(lambda: held)
seen["job"] = refused(bpy.ops.sa3d.quad_remesh)
segment(*held[0])
finish()
bpy.ops.sa3d.remove_from_capture()
seen["none"] = refused(bpy.ops.sa3d.quad_remesh)
"""
    )
    assert "press Apply first" in seen["draft"]
    assert "being worked on" in seen["job"]
    assert "press Segment" in seen["none"]
