"""Words to boxes: Grounding DINO, through transformers, from a folder on this machine and never from the network."""

from __future__ import annotations

import importlib.util
import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError

from engine.segmenters.torchvision_ops import ensure_torchvision_imports
from engine.segmenters.weights import DETECTORS, find_weights, verify_weights
from sa3d_blender.protocol.errors import EnvironmentFault, PromptError, SegmenterError

__all__ = [
    "BOX_THRESHOLD",
    "TEXT_THRESHOLD",
    "Hit",
    "TextDetector",
    "TextPrompt",
    "choose_hit",
    "load_detector",
    "load_transformers",
    "make_detector",
    "phrase_for_detector",
]

# The defaults of Grounding DINO's authors, which the paper uses too.
BOX_THRESHOLD = 0.35
TEXT_THRESHOLD = 0.25
# Boxes that overlap more are one object found twice: of two real objects, one hides too little of the other.
_SAME_OBJECT_IOU = 0.8
_FILES = ("config.json", "preprocessor_config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors")
_OTHER_WORDS = "Try other or plainer words, lower --box-threshold, or click the object instead."


@dataclass(frozen=True)
class Hit:
    """Something that the words may mean: ``box_px`` (x0, y0, x1, y1), the detector's score, the words that it fits."""

    box_px: tuple[float, float, float, float]
    score: float
    words: str


@dataclass(frozen=True)
class TextPrompt:
    """Words for the object. ``hit`` counts from 1, the best; ``hits`` is what was found, in pixels of the photo.

    ``box_threshold`` is the least score of a hit, ``text_threshold`` that of a word in it. ``detector`` is one of the
    table's, a folder with a model of the same kind, or "auto".
    """

    words: str
    hit: int = 1
    box_threshold: float = BOX_THRESHOLD
    text_threshold: float = TEXT_THRESHOLD
    detector: str = "auto"
    hits: tuple[Hit, ...] = ()


class TextDetector:
    """Grounding DINO behind one method."""

    def __init__(self, name: str, model: Any, image_processor: Any, tokenizer: Any, device: str = "cpu") -> None:
        """``model``: a GroundingDinoForObjectDetection; the processor and tokenizer that belong to it."""
        from transformers import GroundingDinoProcessor

        self.name, self.device = name, device
        self._model = model.to(device).eval()
        self._processor = GroundingDinoProcessor(image_processor, tokenizer)
        # Tokens that are no words: those of the model, and what divides phrases.
        self._signs = {*tokenizer.all_special_ids, *tokenizer.convert_tokens_to_ids([".", "?"])}

    def find(
        self,
        rgb: np.ndarray,
        words: str,
        box_threshold: float = BOX_THRESHOLD,
        text_threshold: float = TEXT_THRESHOLD,
        step: Callable[[float], None] = lambda share: None,
    ) -> tuple[Hit, ...]:
        """What ``words`` may mean in the photo ``rgb`` (float [H, W, 3] in [0, 1]), the best first; () for nothing.

        Boxes are in pixels of ``rgb``, within it. A hit scores above ``box_threshold`` and fits at least one word
        above ``text_threshold``; the same object found twice counts once. ``step`` is told the share that is done,
        hundreds of times on the way, and may raise to stop. Raises PromptError for words that say nothing to the
        detector, SegmenterError where it fails.
        """
        for name, value in (("box", box_threshold), ("text", text_threshold)):
            if not 0 <= value < 1:
                raise PromptError(f"The {name} threshold is {value:g}.", "Give one from 0 to below 1.")
        height, width = rgb.shape[:2]
        pixels = np.round(np.clip(rgb, 0, 1) * 255).astype(np.uint8)
        phrase = self._checked_phrase(words)
        try:
            inputs = self._processor(
                images=pixels, text=phrase, return_tensors="pt", input_data_format="channels_last"
            ).to(self.device)
            with torch.inference_mode(), _watched(self._model, step):
                found = self._model(**inputs)
        except (RuntimeError, MemoryError) as error:
            raise SegmenterError(
                f"The detector {self.name} failed on {self.device}: {(str(error) or 'memory').splitlines()[0]}",
                "Try --device cpu or a smaller detector, or click the object instead.",
            ) from error
        if not torch.isfinite(found.pred_boxes).all() or torch.isnan(found.logits).any():
            raise SegmenterError(
                f"The detector {self.name} answered with values that are no numbers.",
                "Get its weights again, or click the object instead.",
            )
        scores = torch.sigmoid(found.logits[0].float()).cpu()  # [queries, tokens], 0 beyond the last token
        centres, sizes = found.pred_boxes[0].float().cpu().split(2, dim=-1)  # in shares of the photo
        boxes = torch.cat([centres - sizes / 2, centres + sizes / 2], -1).clamp(0, 1).numpy()
        boxes *= np.array([width, height, width, height], np.float32)
        ids = inputs["input_ids"][0].tolist()
        hits = []
        for box, score in zip(boxes, scores, strict=True):
            fitting = [token for token, value in zip(ids, score.tolist(), strict=False) if value > text_threshold]
            label = self._processor.tokenizer.decode([t for t in fitting if t not in self._signs])
            x0, y0, x1, y1 = (float(value) for value in box)
            if float(score.max()) > box_threshold and label and x1 - x0 >= 1 and y1 - y0 >= 1:
                hits.append(Hit((x0, y0, x1, y1), float(score.max()), label))
        return _without_repeats(sorted(hits, key=lambda hit: -hit.score))

    def _checked_phrase(self, words: str) -> str:
        phrase = phrase_for_detector(words)
        tokenizer = self._processor.tokenizer
        ids = tokenizer(phrase)["input_ids"]
        longest = self._model.config.max_text_len
        if len(ids) > longest:
            raise PromptError(f"The words take {len(ids)} of at most {longest} tokens.", "Say it in fewer words.")
        if not set(ids) - self._signs:
            raise PromptError(f'The detector knows no word of "{words.strip()}".', "Use English words.")
        return phrase


