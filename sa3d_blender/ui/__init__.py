"""Panels, lists and hints: drawing only, no logic."""
