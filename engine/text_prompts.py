"""Words in a view become a box in it: what the detector finds, which of it is taken, and what is told about that."""

from __future__ import annotations

from dataclasses import replace

from engine.cache import Cache
from engine.captures.capture import View
from engine.devices import pick_device
from engine.options import Options
from engine.photo_copies import PhotoCopies
from engine.progress import Job
from engine.prompts import UserPrompt
from engine.segmenters.text import Hit, choose_hit, make_detector
from engine.workspace import over_white, working_photo

DETECTOR_SIDE = 1333  # pixels of a photo's longer side, more than which the detector doesn't look at


def with_box(prompt: UserPrompt, view: View, options: Options, job: Job) -> UserPrompt:
    """A prompt whose words have become a box, with everything that was found; any other prompt as it is.

    Args:
        view: as stored; boxes are in its pixels.

    Raises:
        PromptError: nothing looks like the words, or less than the number of the hit that is asked for.
        EnvironmentFault, SegmenterError, StorageError: there is no detector, or it fails.
    """
    text = prompt.text
    if text is None or prompt.box is not None:
        return prompt
    with job.stage("Loading the text detector"):
        device = pick_device(options.device).type
        detector = make_detector(text.detector, device, options.cache, job.log, job.check)
    with job.stage("Looking for the words") as stage:
        _, image = working_photo(view, DETECTOR_SIDE, PhotoCopies(Cache(options.cache), job.log))
        found = detector.find(over_white(image), text.words, text.box_threshold, text.text_threshold, stage.at)
        across, down = view.camera.width / image.shape[1], view.camera.height / image.shape[0]
        hits = tuple(replace(hit, box_px=_scaled(hit, across, down)) for hit in found)
    taken = choose_hit(text, hits, view.name)
    job.log(f'Found for "{text.words.strip()}" in {view.name}:')
    for number, hit in enumerate(hits, 1):
        box = ",".join(f"{value:.0f}" for value in hit.box_px)
        note = " <- taken" if hit is taken else f" (--hit {number} takes this one)"
        job.log(f"  {number}. {hit.words}, score {hit.score:.2f}, box {box}{note}")
    return replace(prompt, box=taken.box_px, text=replace(text, hits=hits))


def _scaled(hit: Hit, across: float, down: float) -> tuple[float, float, float, float]:
    x0, y0, x1, y1 = hit.box_px
    return x0 * across, y0 * down, x1 * across, y1 * down