@contextmanager
def _watched(model: torch.nn.Module, step: Callable[[float], None]) -> Iterator[None]:
    """Calls ``step`` with the share of the model's smallest modules that have run, before each of them runs."""
    leaves = [module for module in model.modules() if not list(module.children())]
    done = 0

    def before(*_: object) -> None:
        nonlocal done
        step(min(1.0, done / len(leaves)))
        done += 1

    hooks = [leaf.register_forward_pre_hook(before) for leaf in leaves]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def phrase_for_detector(words: str) -> str:
    """``words`` as the detector was trained to read them: lower case, one space between, a full stop at the end.

    Raises PromptError where there are none.
    """
    phrase = re.sub(r"\s+", " ", words).strip().lower().rstrip(". ")
    if not re.search(r"\w", phrase):
        raise PromptError("The text prompt holds no word.", 'Name the object, as in --text "the mug".')
    return phrase + "."


def choose_hit(prompt: TextPrompt, hits: Sequence[Hit], view: str) -> Hit:
    """The hit that the prompt asks for. Raises PromptError where nothing was found, or fewer than the number asked."""
    words = prompt.words.strip()
    if not hits:
        raise PromptError(
            f'Nothing in {view} looks like "{words}" (scores above {prompt.box_threshold:g}).', _OTHER_WORDS
        )
    if not 1 <= prompt.hit <= len(hits):
        raise PromptError(
            f'There is no hit {prompt.hit} for "{words}" in {view}: {len(hits)} found.',
            f"Give --hit from 1 to {len(hits)}.",
        )
    return hits[prompt.hit - 1]


def make_detector(
    name: str = "auto",
    device: str = "cpu",
    cache_dir: Path | None = None,
    log: Callable[[str], None] = lambda line: None,
    tick: Callable[[], None] = lambda: None,
) -> TextDetector:
    """The detector ``name``: one of the table's, a folder, or "auto" for the first of the table that is there.

    Listed weights are verified before they are read; ``tick`` is called meanwhile and may raise. Nothing is
    downloaded. Raises EnvironmentFault without transformers, SegmenterError without weights, StorageError for damaged
    ones.
    """
    load_transformers()  # said first: weights are of no use without it
    if name not in ("auto", *DETECTORS):
        folder = Path(name)
        if not folder.is_dir():
            raise SegmenterError(
                f'There is no detector called "{name}", and no folder of that name.',
                f"Choose one of: {', '.join(DETECTORS)}; or give the folder of a Grounding DINO.",
            )
        log(f"Text detector: {folder}, which is not a listed one.")
        return load_detector(folder, device)
    for candidate in DETECTORS if name == "auto" else (name,):
        found = find_weights(candidate, cache_dir=cache_dir)
        if found is not None:
            verify_weights(candidate, found, cache_dir, tick=tick)
            log(f"Text detector: {candidate}.")
            return load_detector(found, device, candidate)
    wanted = next(iter(DETECTORS)) if name == "auto" else name
    raise SegmenterError(
        f"There are no weights for text prompts{'' if name == 'auto' else f' ({name})'}.",
        f"Run `sa3d weights get {wanted}` ({DETECTORS[wanted].size / 1e6:.0f} MB), or click the object instead.",
    )


