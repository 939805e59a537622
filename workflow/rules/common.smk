# The experiment, validated, and what rules ask of it: names of files, settings as JSON, resources of a job.
import atexit
import gc
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

from boostnerv import config as schema
from boostnerv.errors import UserError, enumeration, nearest
from boostnerv.evaluation.anchors import anchor_name
from boostnerv.files import canonical_json, sha256_of_value, write_text
from boostnerv.report.names import FILE_PARTS, RUN_PARTS, TRAINING_FILES, figure_files, run_figure_files
from boostnerv.steps import SMALL_FRAME_PIXELS, is_checked, planned_shape
from boostnerv.training.finished import forget_finished
from boostnerv.versions import STEP_VERSIONS
from boostnerv.video.datasets import Listing, check_sources, is_missing, source_files, source_path
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


def end(sentence):
    """End the workflow as `boostnerv` ends: one sentence on stderr, exit code 2. Snakemake lets go of its lock."""
    print(f"boostnerv: {sentence}", file=sys.stderr)
    raise SystemExit(2)


def load():
    """What the profile says of its cluster, the experiment of --configfile, or the demo, and its videos; a mistake ends
    the workflow with its sentence."""
    try:
        cluster = schema.parse(schema.Cluster, config.pop("cluster", {}), "cluster")
        if config:
            experiment = schema.parse(schema.Experiment, config, "experiment")
        else:
            experiment = schema.load_experiment(Path(workflow.basedir) / "config" / "demo.yaml")
        dataset = experiment.dataset_spec()
        return cluster, experiment, dataset, experiment.videos_of(dataset)
    except UserError as error:
        end(error)


class Named(dict):
    """Values by name; a name that nobody has, of a file that was asked for, is refused with the nearest one."""

    def __missing__(self, name):
        raise UserError(f"experiment '{EXPERIMENT.name}' has no '{name}': {nearest(name, self)}")


# What follows is paid again by every job of a cluster. Thousands of videos share their runs, and no pattern of a file
# names them: Snakemake would go through all names for every file of every job.
CLUSTER, EXPERIMENT, DATASET, SPECS = load()
VIDEOS = Named((video.name, video) for video in SPECS)
# A model of many videos stands where a video would, under the name of the data set.
ALL_VIDEOS = schema.name_of_all(DATASET.name, VIDEOS)
ALL_RUNS = EXPERIMENT.runs()
RUNS = Named(
    (video, Named((run.name, run) for run in runs if not run.of_many))
    for video, runs in EXPERIMENT.runs_by_video(SPECS).items()
)
RUNS[ALL_VIDEOS] = Named((run.name, run) for run in ALL_RUNS if run.of_many)
ANCHORS = {
    anchor_name(anchor, quality): (anchor, quality) for anchor in EXPERIMENT.anchors for quality in anchor.qualities
}
RESULTS = f"results/{EXPERIMENT.name}"
FRAMES = f"data/frames/{DATASET.name}/{{video}}/{EXPERIMENT.preparation.tag}"
PLANES = f"data/planes/{DATASET.name}/{{video}}/{EXPERIMENT.preparation.tag}"
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
CODINGS = {run.keyframes.tag: run.keyframes for run in ALL_RUNS if run.keyframes}
RUN = f"{RESULTS}/{{video}}/{{run}}"
# Lists that onstart writes.
POINTS_LIST = f"{RESULTS}/points.list"
LOGS_LIST = f"{RESULTS}/logs/train.list"
EXPERIMENT_JSON = f"{RESULTS}/experiment.json"
AS_TRAINED = [run.name for run in ALL_RUNS if not run.coded]
AFTER_TRAINING = [run.name for run in ALL_RUNS if run.post_training]


def is_needed(spec):
    """Whether the source of an own video is: neither its frames are there, nor all that is measured of it."""
    frames = [Path(FRAMES.format(video=spec.name) + ending) for ending in (".npy", ".json")]
    measured = [
        *(
            f"{video}/{name}/{'quality' if run.coded else 'model-quality'}.json"
            for video in (spec.name, ALL_VIDEOS)
            for name, run in RUNS[video].items()
        ),
        *(f"anchors/{spec.name}/{anchor}.json" for anchor in ANCHORS),
    ]
    return not (all(path.exists() for path in frames) or all(Path(RESULTS, name).exists() for name in measured))


