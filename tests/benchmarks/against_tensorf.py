"""Our TensoRF beside the authors' own code: seconds of training until a PSNR is reached, on the CPU. Prints JSON.

    python tests/benchmarks/against_tensorf.py CAPTURE --authors FOLDER [--authors-python PYTHON]

CAPTURE is a nerf_synthetic folder with transforms_train.json, transforms_test.json and square RGBA photos. One after
the other, both train on its photos with the same number of rays a step and of threads, and both stop as soon as both
measures have reached the PSNR (or at ``--most-seconds``). Our package says how torch's threads wait for each other
(engine/__init__.py); the authors' code runs as torch does by itself. Variables that are set outside hold for both.

The authors' code is no part of this project; to set it up beside an environment of ours::

    git clone https://github.com/apchenstu/TensoRF FOLDER
    python3.11 -m venv VENV
    echo OURS/lib/python3.11/site-packages > VENV/lib/python3.11/site-packages/ours.pth    # the same torch for both
    VENV/bin/pip install --no-deps configargparse opencv-python-headless plyfile kornia kornia_rs
    (then --authors-python VENV/bin/python; what else it imports, such as torchvision and scikit-image, is in ours)

It is run as ``train.py --config configs/lego.txt`` with our rays a step, without its renderings of tests, and unchanged
but for this, which is done in its process before train.py is loaded:

* torch.utils.tensorboard is replaced by what notes each iteration's PSNR and time, so tensorboard isn't needed (and
  costs no time).
* ``evaluation``, which asks for CUDA and writes films, is replaced by a look at some pixels of the test views, the same
  ones as our training looks at. The clock stands still meanwhile.
* tqdm is made to say when the loop begins.
* torchvision's compiled operators are declared, where they don't fit torch; only its ToTensor is used.

What is measured:

* Seconds count from the first iteration to the end of the one that reached the PSNR, without looks at held-out pixels.
  What comes before is told apart as ``before_first_step_s``, for both without reading photos: theirs makes the field
  and drops rays that miss the box; ours carves the hull and tries the pace.
* ``training``: as the authors' progress line has it, the mean PSNR (dB) of the last 10 iterations' rays, taken every
  10 iterations. It is NOT the same thing for both: theirs are rays through the whole box, most of which see plain
  white in such captures; ours draws 95 % of them in and near the silhouettes, over random colours, which is harder.
  So ours can stay below a PSNR that it has long reached on held-out views, and end without reaching it.
* ``heldout``: mean over all test views of the PSNR of the same few thousand pixels over white, interpolated between two
  looks. That is the fair one; ``--measure heldout`` stops as soon as it is reached.

Both are as they are shipped: theirs VM-192 with a 128 wide network from 128^3 nodes, ours our preset's. Theirs can be
given other options (``--authors-options "--n_lamb_sigma 8 --n_lamb_sigma 8 --n_lamb_sigma 8"``), and their learning
rate falls over the 30000 iterations of their config.
"""

from __future__ import annotations

import argparse
import json
import os
import runpy
import shlex
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import types
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

ROOT = Path(__file__).resolve().parents[2]

if TYPE_CHECKING:
    from engine.captures.capture import Capture
    from engine.fields.curve import CurvePoint
    from engine.fields.trainer import Trainer

AS_AUTHORS = "--as-authors"  # then this file runs in the authors' environment, and may import nothing of ours
SIDE_PX = 800  # of the photos that the authors' loader expects where it isn't told otherwise
MEAN_OF = 10  # iterations: progress_refresh_rate in the authors' opt.py
SEED = 0


