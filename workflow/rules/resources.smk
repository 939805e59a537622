# What a job asks of the machine that runs it, computed from its pixels, frames, model and epochs, and more at every
# attempt. None of it changes a result.
import math
import signal
from types import SimpleNamespace

# A guess where only extraction will tell: full HD.
UNKNOWN_SHAPE = (600, 1080, 1920)
# Jobs of the cluster get the variable from here, wherever they run.
if CLUSTER.scratch:
    os.environ.update(BOOSTNERV_SCRATCH=CLUSTER.scratch)
# SLURM signals all processes of a job that nears its limit. A training saves and ends; those around it wait for that.
if not workflow.is_main_process:
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)


SHAPES = {}


def shape_of(video):
    """Frames, height, width of a video: as planned, or as its frames say once they are there."""
    if video not in SHAPES:
        found = planned_shape(EXPERIMENT.preparation, VIDEOS[video])
        manifest = Path(FRAMES.format(video=video) + ".json")
        if found is None and manifest.exists():
            told = json.loads(manifest.read_text())
            found = told["frames"], told["height"], told["width"]
        if found is None:
            return UNKNOWN_SHAPE
        SHAPES[video] = found
    return SHAPES[video]


def is_known(video):
    """Whether the size of a video, or of all of them, is known."""
    return all(shape_of(each) is not UNKNOWN_SHAPE for each in (VIDEOS if video == ALL_VIDEOS else [video]))


def shape(wildcards):
    """Frames, height, width of what a job is of: a video, or all of them."""
    if wildcards.video != ALL_VIDEOS:
        return shape_of(wildcards.video)
    shapes = [shape_of(video) for video in VIDEOS]
    return sum(frames for frames, _, _ in shapes), *max(shape[1:] for shape in shapes)


def pixels(wildcards):
    """Pixels of all frames."""
    return math.prod(shape(wildcards))


def picture(wildcards):
    """Height and width of what a model makes at once: a frame, or a patch."""
    return (GRID.height, GRID.width) if wildcards.video == ALL_VIDEOS and GRID else shape(wildcards)[1:]


def frames_mb(wildcards):
    """Size of the uint8 frames of a video in MB."""
    return 3 * pixels(wildcards) // 10**6 + 1


def size_m(wildcards):
    """Million parameters of a run's model, about."""
    model = run_of(wildcards).train.model
    return model.total_m or model.modelsize_m or 10


def grown(mem_mb):
    """As much memory as the function or number `mem_mb` says, as many times as there were attempts, and never more than
    the cluster allows."""

    def resource(wildcards, attempt):
        wanted = attempt * (mem_mb(wildcards) if callable(mem_mb) else mem_mb)
        return min(wanted, CLUSTER.max_mem_mb or wanted)

    return resource


def grown_minutes(seconds, attempt, least=15):
    """Minutes of so many seconds, at least a quarter of an hour, as many times as there were attempts."""
    return attempt * max(least, math.ceil(seconds / 60))


def minutes(seconds, least=15):
    """`grown_minutes` of what the function `seconds` says, and never more than the cluster allows."""

    def resource(wildcards, attempt):
        wanted = grown_minutes(seconds(wildcards), attempt, least)
        return min(wanted, CLUSTER.max_runtime_min or wanted)

    return resource


def steps_of(run):
    """Seconds of each step of a run, and of the runs that code the same trained model: functions of the step's job."""
    steps = {} if run.trained_as else {"train": training_seconds("train")}
    if run.finetune:
        steps |= {"finetune": training_seconds("finetune")}
    if run.coded:
        steps |= {"encode": coding_seconds, "decode": coding_seconds}
    return {**steps, "evaluate": evaluation_seconds}


