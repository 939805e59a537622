# The experiment, validated, and the names by which rules speak of its files and jobs (`boostnerv.workflow`).
import atexit
import gc
import os
import re
import sys
from pathlib import Path

from boostnerv.config import config_hash
from boostnerv.errors import UserError
from boostnerv.report.names import FILE_PARTS, RUN_PARTS, TRAINING_FILES, run_figure_files
from boostnerv.training.finished import forget_finished
from boostnerv.workflow import plan as planning
from boostnerv.workflow.plan import settings_line as settings
from boostnerv.workflow.resources import JobResources, no_time, one_gpu
from boostnerv.versions import STEP_VERSIONS
from snakemake.io import contains_wildcard

# A plan is millions of objects that stay: going through them again and again is a third of the time, and once more at the
# end a fifth.
gc.set_threshold(100_000, 50, 1000)
atexit.register(gc.freeze)

# A signal to all processes of a job is for the training, which saves and ends; the shell around it waits for that, and
# what it says is noted in the log to the end.
shell.prefix('set -euo pipefail; trap : TERM; noted() {{ trap "" TERM INT; exec tee "$1"; }}; ')
# Jobs call `boostnerv` of the environment that runs Snakemake, whether or not it is activated; no Python among them takes
# a file of the current folder for a module.
os.environ.update(
    PATH=os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]), PYTHONSAFEPATH="1"
)


def end(error):
    """End the workflow as `boostnerv` ends: one sentence on stderr, exit code 2. Snakemake lets go of its lock."""
    print(f"boostnerv: {error}", file=sys.stderr)
    raise SystemExit(2)


try:
    PLAN = planning.load(config, Path(workflow.basedir) / "config" / "demo.yaml")
except UserError as error:
    end(error)
RESOURCES = JobResources(PLAN)
DATASET, EXPERIMENT = PLAN.dataset.name, PLAN.experiment
RESULTS, RUN = PLAN.results, PLAN.run_folder
FRAMES, PLANES, GATHERED, KEYFRAMES = PLAN.frames, PLAN.planes, PLAN.collection, PLAN.keyframes
TAG = EXPERIMENT.preparation.tag


def any_of(names):
    """Pattern of a wildcard that is one of a few names."""
    return "|".join(map(re.escape, names)) or "no-name"


def can_be_input(file):
    """Whether Snakemake can take a file as an input: it takes {word} in its name for a wildcard, and writes it as
    UTF-8."""
    try:
        file.encode()
    except UnicodeEncodeError:
        return False
    return not contains_wildcard(file)


# Page below workflow/report and label of a figure, by the part of its name.
CAPTIONS = {
    "psnr": ("quality", "PSNR"),
    "ms-ssim": ("quality", "MS-SSIM"),
    "size": ("size", "PSNR over parameters"),
    "time": ("time", "PSNR over time"),
    "frames": ("frames", "PSNR of each frame"),
    "bits": ("bits", "bits of files"),
    "crops": ("crops", "frames side by side"),
    "training": ("training", "PSNR and loss over epochs"),
    "training-time": ("training-time", "PSNR and loss over wall time"),
}


def in_report(figure):
    """A figure as an output; the report shows its drawing, and not the same in pixels."""
    name = Path(figure)
    if name.suffix != ".svg":
        return figure
    if name.name in TRAINING_FILES:
        part, subcategory = name.stem, "trainings"
    else:
        part = next(part for part in (*FILE_PARTS, *RUN_PARTS) if name.stem.startswith(f"{part}-"))
        subcategory = name.stem.removeprefix(f"{part}-")
    caption, label = CAPTIONS[part]
    return report(
        figure,
        caption=f"../report/{caption}.rst",
        category="Figures",
        subcategory=subcategory,
        labels={"figure": label},
    )


wildcard_constraints:
    video="[A-Za-z0-9][A-Za-z0-9._-]*",
    coding=any_of(PLAN.codings),
    run=any_of(run.name for run in PLAN.all_runs),
    anchor=any_of(PLAN.anchors),


# A pattern costs Snakemake less than a function that says the same of every job.
if PLAN.has_multi_video_runs:
    frames_of, pixels_of = PLAN.manifest, PLAN.pixels
    keyframes_of, with_keyframes = PLAN.keyframes_of, planning.keyframes_option
else:
    frames_of, pixels_of, keyframes_of, with_keyframes = f"{FRAMES}.json", f"{FRAMES}.npy", [], ""
if PLAN.quantized_after_training:
    trained, finetune_log = PLAN.trained, PLAN.finetune_log
else:
    trained, finetune_log = (lambda name: f"{RUN}/{name}"), f"{RUN}/finetune.jsonl"