@dataclass
class Run:
    """One training: ``psnr_db`` and ``seconds`` after each iteration, and the held-out points."""

    before: float = 0.0
    seconds: list[float] = field(default_factory=list)
    psnr_db: list[float] = field(default_factory=list)
    heldout: list[CurvePoint] = field(default_factory=list)

    def smoothed(self) -> list[tuple[float, float]]:
        """(seconds, mean PSNR) as the authors' progress line has them: at iterations 0, 10, 20, ..."""
        found, since = [], 0
        for i in range(0, len(self.psnr_db), MEAN_OF):
            found.append((self.seconds[i], statistics.fmean(self.psnr_db[since : i + 1])))
            since = i + 1
        return found

    def seconds_to_training(self, psnr_db: float) -> float | None:
        """Seconds until the smoothed PSNR of the training rays was reached."""
        return next((seconds for seconds, psnr in self.smoothed() if psnr >= psnr_db), None)

    def seconds_to_heldout(self, psnr_db: float) -> float | None:
        """Seconds until the held-out PSNR was reached."""
        from engine.fields.curve import seconds_to

        return seconds_to(self.heldout, psnr_db)

    def is_over(self, given: argparse.Namespace) -> bool:
        """Whether all that is measured is reached, or the time is."""
        if not self.seconds:
            return False
        reached = self.seconds_to_heldout(given.psnr) is not None
        if given.measure == "both":
            reached = reached and self.seconds_to_training(given.psnr) is not None
        return reached or self.seconds[-1] >= given.most_seconds

    def figures(self, psnr_db: float) -> dict[str, Any]:
        """What is printed of it."""
        steps = np.diff(np.array([0.0, *self.seconds]))
        smoothed = self.smoothed()
        return {
            "seconds_to_training": self.seconds_to_training(psnr_db),
            "seconds_to_heldout": self.seconds_to_heldout(psnr_db),
            "before_first_step_s": self.before,
            "steps": len(steps),
            "seconds": self.seconds[-1] if self.seconds else 0.0,
            "median_step_s": float(np.median(steps[1:])) if len(steps) > 1 else None,
            "last_training_psnr_db": smoothed[-1][1] if smoothed else None,
            "last_heldout_psnr_db": self.heldout[-1].heldout_psnr_db if self.heldout else None,
        }


class Listener:
    """In a keeper's place: it is offered the trainer after every step, and keeps nothing."""

    def __init__(self, listen: Callable[[Trainer], None]) -> None:
        self.listen = listen

    def take_up(self, trainer: Trainer) -> bool:
        """There is never an earlier training."""
        return False

    def offer(self, trainer: Trainer, now: bool = False) -> None:
        """Called after a step, and with ``now`` when the training is stopped."""
        if not now:
            self.listen(trainer)


def ours(capture: Capture, given: argparse.Namespace) -> Run:
    """Trains our TensoRF until the PSNR is reached."""
    import torch

    from engine.captures.bounds import scene_box
    from engine.fields.heldout import HeldOut
    from engine.fields.trainer import SMOOTHING
    from engine.fields.training import train_field
    from engine.progress import Job, Report
    from engine.train import preset
    from engine.workspace import working_photo
    from sa3d_blender.protocol.errors import Cancelled

    settings = replace(preset(given.quality), rays=given.rays)
    training = [view for view in capture.views if view.split == "train"]
    others = [view for view in capture.views if view.split == "test"]
    cameras, images = zip(*(working_photo(view, settings.max_side_px) for view in training), strict=True)
    others_at, others_seen = zip(*(working_photo(view, settings.max_side_px) for view in others), strict=True)
    run, mean = Run(), float("nan")

    def report(said: Report) -> None:
        if run.seconds and said.detail:
            tell("ours", run, said.detail)

    job = Job(report, lambda line: print(line, file=sys.stderr))

    def listen(trainer: Trainer) -> None:
        nonlocal mean
        if not run.seconds:
            run.before = time.perf_counter() - started - trainer.seconds
        # the trainer tells a running mean of the squared error; this step's own is what changed it
        mse = trainer.mse if len(run.seconds) == 0 else (trainer.mse - SMOOTHING * mean) / (1 - SMOOTHING)
        mean = trainer.mse
        run.seconds.append(trainer.seconds)
        run.psnr_db.append(-10.0 * float(np.log10(max(mse, 1e-10))))
        run.heldout = [point for point in trainer.curve if point.heldout_psnr_db is not None]
        if trainer.step % MEAN_OF == 1 and run.is_over(given):
            job.cancel.set()

    heldout = HeldOut([view.name for view in others], others_at, others_seen)
    started = time.perf_counter()
    try:
        trained = train_field(
            cameras,
            images,
            scene_box(capture),
            settings,
            torch.device("cpu"),
            job,
            SEED,
            heldout=heldout,
            keeper=Listener(listen),  # type: ignore[arg-type]
        )
        run.heldout = [point for point in trained.history if point.heldout_psnr_db is not None]
    except Cancelled:
        pass
    return run