def load_transformers() -> Any:
    """The package transformers, told to stay off the network. Raises EnvironmentFault where it isn't installed."""
    # Read when the package is imported. Whatever is loaded below is a folder besides, never a name on the hub.
    for switch in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_HUB_DISABLE_TELEMETRY", "DO_NOT_TRACK"):
        os.environ[switch] = "1"
    os.environ["USE_HUB_KERNELS"] = "NO"  # or compiled code would be looked for on the hub
    if importlib.util.find_spec("torchvision") is not None:
        ensure_torchvision_imports()  # transformers imports it where it is installed, whole or not
    try:
        import transformers
        from transformers import GroundingDinoForObjectDetection  # noqa: F401 (fails where torch is too old for it)
    except ImportError as error:
        raise EnvironmentFault(
            "The package transformers, which text prompts need, is not installed or too old.",
            "Run `pip install 'sa3d-blender[text]'` in the engine's Python, or click the object instead.",
        ) from error
    transformers.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity_error()
    return transformers


def load_detector(folder: Path, device: str = "cpu", name: str | None = None) -> TextDetector:
    """The Grounding DINO that ``folder`` holds, as `save_pretrained` and the Hugging Face hub lay it out.

    Weights are read from safetensors only and code from the installed package only. Raises EnvironmentFault without
    transformers, SegmenterError where files are missing, damaged, or of another model.
    """
    folder = Path(folder)
    lacking = [each for each in _FILES if not (folder / each).is_file()]
    if lacking:
        raise SegmenterError(
            f"The folder {folder} holds no Grounding DINO: {lacking[0]} is missing.",
            f"Run `sa3d weights get {next(iter(DETECTORS))}`, or give the folder of a downloaded model.",
        )
    transformers = load_transformers()
    here = {"local_files_only": True}
    try:
        # Pillow's way of resizing: the other one needs torchvision's compiled part.
        image_processor = transformers.GroundingDinoImageProcessorPil.from_pretrained(str(folder), **here)
        tokenizer = transformers.BertTokenizer.from_pretrained(str(folder), **here)
        model, loaded = transformers.GroundingDinoForObjectDetection.from_pretrained(
            str(folder), use_safetensors=True, output_loading_info=True, dtype=torch.float32, **here
        )
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RuntimeError, SafetensorError) as error:
        raise SegmenterError(
            f"The Grounding DINO in {folder} can't be loaded: {(str(error) or repr(error)).splitlines()[0]}",
            "Get its weights again, or click the object instead.",
        ) from error
    # transformers fills gaps with random numbers and only warns; a detector of random numbers is none.
    wrong = [*loaded["missing_keys"], *loaded["mismatched_keys"]]
    if wrong:
        raise SegmenterError(
            f"The weights in {folder} do not fit its config.json: {len(wrong)} tensors are missing or misshapen.",
            "Get the weights again, or click the object instead.",
        )
    return TextDetector(name or folder.name, model, image_processor, tokenizer, device)


def _without_repeats(hits: Sequence[Hit]) -> tuple[Hit, ...]:
    """Hits, best first, without those that cover nearly the same box as a better one."""
    kept: list[Hit] = []
    for hit in hits:
        if all(_iou(hit.box_px, better.box_px) <= _SAME_OBJECT_IOU for better in kept):
            kept.append(hit)
    return tuple(kept)


def _iou(a: Sequence[float], b: Sequence[float]) -> float:
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    shared = max(0.0, width) * max(0.0, height)
    return shared / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared)
