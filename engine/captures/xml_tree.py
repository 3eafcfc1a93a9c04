"""XML from strangers: no document types, no entities, no more elements than a file of cameras has."""

from __future__ import annotations

from pathlib import Path
from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers import expat

from engine.captures.validate import limited_size
from sa3d_blender.protocol.errors import CaptureError

__all__ = ["read_xml"]

MAX_ELEMENTS, MAX_DEPTH = 2_000_000, 100


class _Refused(Exception):
    """What the file holds is nothing that a file of cameras has; the text says what."""


def read_xml(path: Path) -> Element:
    """The root element of the file. Raises CaptureError where it is no XML, is too large, or declares entities."""
    limited_size(path)
    builder, parser = TreeBuilder(), expat.ParserCreate()
    depth = count = 0

    def start(name: str, attributes: dict[str, str]) -> None:
        nonlocal depth, count
        depth, count = depth + 1, count + 1
        if depth > MAX_DEPTH or count > MAX_ELEMENTS:
            raise _Refused("it is nested too deeply or has too many elements")
        builder.start(name, attributes)

    def end(name: str) -> None:
        nonlocal depth
        depth -= 1
        builder.end(name)

    def refuse(*_: object) -> None:
        raise _Refused("it declares a document type, which may hide anything")

    parser.StartElementHandler, parser.EndElementHandler = start, end
    parser.CharacterDataHandler = builder.data
    parser.StartDoctypeDeclHandler = parser.EntityDeclHandler = refuse
    parser.ExternalEntityRefHandler = refuse
    cure = "Export the cameras again."
    try:
        with path.open("rb") as file:
            parser.ParseFile(file)
        return builder.close()
    except _Refused as reason:
        raise CaptureError(f"{path.name} is not read: {reason}.", cure) from reason
    except OSError as error:
        raise CaptureError(f"{path.name} can't be read: {error.strerror or error}.", cure) from error
    except (expat.ExpatError, ValueError, LookupError, AssertionError, TypeError) as error:
        raise CaptureError(f"{path.name} is not valid XML.", cure) from error