# What fetch_source makes; and all that is needed, not there and made by nothing, by its place below data/raw/DATASET, where
# own videos stand by their names.
FETCHED = [video for video, spec in VIDEOS.items() if spec.source.kind == "wheel"]
IS_THERE = Listing()
MISSING = {
    str(path.relative_to(f"data/raw/{DATASET.name}")): spec
    for spec in SPECS
    if spec.source.kind == "local" and not IS_THERE(path := source_path(spec, DATASET.name, exists=IS_THERE))
} | {
    spec.name: spec
    for spec in SPECS
    if spec.source.kind == "path" and is_missing(spec, DATASET.name) and is_needed(spec)
}
# Each curve is of a video, or of all of them as one.
SHOWN = [video for video in RUNS if RUNS[video] or (ANCHORS and video in VIDEOS)]
# The page shows the videos of these; of more there would be no room in it. All of them as one come first.
PREVIEWED = sorted(SHOWN, key=lambda video: video != ALL_VIDEOS)[:24]
TRAINED = any(not run.trained_as for runs in RUNS.values() for run in runs.values())
FIGURES = [
    f"{RESULTS}/figures/{name}"
    for name in (*(figure_files(SHOWN) if SHOWN else ()), *(TRAINING_FILES if TRAINED else ()))
]
# One job draws all. Snakemake would look for each of them among all, so that the first stands for very many.
# Those of the runs of a video are a job a video; of many videos the first file of each job stands for all.
WANTED_FIGURES = [
    *(FIGURES if len(FIGURES) <= 400 else FIGURES[:1]),
    *(
        f"{RESULTS}/figures/{name}"
        for video in SHOWN
        for name in run_figure_files([video])[: 1 if len(SHOWN) > 50 else None]
    ),
]


def any_of(names):
    """Pattern of a wildcard that is one of a few names."""
    return "|".join(map(re.escape, names)) or "no-name"


wildcard_constraints:
    video="[A-Za-z0-9][A-Za-z0-9._-]*",
    coding=any_of(CODINGS),
    run=any_of(run.name for run in ALL_RUNS),
    anchor=any_of(ANCHORS),


def once(function):
    """`function` of one settings object, worked out once for each: many jobs share them."""
    known = {}

    def cached(job):
        if id(job) not in known:
            # Kept with its result, so that no other object gets its id.
            known[id(job)] = (job, function(job))
        return known[id(job)][1]

    return cached


@once
def settings(job):
    """Settings of a step as one canonical line: a param, so that a changed value reruns what depends on it."""
    return canonical_json(job.model_dump(mode="json"))


def measured(wildcards):
    """What is measured of all runs: their decoded files, or the models as trained where nothing is coded."""
    return [
        f"{RESULTS}/{video}/{name}/{'quality' if run.coded else 'model-quality'}.json"
        for video, runs in RUNS.items()
        for name, run in runs.items()
    ]


def measured_of(wildcards):
    """What is measured of the runs of a video, and of classical codecs on it."""
    anchors = ANCHORS if wildcards.video in VIDEOS else ()
    return [
        *(
            f"{RESULTS}/{wildcards.video}/{name}/{'quality' if run.coded else 'model-quality'}.json"
            for name, run in RUNS[wildcards.video].items()
        ),
        *(f"{RESULTS}/anchors/{wildcards.video}/{anchor}.json" for anchor in anchors),
    ]


def files_of(wildcards):
    """What these figures take besides: files, and values of frames."""
    runs = {
        f"{RESULTS}/{wildcards.video}/{name}": ("video.bnv", "frames.csv") if run.coded else ("model-frames.csv",)
        for name, run in RUNS[wildcards.video].items()
    }
    anchors = ANCHORS if wildcards.video in VIDEOS else ()
    return [
        *(f"{folder}/{name}" for folder, names in runs.items() for name in names),
        *(
            f"{RESULTS}/anchors/{wildcards.video}/{anchor}.{suffix}"
            for anchor in anchors
            for suffix in ("stream", "csv")
        ),
    ]