def theirs(capture: Capture, given: argparse.Namespace, options: list[str], outside: dict[str, str]) -> Run:
    """Runs the authors' train.py until the PSNR is reached, with the environment variables from ``outside``."""
    from engine.fields.curve import CurvePoint
    from engine.fields.heldout import WATCHED_PIXELS, WATCHED_VIEWS

    views = [str(view.image_path) for view in capture.views if view.split == "test"]
    views = [
        views[i] for i in sorted({round(i) for i in np.linspace(0, len(views) - 1, min(WATCHED_VIEWS, len(views)))})
    ]
    run = Run()
    with tempfile.TemporaryDirectory() as made:
        told = {"views": views, "watched": WATCHED_PIXELS, "seed": SEED, "threads": given.threads}
        orders, log = Path(made) / "orders.json", Path(made) / "log.txt"
        orders.write_text(json.dumps(told), encoding="utf-8")
        environment = outside | {
            "CUDA_VISIBLE_DEVICES": "",
            "OMP_NUM_THREADS": str(given.threads),
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        python = os.path.abspath(shutil.which(given.authors_python) or given.authors_python)
        command = [python, str(Path(__file__).resolve()), AS_AUTHORS, str(orders), *options]
        with log.open("w", encoding="utf-8") as errors:
            process = subprocess.Popen(
                [*command, "--basedir", made],
                cwd=given.authors,
                env=environment,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )
            try:
                for note in notes(process):
                    if "before" in note:
                        run.before = note["before"]
                    elif "heldout" in note:
                        point = (run.seconds[-1], len(run.seconds), run.smoothed()[-1][1], note["heldout"])
                        run.heldout.append(CurvePoint(*point))
                    else:
                        run.seconds.append(note["seconds"])
                        run.psnr_db.append(note["psnr"])
                        if len(run.seconds) % MEAN_OF == 1:
                            shown = f"PSNR {run.heldout[-1].heldout_psnr_db:.1f} dB held out" if run.heldout else ""
                            tell("theirs", run, shown)
                    if ("heldout" in note or len(run.seconds) % MEAN_OF == 1) and run.is_over(given):
                        break
                else:
                    if process.wait() != 0:
                        said = log.read_text(encoding="utf-8")[-3000:]
                        sys.exit(f"The authors' code stopped after {len(run.seconds)} iterations:\n{said}")
            finally:
                process.terminate()
                process.wait()
    return run


def notes(process: subprocess.Popen[str]) -> Iterator[dict[str, Any]]:
    """What `as_authors` says, as it comes."""
    assert process.stdout is not None
    return (json.loads(line) for line in process.stdout)


def tell(who: str, run: Run, detail: str) -> None:
    """A line of progress."""
    seconds, psnr = run.smoothed()[-1]
    print(f"{who}: {len(run.seconds)} steps, {seconds:.1f} s, training {psnr:.2f} dB, {detail}", file=sys.stderr)


def as_authors(orders: Path, options: list[str]) -> None:
    """Runs train.py of the current folder in this process, noting times and PSNRs on what was the standard output."""
    told = json.loads(orders.read_text(encoding="utf-8"))
    out, sys.stdout = sys.stdout, sys.stderr
    sys.path[0] = os.getcwd()
    import torch

    torch.set_num_threads(told["threads"])
    declared = _declare_torchvision(torch)
    import tqdm.auto

    made = begun = paused = 0.0

    def note(**what: float) -> None:
        print(json.dumps(what), file=out, flush=True)

    class Loop(tqdm.auto.tqdm):  # type: ignore[type-arg, misc]
        """train.py's only loop with this bar is that over the iterations."""

        def __iter__(self) -> Iterator[Any]:
            nonlocal begun
            begun = time.perf_counter()
            note(before=begun - made)
            yield from super().__iter__()

    class Writer:
        """In the place of tensorboard's."""

        def __init__(self, folder: str) -> None:
            nonlocal made
            made = time.perf_counter()

        def add_scalar(self, name: str, value: float, global_step: int = 0) -> None:
            if name == "train/PSNR":
                note(seconds=time.perf_counter() - begun - paused, psnr=float(value))

    def look(test: Any, tensorf: Any, args: Any, render: Any, folder: str = "", **rest: Any) -> list[float]:
        """In `evaluation`'s place: PSNR of the pixels that engine.fields.heldout.Watcher looks at."""
        nonlocal paused
        started = time.perf_counter()
        random = np.random.default_rng(told["seed"])
        width, height = test.img_wh
        files = [Path(path).resolve() for path in test.image_paths]
        found, rays, truths = [], [], []
        for view in told["views"]:
            i = files.index(Path(view).resolve())
            pixels = random.integers(width * height, size=max(1, told["watched"] // len(told["views"])))
            rays.append(test.all_rays[i].view(-1, 6)[pixels])
            truths.append(test.all_rgbs[i].view(-1, 3)[pixels])
        with torch.no_grad():
            rgb = render(
                torch.cat(rays),
                tensorf,
                chunk=args.batch_size,
                N_samples=rest["N_samples"],
                ndc_ray=rest["ndc_ray"],
                white_bg=rest["white_bg"],
                device="cpu",
            )[0].clamp(0, 1)
        for seen, truth in zip(rgb.split(len(rays[0])), truths, strict=True):
            found.append(-10.0 * float(np.log10(max(float((seen - truth).square().mean()), 1e-10))))
        note(heldout=float(np.mean(found)))
        paused += time.perf_counter() - started
        return found

    tqdm.auto.tqdm = Loop  # type: ignore[misc]
    board = types.ModuleType("torch.utils.tensorboard")
    board.SummaryWriter = Writer  # type: ignore[attr-defined]
    sys.modules["torch.utils.tensorboard"] = board
    import renderer  # the authors'

    renderer.evaluation = look
    sys.argv = ["train.py", *options]
    runpy.run_path("train.py", run_name="__main__")
    del declared


def _declare_torchvision(torch: Any) -> Any:
    """Lets torchvision be imported where its compiled part doesn't fit torch; see engine.segmenters.torchvision_ops."""
    try:
        import torchvision  # noqa: F401
    except RuntimeError:
        for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
            del sys.modules[name]
        library = torch.library.Library("torchvision", "FRAGMENT")
        for name in ("nms", "qnms"):
            library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        return library
    return None


def authors_options(capture: Capture, folder: Path, given: argparse.Namespace) -> list[str]:
    """train.py's command line, without where it writes to."""
    width = next(view.camera.width for view in capture.views)
    less = SIDE_PX / width
    if int(SIDE_PX / less) != width:  # their loader rounds down
        less = SIDE_PX / (width + 0.5)
    options = {
        "config": "configs/lego.txt",
        "datadir": str(folder),
        "expname": "benchmark",
        "batch_size": str(given.rays),
        "downsample_train": f"{less:.9g}",
        "render_test": "0",
        "N_vis": "1",  # how many views doesn't matter: see `as_authors`
        "vis_every": str(given.look_every),
    }
    return [f"--{name}={value}" for name, value in options.items()] + shlex.split(given.authors_options)


def times_faster(ours: float | None, theirs: float | None, until: float) -> float | str | None:
    """The ratio of two times; at least what it was when theirs was stopped."""
    if ours is None:
        return None
    return f"more than {until / ours:.2f}" if theirs is None else theirs / ours


def main() -> None:
    """Runs both and prints the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("capture", type=Path, help="a nerf_synthetic folder")
    parser.add_argument("--authors", type=Path, required=True, help="a checkout of github.com/apchenstu/TensoRF")
    parser.add_argument("--authors-python", default=sys.executable, help="the Python that has what it needs")
    parser.add_argument("--authors-options", default="", help="further options of its train.py")
    parser.add_argument("--rays", type=int, default=1024, help="a step")
    parser.add_argument("--psnr", type=float, default=25.0, help="dB")
    parser.add_argument("--quality", default="draft", help="our preset")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--look-every", type=int, default=20, help="iterations of theirs, at held-out pixels")
    parser.add_argument("--most-seconds", type=float, default=7200.0, help="of training, for each")
    parser.add_argument("--measure", choices=("both", "heldout"), default="both", help="what has to be reached")
    parser.add_argument("--only", choices=("ours", "theirs"), help="run one of them")
    given = parser.parse_args()
    outside = dict(os.environ)
    sys.path.insert(0, str(ROOT))
    import engine  # noqa: F401 (before torch: it says how torch's threads wait)

    # isort: split
    import torch

    from engine.captures.load import load_capture

    os.environ["CUDA_VISIBLE_DEVICES"] = ""
    torch.set_num_threads(given.threads)
    capture, runs = load_capture(given.capture), {}
    options = authors_options(capture, given.capture.resolve(), given)
    if given.only != "theirs":
        runs["ours"] = ours(capture, given)
    if given.only != "ours":
        runs["theirs"] = theirs(capture, given, options, outside)
    figures: dict[str, Any] = {
        "our_command": shlex.join(["python", *sys.argv]),
        "authors_command": shlex.join(["python", "train.py", *options]),
        "psnr_db": given.psnr,
        "rays": given.rays,
        "threads": given.threads,
    }
    figures |= {name: run.figures(given.psnr) for name, run in runs.items()}
    if len(runs) == 2:
        a, b = runs["ours"], runs["theirs"]
        for measure in ("training", "heldout"):
            mine, other = (figures[name][f"seconds_to_{measure}"] for name in ("ours", "theirs"))
            figures[f"times_faster_to_{measure}"] = times_faster(mine, other, b.seconds[-1])
            mine, other = (None if each is None else each + run.before for each, run in ((mine, a), (other, b)))
            figures[f"times_faster_to_{measure}_with_before"] = times_faster(mine, other, b.before + b.seconds[-1])
    print(json.dumps(figures, indent=1))


if __name__ == "__main__":
    if sys.argv[1:2] == [AS_AUTHORS]:
        as_authors(Path(sys.argv[2]), sys.argv[3:])
    else:
        main()
