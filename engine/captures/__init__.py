"""Captures: photos with cameras, read from the formats people have them in."""