def share(step):
    """Minutes of a step of a run, as `minutes` gives them. Steps that follow from one training may be one job, whose time
    is their sum: together they have no more than the cluster allows, and trainings, which can go on, give way first."""

    def resource(wildcards, attempt):
        run = run_of(wildcards)
        trained = run.trained_as or run.name
        trainings, others = {}, {}
        for each in RUNS[wildcards.video].values():
            if trained in (each.name, each.trained_as):
                job = SimpleNamespace(video=wildcards.video, run=each.name)
                for name, seconds in steps_of(each).items():
                    wanted = trainings if name in ("train", "finetune") else others
                    wanted[each.name, name] = grown_minutes(seconds(job), attempt)
        own, whole = (trainings | others)[run.name, step], sum(trainings.values()) + sum(others.values())
        most = CLUSTER.max_runtime_min or whole
        if whole <= most:
            return own
        of_others = min(sum(others.values()), most // 2)
        if step in ("train", "finetune"):
            return max(own * (most - of_others) // sum(trainings.values()), 1)
        return max(own * of_others // sum(others.values()), 1)

    return resource


def gpus(count):
    """Resources that ask for as many GPUs as the function `count` says, on one node, in the cluster's way."""
    named = beside_gpus()
    if CLUSTER.gpu_style == "gpus":
        named |= {"gpu": count}
    several = any(run.gpu > 1 for run in ALL_RUNS)
    return named | ({"nodes": 1} if several and CLUSTER.gpu_style != "none" else {})


def beside_gpus():
    """Resources of a step that needs no GPU and may be one job with steps that do: what is a text, all must say."""
    if CLUSTER.gpu_style == "gres":
        model = f"{CLUSTER.gpu_model}:" if CLUSTER.gpu_model else ""
        return {"gres": lambda wildcards: f"gpu:{model}{gpus_of_training(wildcards)}"}
    return {"gpu_model": CLUSTER.gpu_model} if CLUSTER.gpu_style == "gpus" and CLUSTER.gpu_model else {}


def one_gpu(wildcards):
    return 1


def gpus_of_training(wildcards):
    """Processes of a training, each on its own GPU."""
    return run_of(wildcards).gpu


def training_mem_mb(step):
    """Frames in memory twice while loading, activations by pixels, the optimiser's copies of the model, and PyTorch
    itself; clips are read as needed."""

    def mem_mb(wildcards):
        height, width = picture(wildcards)
        model_mb = int(30 * size_m(wildcards))
        if wildcards.video != ALL_VIDEOS:
            return 1500 + model_mb + 2 * frames_mb(wildcards) + height * width * 3 // 400
        run = run_of(wildcards)
        recipe = run.train.training if step == "train" else run.finetune.finetuning
        return 2500 + model_mb + recipe.batch_size * EXPERIMENT.clips.frames * height * width * 3 // 4000

    return grown(mem_mb)


def coding_mem_mb(wildcards):
    """PyTorch, a batch of frames and several copies of the model."""
    height, width = picture(wildcards)
    return int(1500 + 60 * size_m(wildcards) + height * width * 3 // 2000)


def training_threads(wildcards):
    """Small frames gain nothing from a second thread (seen: two single-thread trainings side by side finish
    as soon as one after the other on two threads, and bear a busy machine better)."""
    height, width = picture(wildcards)
    return (1 if height * width < SMALL_FRAME_PIXELS else 4) * gpus_of_training(wildcards)


def training_seconds(step):
    """A third of a second for a step of 720p and 1.5 M on one GPU; without one, thirty times that."""

    def seconds(wildcards):
        run = run_of(wildcards)
        epochs = (run.train.training if step == "train" else run.finetune.finetuning).epochs
        halved = 2 if run.train.training.task == "interpolation" else 1
        slower = 30 if CLUSTER.gpu_style == "none" else 1
        return slower * epochs * pixels(wildcards) / halved * 2e-7 * (1 + size_m(wildcards) / 3)

    return seconds


def coding_seconds(wildcards):
    """Twenty seconds per full-HD frame on one thread."""
    return pixels(wildcards) * 1e-5


def evaluation_seconds(wildcards):
    """Ten seconds per full-HD frame, of its patches as well."""
    passes = 2 if wildcards.video == ALL_VIDEOS and GRID else 1
    return passes * pixels(wildcards) * 5e-6


def extraction_seconds(wildcards):
    """A second per full-HD frame."""
    return pixels(wildcards) * 5e-7


def seconds_of_all(seconds_per_pixel):
    """So many seconds for each pixel of all videos."""

    def seconds(wildcards):
        return seconds_per_pixel * sum(math.prod(shape_of(video)) for video in VIDEOS)

    return seconds


def short(wildcards):
    """Of what takes seconds."""
    return 0
