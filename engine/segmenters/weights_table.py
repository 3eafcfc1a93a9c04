"""The table of weights that can be downloaded: name, address, size, sha256, licence.

Sizes and hashes of Segment Anything, MobileSAM and Grounding DINO are those that several independent public projects
have pinned for the same addresses and revisions; none is a guess, and none has been loaded from the network here.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

__all__ = ["ALL_WEIGHTS", "DETECTORS", "WEIGHTS", "Weights", "WeightsFile", "folder_sha256"]

_SAM_BASE = "https://dl.fbaipublicfiles.com/segment_anything/"
_MOBILE_SAM_BASE = (
    "https://raw.githubusercontent.com/ChaoningZhang/MobileSAM/f706ad9c4eb7f219c00d9050e46328518ffb65d2/weights/"
)
_HUB = "https://huggingface.co/"


@dataclass(frozen=True)
class WeightsFile:
    """One of several files that belong together. ``size`` in bytes."""

    name: str
    size: int
    sha256: str


@dataclass(frozen=True)
class Weights:
    """One weights file, or a folder of several (then ``parts`` names them and ``file`` is the folder).

    ``size`` in bytes, of a folder altogether; ``sha256`` of the file, of a folder over its parts' names and hashes;
    ``architecture`` is the model's own name for what fits the weights; ``about`` says what they are.
    """

    name: str
    file: str
    base_url: str
    size: int
    sha256: str
    licence: str
    architecture: str
    about: str = ""
    parts: tuple[WeightsFile, ...] = ()

    @property
    def url(self) -> str:
        """The address of the file, or of the folder."""
        return self.base_url if self.parts else self.base_url + self.file

    @property
    def files(self) -> tuple[WeightsFile, ...]:
        """Every file there is to fetch, by its name below ``base_url``."""
        return self.parts or (WeightsFile(self.file, self.size, self.sha256),)

    def paths(self, place: Path) -> Iterator[tuple[WeightsFile, Path]]:
        """Every file and where it lies, ``place`` being the file or the folder itself."""
        for each in self.files:
            yield each, place / each.name if self.parts else place


def _hub(name: str, repository: str, revision: str, licence: str, about: str, *parts: WeightsFile) -> Weights:
    """A model of the Hugging Face hub, at one revision of it."""
    address = f"{_HUB}{repository}/resolve/{revision}/"
    size = sum(part.size for part in parts)
    digest = folder_sha256((part.name, part.sha256) for part in parts)
    return Weights(name, name, address, size, digest, licence, repository, about, parts)


def folder_sha256(hashes: Iterable[tuple[str, str]]) -> str:
    """One hash for a folder, of its files' (name, sha256), in any order."""
    return hashlib.sha256("".join(f"{digest}  {name}\n" for name, digest in sorted(hashes)).encode()).hexdigest()


# Of the tokenizer of Grounding DINO (BERT's, uncased) and of what it does to photos; the same for both sizes.
_DINO_COMMON = (
    WeightsFile("preprocessor_config.json", 457, "8454179ba95e2ad22947835aad7b45862a601fc0055ab88bf1ee70892d3aea60"),
    WeightsFile("special_tokens_map.json", 125, "b6d346be366a7d1d48332dbc9fdf3bf8960b5d879522b7799ddba59e76237ee3"),
    WeightsFile("tokenizer.json", 711_396, "d241a60d5e8f04cc1b2b3e9ef7a4921b27bf526d9f6050ab90f9267a1f9e5c66"),
    WeightsFile("tokenizer_config.json", 1237, "d40ab645b68211910b9170d22433d43186a6ec8ee6fd10ba170524b25bf4fb56"),
    WeightsFile("vocab.txt", 231_508, "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3"),
)

# Of the 2D segmenters. Largest first: the order in which "auto" prefers them.
WEIGHTS: dict[str, Weights] = {
    entry.name: entry
    for entry in (
        Weights(
            "sam-vit-h",
            "sam_vit_h_4b8939.pth",
            _SAM_BASE,
            2_564_550_879,
            "a7bf3b02f3ebf1267aba913ff637d9a2d5c33d3173bb679e46d9f338c26f262e",
            "Apache-2.0",
            "vit_h",
            "Segment Anything, the largest",
        ),
        Weights(
            "sam-vit-l",
            "sam_vit_l_0b3195.pth",
            _SAM_BASE,
            1_249_524_607,
            "3adcc4315b642a4d2101128f611684e8734c41232a17c648ed1693702a49a622",
            "Apache-2.0",
            "vit_l",
            "Segment Anything, large",
        ),
        Weights(
            "sam-vit-b",
            "sam_vit_b_01ec64.pth",
            _SAM_BASE,
            375_042_383,
            "ec2df62732614e57411cdcf32a23ffdf28910380d03139ee0f4fcbe91eb8c912",
            "Apache-2.0",
            "vit_b",
            "Segment Anything, base",
        ),
        Weights(
            "mobile-sam",
            "mobile_sam.pt",
            _MOBILE_SAM_BASE,
            40_728_226,
            "6dbb90523a35330fedd7f1d3dfc66f995213d81b29a5ca8108dbcdd4e37d6c2f",
            "Apache-2.0",
            "vit_t",
            "MobileSAM, small and fast on a CPU",
        ),
    )
}

# Of what finds boxes for words. Smallest first: the larger one is for those who ask for it.
DETECTORS: dict[str, Weights] = {
    entry.name: entry
    for entry in (
        _hub(
            "grounding-dino-tiny",
            "IDEA-Research/grounding-dino-tiny",
            "a2bb814dd30d776dcf7e30523b00659f4f141c71",
            "Apache-2.0",
            "Grounding DINO (Swin-T), for text prompts",
            WeightsFile("config.json", 1644, "eec82c5ab66e16df12a9a212e68ac011779927c2536cf9078658e35d85f0c67a"),
            *_DINO_COMMON,
            WeightsFile(
                "model.safetensors", 689_359_096, "1a2412ef99bd74bcd3c2a246fa1e48581f8889a1300c9051974741314fc042f3"
            ),
        ),
        _hub(
            "grounding-dino-base",
            "IDEA-Research/grounding-dino-base",
            "12bdfa3120f3e7ec7b434d90674b3396eccf88eb",
            "Apache-2.0",
            "Grounding DINO (Swin-B), for text prompts",
            WeightsFile("config.json", 1737, "eda416dae6f49419ff831b1c190ec430a060b19aae688dbaf2425a075b650608"),
            *_DINO_COMMON,
            WeightsFile(
                "model.safetensors", 933_400_872, "5548f844c928c4b6f411fa8cbcc2bfa8dbbba437cb1d513975519f93c2a9ed21"
            ),
        ),
    )
}

ALL_WEIGHTS: dict[str, Weights] = WEIGHTS | DETECTORS
