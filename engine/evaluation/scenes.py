"""From tasks to what can be carried: the capture's field is opened once for all its tasks, prompts become masks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby

from engine.evaluation.masks import given_seed
from engine.evaluation.tasks import Task
from engine.lifting.lifted import Seed
from engine.options import Options, SegmentOptions
from engine.progress import Job
from engine.prompted_view import first_seed
from engine.prompts import UserPrompt
from engine.segmenters.base import Segmenter
from engine.train import open_workspace
from engine.workspace import Workspace


def scenes(
    tasks: Sequence[Task], request: SegmentOptions, options: Options, job: Job
) -> Iterator[tuple[Workspace, list[Task]]]:
    """Each capture's workspace, ready for use, and the tasks on it.

    The field is found in the cache or trained. Tasks on the same capture have to follow each other.
    """
    for _, group in groupby(tasks, key=lambda task: id(task.capture)):
        here = list(group)
        workspace, _ = open_workspace(here[0].capture, options, request, job)
        workspace.prepare(job)
        yield workspace, here


def seed_of(workspace: Workspace, task: Task, segmenter: Segmenter) -> Seed:
    """The mask that is given, or what the segmenter makes of the points that are, just as for a user.

    Raises:
        PromptError: the segmenter finds nothing at the points.
    """
    if task.prompt_mask is not None:
        return given_seed(workspace, task)
    return first_seed(workspace, UserPrompt(task.reference, task.points), segmenter, 0)
