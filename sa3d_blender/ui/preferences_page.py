"""The add-on's page in Blender's preferences: the engine, its weights, its cache, the keys."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Any

import bpy

from .. import engine_facts, installing, link
from ..client.installed import Installed, look
from ..operators.engine import OFFLINE
from ..scene.straight_copies import MOST_BYTES, bytes_of_copies
from .jobs_panel import RESTART

__all__ = ["draw_page"]

FOR_TEXT = ", for text prompts"
NOTICED = {"outdated": "The add-on has changed what it needs: repair the engine", "broken": "The engine is damaged"}


def draw_page(page: Any, context: Any, folder: Path, differs: bool) -> None:
    """Draws the page.

    Args:
        page: the preferences. folder: where the engine is, or would be installed. differs: whether the engine that
        runs was started with other settings than those that are shown.
    """
    layout = page.layout
    layout.row().prop(page, "page", expand=True)
    layout.use_property_split = True
    layout.use_property_decorate = False
    if page.page == "ENGINE":
        _draw_engine(layout, context, page, folder, differs)
    else:
        {"WEIGHTS": _draw_weights, "CACHE": _draw_cache, "KEYMAP": _draw_keymap}[page.page](layout, context, page)


def _draw_engine(layout: Any, context: Any, page: Any, folder: Path, differs: bool) -> None:
    column = layout.column()
    column.row().prop(page, "engine", expand=True)
    if page.engine == "MANAGED":
        _draw_managed(column, context, page, look(folder))
    elif page.engine == "PYTHON":
        column.prop(page, "python")
    else:
        column.prop(page, "command", placeholder="ssh gpubox sa3d serve")
    layout.separator(type="LINE")
    column = layout.column()
    column.prop(page, "device")
    column.prop(page, "segmenter")
    column.prop(page, "mask_opacity", slider=True)
    layout.separator(type="LINE")
    _draw_test(layout, context, differs)


def _draw_managed(layout: Any, context: Any, page: Any, found: Installed) -> None:
    layout.prop(page, "folder")
    absent = found.state == "absent"
    if found.state != "ready" and not installing.busy():
        layout.prop(page, "torch_build")
        row = layout.row()
        row.use_property_split = False
        row.alignment = "LEFT"
        icon = "DOWNARROW_HLT" if page.show_more else "RIGHTARROW"
        row.prop(page, "show_more", icon=icon, emboss=False)
        if page.show_more:
            layout.prop(page, "base_python", placeholder="Found by itself")
            layout.prop(page, "package_index", placeholder="As pip is set up")
    box = layout.box()
    going = installing.step()
    if going is not None:
        column = box.column()
        column.label(text=installing.title(), icon="IMPORT")
        row = column.row(align=True)
        row.progress(factor=going.fraction, type="BAR", text=_words(going))
        row.operator("sa3d.cancel_install", text="", icon="X")
        return
    fault = installing.fault()
    if fault is not None:
        _say(box, context, "ERROR", f"{fault.what} {fault.cure}")
    row = box.row()
    if absent:
        row.label(text="No engine is installed", icon="INFO")
        row.operator("sa3d.install_engine", text="Install Engine...", icon="IMPORT")
    else:
        note = found.note
        versions = note.get("versions", {})
        text = (
            NOTICED.get(found.state) or f"Installed: Torch {versions.get('torch', '')}, {_size(note.get('bytes', 0))}"
        )
        row.label(text=text, icon="CHECKMARK" if found.state == "ready" else "ERROR")
        side = row.row(align=True)
        side.operator("sa3d.repair_engine", text="Repair...", icon="FILE_REFRESH")
        side.operator("sa3d.remove_engine", text="", icon="TRASH")
    if fault is not None and installing.log_lines():
        box.row().operator("sa3d.install_log", icon="COPYDOWN")
    elif not bpy.app.online_access and found.state != "ready":
        _say(box, context, "INTERNET_OFFLINE", OFFLINE)


def _draw_test(layout: Any, context: Any, differs: bool) -> None:
    facts, session_state = engine_facts.facts, link.state()
    row = layout.row()
    if facts.state == "starting":
        row.label(text="The engine is starting...", icon="TIME")
    elif facts.state == "bad":
        row.label(text="Something is wrong", icon="ERROR")
    elif session_state == "ready":
        row.label(text="The engine runs", icon="CHECKMARK")
    elif session_state == "dead":
        row.label(text="The engine has stopped", icon="ERROR")
    else:
        row.label(text="It starts when it is needed", icon="BLANK1")
    row.operator("sa3d.test_engine", icon="PLAY")
    if differs:
        row = layout.row()
        row.label(text="It was started with other settings than these", icon="INFO")
        row.operator(RESTART[0], icon=RESTART[1])
    for what, cure in facts.trouble:
        _say(layout.box(), context, "ERROR", f"{what} {cure}")
    about = link.capabilities()
    if about is None or session_state != "ready":
        return
    grid = layout.column(align=True)
    for name, value in _account(about, facts.seconds):
        split = grid.split(factor=0.4)
        left = split.row()
        left.alignment = "RIGHT"
        left.label(text=name)
        split.label(text=value)


def _account(about: Any, seconds: float | None) -> list[tuple[str, str]]:
    """What the engine said of itself, as (name, value)."""
    versions, device = about.get("versions", {}), about.get("device", {})
    ready = [each["name"] for each in about.get("segmenters", []) if each.get("ready")]
    found = [
        ("Engine", f"{versions.get('sa3d', '')} with Torch {versions.get('torch', '')}"),
        ("Computes On", device.get("words") or device.get("error", "")),
        ("Segmenters", ", ".join(ready)),
    ]
    return found + ([("Started In", f"{seconds:.1f} s")] if seconds is not None else [])


def _draw_weights(layout: Any, context: Any, _page: Any) -> None:
    facts = engine_facts.facts
    if not _draw_known(layout, context, facts.weights is not None):
        return
    assert facts.weights is not None
    texts = [each for each in facts.weights if each["about"].endswith(FOR_TEXT)]
    _draw_list(layout, "Segmenters", [each for each in facts.weights if each not in texts])
    _draw_list(layout, "Text Prompts", texts)
    _say(layout, context, "INFO", "ClickNet and Graph Cut come with the add-on. Others are downloaded when you say so")
    if not bpy.app.online_access:
        _say(layout, context, "INTERNET_OFFLINE", OFFLINE)


def _draw_list(layout: Any, title: str, weights: list[Any]) -> None:
    facts = engine_facts.facts
    if not weights:
        return
    column = layout.column()
    column.label(text=title)
    for each in weights:
        name = each["name"]
        split = column.split(factor=0.42)
        about = each["about"].removesuffix(FOR_TEXT) or name
        split.label(text=about, icon="CHECKMARK" if _ready(each) else "BLANK1")
        side = split.row()
        told = facts.told.get(name)
        if name in facts.getting:
            factor = told.fraction if told is not None else 0.0
            side.progress(factor=factor, type="BAR", text=f"{100 * factor:.0f} %" if told is not None else "Waiting")
            side.operator("sa3d.cancel_weights", text="", icon="X").name = name
            continue
        side = side.split(factor=0.26)
        side.label(text=_size(each["size"]))
        side = side.split(factor=0.5)
        side.label(text=each["licence"])
        if _ready(each):
            side.operator("sa3d.remove_weights", text="Remove", icon="TRASH").name = name
        else:
            text = "Go On" if each["state"] == "partial" else "Get"
            side.operator("sa3d.get_weights", text=text, icon="IMPORT").name = name


def _draw_cache(layout: Any, context: Any, page: Any) -> None:
    facts = engine_facts.facts
    layout.prop(page, "cache_folder", placeholder="The engine's usual place")
    copies = bytes_of_copies()
    if copies:
        row = layout.row()
        row.label(text=f"Straightened photos, at most {_size(MOST_BYTES)}", icon="IMAGE_DATA")
        row.label(text=_size(copies))
        row.operator("sa3d.clear_straight_photos", text="Clear", icon="TRASH")
    if not _draw_known(layout, context, facts.cache is not None):
        return
    assert facts.cache is not None
    row = layout.row()
    row.label(text=f"{facts.cache.get('folder', '')}", icon="FILE_FOLDER")
    row.label(text=_size(facts.cache.get("bytes", 0)))
    row.operator("sa3d.clear_cache", icon="TRASH")


def _draw_known(layout: Any, context: Any, known: bool) -> bool:
    """Whether the engine has said it; if not, how to have it say so."""
    facts = engine_facts.facts
    if facts.failed is not None:
        _say(layout.box(), context, "ERROR", f"{facts.failed.what} {facts.failed.cure}")
    if known:
        return True
    row = layout.row()
    if link.state() == "starting" or (link.state() == "ready" and facts.failed is None and facts.state == "starting"):
        row.label(text="The engine is starting...", icon="TIME")
    else:
        row.label(text="The engine knows", icon="QUESTION")
        row.operator("sa3d.refresh_storage", text="Ask It", icon="PLAY")
    return False


def _draw_keymap(layout: Any, context: Any, _page: Any) -> None:
    import rna_keymap_ui

    keyconfig = context.window_manager.keyconfigs.user
    layout.use_property_split = False
    column = layout.column()
    for keymap in keyconfig.keymaps:
        items = [item for item in keymap.keymap_items if item.idname.startswith("sa3d.")]
        if not items:
            continue
        column.label(text=keymap.name.replace("3D View Tool: Object, ", "").removesuffix(" (fallback)"))
        for item in items:
            column.context_pointer_set("keymap", keymap)
            rna_keymap_ui.draw_kmi(["ADDON", "USER", "DEFAULT"], keyconfig, keymap, item, column, 0)


def _ready(weights: Any) -> bool:
    return weights["state"] in ("verified", "unverified")


def _words(step: Any) -> str:
    """What stands on the bar."""
    said = step.stage
    if step.total_bytes:
        said += f" {_size(step.done_bytes)} of {_size(step.total_bytes)}"
    elif step.detail:
        said += f" {step.detail}"
    if step.seconds_left is not None:
        left = step.seconds_left
        said += f", {left:.0f} s left" if left < 90 else f", {left / 60:.0f} min left"
    return said


def _size(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"


def _say(layout: Any, context: Any, icon: str, text: str) -> None:
    """Sentences on as many lines as they need."""
    region = context.region
    wide = 80 if region is None else max(30, int(region.width / (7.5 * context.preferences.system.ui_scale)) - 12)
    column = layout.column(align=True)
    column.scale_y = 0.8
    for line in textwrap.wrap(text, wide):
        column.label(text=line, icon=icon)
        icon = "BLANK1"