def anchor_points(wildcards):
    """What is measured of all classical codecs."""
    return [f"{RESULTS}/anchors/{video}/{anchor}.json" for video in VIDEOS for anchor in ANCHORS]


def train_logs(wildcards):
    """Logs of all trainings."""
    return [
        f"{RESULTS}/{video}/{name}/train.jsonl"
        for video, runs in RUNS.items()
        for name, run in runs.items()
        if not run.trained_as
    ]


def shown_previews(wildcards):
    """Small videos that the page has: sources, and what runs and classical codecs made of them."""
    anchors = {video: ANCHORS if video in VIDEOS else () for video in PREVIEWED}
    return [
        f"{RESULTS}/previews/{video}/{name}.mp4"
        for video in PREVIEWED
        for name in ("source", *RUNS[video], *anchors[video])
    ]


def of_all(ending):
    """Files of all videos that models of many are of."""
    return lambda wildcards: [CUT.format(video=video) + ending for video in VIDEOS]


def can_be_input(file):
    """Whether Snakemake can take a file as an input: it takes {word} in its name for a wildcard, and writes it as
    UTF-8."""
    try:
        str(file).encode()
    except UnicodeEncodeError:
        return False
    return not contains_wildcard(str(file))


@once
def files_of_source(spec):
    """The files whose contents are frames, every image of a folder: the folder itself looks unchanged when one of them
    is replaced."""
    return source_files(spec, DATASET.name, exists=IS_THERE)


def state_of(file):
    """What changes with a file; None where it is missing."""
    try:
        stat = os.stat(file)
    except OSError:
        return None
    return str(file), stat.st_size, stat.st_mtime_ns


def source_of(wildcards):
    """Path of a source as an argument, never one that looks as an option does."""
    path = str(source_path(VIDEOS[wildcards.video], DATASET.name, exists=IS_THERE))
    return f"./{path}" if path.startswith("-") else path


def source_inputs(wildcards):
    """The files of a source that can be inputs; of the others a state is in the settings."""
    spec = VIDEOS[wildcards.video]
    if spec.name in MISSING:
        return [f"data/raw/{DATASET.name}/{spec.name}"]
    return [str(file) for file in files_of_source(spec) if can_be_input(file)]


def extract_settings(wildcards):
    spec = VIDEOS[wildcards.video]
    others = [file for file in files_of_source(spec) if not can_be_input(file)]
    job = schema.ExtractJob(
        dataset=DATASET.name,
        credit=DATASET.credit,
        licence=DATASET.licence,
        video=spec,
        preparation=EXPERIMENT.preparation,
        state=sha256_of_value(list(map(state_of, others))) if others else "",
    )
    # Another name of a video changes nothing of its frames, and a state stands there only where there is one.
    return canonical_json(job.model_dump(mode="json", exclude={"video": {"aliases"}, "state": not others}))


def missing_sentence(wildcards):
    """What a run will say of a video that is missing."""
    try:
        check_sources([MISSING[wildcards.missing]], DATASET.name)
    except UserError as error:
        return str(error)


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
        return of_all(".npy")(wildcards)
    return FRAMES.format(video=wildcards.video) + ".npy"


def planes_of(ending):
    """File of the source's planes where Y, U and V are measured; a model of many videos has none."""

    def path(wildcards):
        return PLANES.format(video=wildcards.video) + ending if wildcards.video != ALL_VIDEOS else []

    return path if EXPERIMENT.evaluation.yuv420 else []


def planes_of_anchor(ending):
    """The same of an anchor, which may be made of them."""

    def path(wildcards):
        wanted = EXPERIMENT.evaluation.yuv420 or ANCHORS[wildcards.anchor][0].source == "yuv420"
        return PLANES.format(video=wildcards.video) + ending if wanted else []

    return path


def with_planes(wildcards, input):
    """The option that names their manifest."""
    return f"--planes {shlex.quote(input.planes)}" if input.planes else ""


def keyframes_of(wildcards):
    """Manifest of the keyframes of a job, where it needs any."""
    chosen = run_of(wildcards).keyframes
    return KEYFRAMES.format(coding=chosen.tag) + ".json" if chosen else []


