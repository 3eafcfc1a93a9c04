"""Times clicks until their mask can be drawn: `python tests/benchmarks/click_to_mask.py CAPTURE [CLICKS] [SEGMENTER]`.

As the add-on does it: the photo is prepared while it is looked at, then each click is asked about as soon as the hand
has rested, and the answer painted. Prints the first photo's preparation and the clicks' times.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from sa3d_blender.client.process import ProcessTransport, python_engine  # noqa: E402
from sa3d_blender.client.session import Session  # noqa: E402
from sa3d_blender.overlay.mask import COLOURS, painted  # noqa: E402
from sa3d_blender.protocol.messages import Failure, Result  # noqa: E402
from sa3d_blender.scene.mask_preview import DEBOUNCE  # noqa: E402


def main() -> None:
    """Clicks at random places of the capture's first photo."""
    capture = Path(sys.argv[1]).resolve()
    clicks = int(sys.argv[2]) if len(sys.argv) > 2 else 20
    more = {"quality": "draft", "segmenter": sys.argv[3] if len(sys.argv) > 3 else "clicknet"}
    chance = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as cache:
        engine = python_engine(sys.executable, ROOT)
        engine = replace(engine, environment={**engine.environment, "SA3D_CACHE": cache})
        session = Session(lambda: ProcessTransport(engine))
        session.start()
        try:
            described = _ask(session, "open_capture", {"path": str(capture)}, 120)
            view = described.body["views"][0]
            size = np.array([view["width"], view["height"]])
            started = time.perf_counter()
            _ask(session, "prepare_view", {"capture": str(capture), "view": view["stem"], **more}, 300)
            print(f"preparing the first photo: {time.perf_counter() - started:.2f} s")
            seconds = []
            for place in chance.uniform(0.2, 0.8, (clicks, 2)) * size:
                body = {"capture": str(capture), "view": view["stem"], "points": [[*place.tolist(), 1]], **more}
                started = time.perf_counter()
                answer = _ask(session, "prompt", body, 120)
                mask = np.frombuffer(answer.arrays["mask"].data, np.uint8).reshape(answer.arrays["mask"].shape)
                painted(mask, COLOURS[0], 0.45)
                seconds.append(time.perf_counter() - started + DEBOUNCE)
        finally:
            session.close()
    told = f"median {statistics.median(seconds):.2f} s, slowest {max(seconds):.2f} s, first {seconds[0]:.2f} s"
    print(f"{clicks} clicks until the mask is painted, by {more['segmenter']}: {told}")


def _ask(session: Session, kind: str, body: dict[str, object], seconds: float) -> Result:
    answer = session.wait(session.request(kind, body), seconds)
    if isinstance(answer, Failure):
        raise SystemExit(f"{answer.what} {answer.cure}")
    return answer


if __name__ == "__main__":
    main()
