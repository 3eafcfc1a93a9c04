"""PNG files without the notes that Blender leaves in them: the same picture then is the same file every time."""

from __future__ import annotations

import os
import struct
from pathlib import Path

__all__ = ["strip_notes"]

SIGNATURE = b"\x89PNG\r\n\x1a\n"
NOTES = {b"tEXt", b"zTXt", b"iTXt", b"tIME", b"eXIf"}


def strip_notes(path: Path) -> None:
    """Takes date, render time and other texts out of a PNG; its pixels, resolution and colours stay as they are.

    Captures are known by their content, so a date in a photo would make each rendering another capture.
    Raises ValueError for what is no whole PNG. Format: W3C Portable Network Graphics, sections 5.3 and 11.3.
    """
    data = path.read_bytes()
    if not data.startswith(SIGNATURE):
        raise ValueError(f"{path.name} is not a PNG file")
    kept, at, kind = [SIGNATURE], len(SIGNATURE), b""
    while kind != b"IEND":
        head = data[at : at + 8]
        if len(head) < 8:
            raise ValueError(f"{path.name} ends too early")
        length, kind = struct.unpack(">I4s", head)
        end = at + 12 + length  # length, kind, content, checksum
        if end > len(data):
            raise ValueError(f"{path.name} ends too early")
        if kind not in NOTES:
            kept.append(data[at:end])
        at = end
    part = path.with_name(path.name + ".part")
    part.write_bytes(b"".join(kept))
    os.replace(part, path)
