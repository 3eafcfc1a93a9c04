"""`sa3d serve`: the engine as a process that reads requests on standard input and answers on standard output."""

from __future__ import annotations

from engine.cli_options import CacheDir, Device
from engine.server_start import claim


def serve(device: Device = "auto", cache: CacheDir = None) -> None:
    """Serves frames on standard input and output, for the Blender add-on (docs/protocol.md). Ends with its input."""
    from engine.server import main

    words = ["--device", device] + ([] if cache is None else ["--cache", str(cache)])
    main(*claim(), words)
