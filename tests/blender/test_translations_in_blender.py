"""The add-on speaks the language that Blender is set to."""

from __future__ import annotations

import pytest


def test_german_is_spoken_and_english_again_when_the_add_on_is_gone(in_blender):
    seen = in_blender(
        """
view = bpy.context.preferences.view
seen["there"] = "de_DE" in bpy.app.translations.locales
if seen["there"]:
    view.language = "de_DE"
    view.use_translate_interface = view.use_translate_tooltips = True
    say = bpy.app.translations
    seen["said"] = [say.pgettext_iface("Mark Point", "Operator"), say.pgettext_iface("Finding the mask"),
                    say.pgettext_tip("Remove the selected prompt")]
    addon_utils.disable("bl_ext.user_default.sa3d")
    seen["gone"] = say.pgettext_iface("Finding the mask")
"""
    )
    if not seen["there"]:
        pytest.skip("this bpy was built without languages")
    assert seen["said"] == ["Punkt setzen", "Die Maske wird gesucht", "Den ausgewählten Hinweis entfernen"]
    assert seen["gone"] == "Finding the mask"