def with_keyframes(wildcards, input):
    """The option that names them."""
    return f"--keyframes {shlex.quote(input.keyframes)}" if input.keyframes else ""


WITH_VMAF = "--vmaf" if EXPERIMENT.evaluation.vmaf else ""


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


# A pattern costs Snakemake less than a function that says the same of every job.
if not RUNS[ALL_VIDEOS]:
    frames_of, pixels_of, keyframes_of, with_keyframes = f"{FRAMES}.json", f"{FRAMES}.npy", [], ""
if not AFTER_TRAINING:
    trained, finetune_log = (lambda name: f"{RUN}/{name}"), f"{RUN}/finetune.jsonl"


def curve_label(log):
    """Name of a run's curve in the figure of trainings; with its video where there are several."""
    video, run = Path(log).parts[-3:-1]
    return run if len(SHOWN) == 1 else f"{video} {run}"


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
    caption, shown = CAPTIONS[part]
    return report(
        figure,
        caption=f"../report/{caption}.rst",
        category="Figures",
        subcategory=subcategory,
        labels={"figure": shown},
    )


def state(step):
    """Folder of a training's unfinished state, keyed by its settings; deliberately no output (see docs)."""

    name = once(lambda job: schema.state_name(step, job))

    def folder(wildcards):
        run = run_of(wildcards)
        job = run.train if step == "train" else run.finetune
        return f"{RESULTS}/{wildcards.video}/{run.name}/state/{name(job)}"

    return folder


def write_lines(path, lines):
    """A list for a step that may be given more files than a command can name."""
    write_text(path, "".join(f"{line}\n" for line in lines))


def check_experiment(planned):
    """Before the first of the `planned` jobs: sources that are missing, all at once; lists of what steps of all videos
    are given; then, once per configuration and sources, own videos, specs, sizes and encoders. Raises UserError."""
    wanted = {str(file) for job in planned if job.rule.name == "downloaded_source" for file in job.output}
    check_sources([spec for file, spec in MISSING.items() if f"data/raw/{DATASET.name}/{file}" in wanted], DATASET.name)
    if RUNS[ALL_VIDEOS]:
        write_lines(f"{GATHERED}.list", of_all(".json")(None))
    write_lines(POINTS_LIST, [*measured(None), *anchor_points(None)])
    write_lines(LOGS_LIST, [f"{curve_label(log)}={log}" for log in train_logs(None)])
    source = Path(EXPERIMENT_JSON)
    write_text(source, settings(EXPERIMENT))
    plan = Path(RESULTS) / "plan.json"
    if is_checked(EXPERIMENT, SPECS, DATASET.name, plan):
        return
    # Sources that are missing and needed were refused above.
    command = ["boostnerv", "check", "--allow-missing", str(source), "--output", str(plan)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode == 2:
        raise UserError(done.stderr.strip().removeprefix("boostnerv: "))
    if done.returncode:
        raise WorkflowError(done.stderr.strip())


# What frames are made by, from the source on; their files are large and never shared.
FRAME_RULES = ("fetch_source", "extract_frames", "extract_planes", "split_patches", "gather_videos", "code_keyframes")


def check_frames(dag):
    """Refuse to repeat long jobs whose results are here, where nothing has changed but that their frames are missing:
    Snakemake makes everything again that follows from a file that it makes again, even with the same bytes."""

    def planned(job):
        return filter(dag.needrun, dag.job_dependencies(job))

    def remade(job):
        there = job.rule.name in FRAME_RULES or all(Path(file).exists() for file in job.output)
        reason = dag.reason(job)
        return reason.derived and not reason.forced and there and all(map(remade, planned(job)))

    wanted = [job for job in dag.needrun_jobs() if job.rule.name in ("train", "finetune", "encode_anchor")]
    repeated = sorted(str(job.output[0]) for job in wanted if remade(job))
    if repeated:
        names = {job.rule.name for job in dag.needrun_jobs()} & set(FRAME_RULES[1:])
        raise UserError(
            f"{enumeration(repeated, 3)} would be made again for no other reason than that frames are missing; make the "
            f"frames first, with the same command and, at its end, --until {' '.join(sorted(names))}"
        )
