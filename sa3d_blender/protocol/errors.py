"""Errors that reach a person: what happened, and what to do about it.

    Sa3dError
    ├── CaptureError      a capture can't be read as it is
    ├── FieldError        a radiance field can't be trained, saved or loaded
    ├── PromptError       a prompt names no view, no pixel or nothing at all
    ├── SegmenterError    a 2D segmenter is unknown, has no weights, or failed
    ├── LiftingError      the masks do not meet in 3D
    ├── MeshError         there is no surface to extract or a mesh can't be written
    ├── StorageError      a cache, result or weights file can't be written or is damaged
    ├── EnvironmentFault  something that has to be installed is missing
    └── Cancelled         the user stopped the job; nothing is wrong

Each carries a ``code`` that programs may compare, ``what`` (one sentence) and
``cure`` (one sentence that says what to do).
"""

from __future__ import annotations

__all__ = [
    "Cancelled",
    "CaptureError",
    "EnvironmentFault",
    "FieldError",
    "LiftingError",
    "MeshError",
    "PromptError",
    "Sa3dError",
    "SegmenterError",
    "StorageError",
]


class Sa3dError(Exception):
    """Base of every error that is shown to a person.

    ``what`` says what happened and where, ``cure`` what to do about it.
    """

    code = "error"

    def __init__(self, what: str, cure: str = "") -> None:
        self.what = what.strip()
        self.cure = cure.strip()
        super().__init__(f"{self.what} {self.cure}".strip())


class CaptureError(Sa3dError):
    """A capture can't be read as it is."""

    code = "capture"


class FieldError(Sa3dError):
    """A radiance field can't be trained, saved or loaded."""

    code = "field"


class PromptError(Sa3dError):
    """A prompt names no view, no pixel or nothing at all."""

    code = "prompt"


class SegmenterError(Sa3dError):
    """A 2D segmenter is unknown, has no weights, or failed."""

    code = "segmenter"


class LiftingError(Sa3dError):
    """The masks do not meet in 3D."""

    code = "lifting"


class MeshError(Sa3dError):
    """There is no surface to extract, or a mesh can't be written."""

    code = "mesh"


class StorageError(Sa3dError):
    """A cache, result or weights file can't be written or is damaged."""

    code = "storage"


class EnvironmentFault(Sa3dError):
    """Something that has to be installed is missing."""

    code = "environment"


class Cancelled(Sa3dError):
    """The user stopped the job; nothing is wrong."""

    code = "cancelled"
