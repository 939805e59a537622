"""An experiment, and the expansion of its grid into runs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import (
    Field,
    ValidationError,
    model_validator,
)

from boostnerv.catalogue import FAST, MODELS_OF_MANY
from boostnerv.config.base import Closed, Seed, Slug
from boostnerv.config.jobs import FinetuneJob, KeyframeJob, Run, TrainJob
from boostnerv.config.measurements import Anchor, Evaluation
from boostnerv.config.model_settings import ModelName, ModelSettings, OptionValue, Strides
from boostnerv.config.multi_video import ClipSettings, KeyframeSettings
from boostnerv.config.own_videos import OwnVideo, check_own_videos, own_video
from boostnerv.config.preparation import Preparation
from boostnerv.config.reading import Settings, parse, problem_sentence, read_yaml
from boostnerv.config.sources import RAW, DatasetSpec, VideoSpec, load_dataset, with_listed_videos
from boostnerv.config.training_settings import Finetuning, PostTraining, Training
from boostnerv.errors import UserError, nearest


class ModelEntry(Closed):
    """A model of an experiment, at one or more sizes."""

    name: ModelName = Field(description="Name of the model.")
    total_m: tuple[float, ...] = Field(
        default=(), description="Sizes in million parameters, embeddings included; widths are solved."
    )
    modelsize_m: dict[Slug, float] = Field(
        default_factory=dict, description="Label: the papers' size argument, e.g. 1.5M: 1.275."
    )
    modelsize_m_for: dict[str, dict[str, float]] = Field(
        default_factory=dict, description="Video: what differs in modelsize_m for it, e.g. ShakeNDry: {3M: 2.75}."
    )
    fc_dim: dict[Slug, int] = Field(
        default_factory=dict, description="Label: the width itself, as D-NeRV's sizes are given, e.g. XS: 107."
    )
    epochs: tuple[Annotated[int, Field(gt=0)], ...] = Field(
        default=(), description="Lengths of training instead of training.epochs; a run is made for each."
    )
    strides: Strides | None = Field(default=None, description="Instead of the experiment's.")
    options: dict[str, OptionValue] = Field(default_factory=dict, description="Other choices of the model's spec.")
    training: dict[str, Any] = Field(default_factory=dict, description="Keys of training that differ for this model.")
    finetuning: dict[str, Any] = Field(
        default_factory=dict, description="Keys of finetuning that differ for this model."
    )
    post_training: PostTraining | None = Field(
        default=None, description="Also code the model as trained, without fine-tuning, as a run of its own."
    )
    keyframes: KeyframeSettings | None = Field(
        default=None, description="How keyframes are coded for this model, instead of clips.keyframes."
    )
    gpu: int = Field(
        default=1, gt=0, le=64, description="Processes, each on a GPU of its own, that share every batch of a training."
    )

    @model_validator(mode="after")
    def _one_kind_of_size(self) -> ModelEntry:
        if [bool(self.total_m), bool(self.modelsize_m), bool(self.fc_dim)].count(True) != 1:
            raise ValueError(f"model '{self.name}' needs sizes: one of total_m, modelsize_m and fc_dim")
        if min((*self.total_m, *self.modelsize_m.values(), *self.fc_dim.values())) <= 0:
            raise ValueError(f"model '{self.name}': a size must be above zero")
        return self

    @model_validator(mode="after")
    def _differences_have_a_size(self) -> ModelEntry:
        for video, sizes in self.modelsize_m_for.items():
            for label, modelsize_m in sizes.items():
                if label not in self.modelsize_m:
                    hint = nearest(label, self.modelsize_m)
                    raise ValueError(f"modelsize_m_for.{video}: modelsize_m has no size '{label}': {hint}")
                if modelsize_m <= 0:
                    raise ValueError(f"modelsize_m_for.{video}: a size must be above zero")
        return self

    @model_validator(mode="after")
    def _epochs_are_said_once(self) -> ModelEntry:
        if self.epochs and "epochs" in self.training:
            raise ValueError(f"model '{self.name}': give either epochs or training.epochs")
        return self

    @model_validator(mode="after")
    def _clips_are_of_the_experiment(self) -> ModelEntry:
        if "clip_frames" in self.options:
            raise ValueError(f"model '{self.name}': the frames of a clip are said once, by clips.frames")
        if self.keyframes is not None and not MODELS_OF_MANY.get(self.name):
            raise ValueError(f"model '{self.name}' needs no keyframes; remove them")
        return self

    @property
    def of_many(self) -> bool:
        """Whether it is a model of many videos."""
        return self.name in MODELS_OF_MANY

    def sizes(self, video: VideoSpec | None = None) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield (label, the matching `ModelSettings` keyword), as they are for `video`."""
        for total_m in self.total_m:
            yield f"{total_m:g}M", {"total_m": total_m}
        differing = [self.modelsize_m_for.get(name, {}) for name in (video.names if video else ())]
        for label, modelsize_m in self.modelsize_m.items():
            yield label, {"modelsize_m": next((each[label] for each in differing if label in each), modelsize_m)}
        for label, fc_dim in self.fc_dim.items():
            yield label, {"fc_dim": fc_dim}


class Experiment(Closed):
    """One file in config/: which videos, which models at which sizes, how trained, against which anchors."""

    name: Slug = Field(description="Folder under results/.")
    title: str = Field(default="", description="Heading of figures and tables.")
    dataset: str | None = Field(default=None, description="Name of a data set.")
    videos: tuple[str, ...] = Field(default=(), description="Videos of the data set; all of them when absent.")
    own_videos: tuple[OwnVideo, ...] = Field(default=(), description="Videos of yours, by path, instead of a data set.")
    preparation: Preparation = Field(default=Preparation(), description="From video to frames.")
    strides: Strides = Field(default=(5, 2, 2, 2, 2), description="Upsampling of each decoder stage.")
    models: tuple[ModelEntry, ...] = Field(default=(), description="Models and sizes.")
    seeds: tuple[Seed, ...] = Field(
        default=(1,), min_length=1, description="A run is made for each of these random seeds."
    )
    training: Training = Field(default=Training(epochs=300), description="How models are trained.")
    finetuning: Finetuning | None = Field(
        default=Finetuning(),
        description="Consistent entropy minimisation before coding; null: nothing is coded, models are measured.",
    )
    clips: ClipSettings = Field(
        default=ClipSettings(), description="How models of many videos (d-nerv, d-nerv-baseline) see them."
    )
    anchors: tuple[Anchor, ...] = Field(default=(), description="Classical codecs on the same frames.")
    evaluation: Evaluation = Field(default=Evaluation(), description="What is measured beside PSNR and MS-SSIM.")

    @model_validator(mode="after")
    def _is_complete(self) -> Experiment:
        if bool(self.dataset) == bool(self.own_videos):
            raise ValueError("give either dataset or own_videos")
        if self.videos and not self.dataset:
            raise ValueError("videos names videos of a dataset; for paths use own_videos")
        if not self.models and not self.anchors:
            raise ValueError("nothing to do: neither models nor anchors")
        check_own_videos(self.own_videos)
        twice = sorted(name for name, count in Counter(run.name for run in self.runs()).items() if count > 1)
        if twice:
            raise ValueError(f"run '{twice[0]}' stands twice; every model and size may appear once")
        return self

    def runs(self, video: VideoSpec | None = None) -> tuple[Run, ...]:
        """Expand models × lengths of training × sizes × seeds, with the sizes of `video`; names are the same for all.

        Task, epochs and seed are part of a run's name where they vary within the experiment, as in
        ``hnerv-boost-1.5M-inpainting-center-e600-s2``. A run that codes the trained model of another by the older
        pipeline follows it, as ``hnerv-1.5M-post-training-e600-s2``. Raises `ValueError` for settings that do not
        validate.
        """
        recipes = tuple(self._recipes())
        several_tasks = len({training.task_label for _, training, _ in recipes}) > 1
        several_epochs = len({training.epochs for _, training, _ in recipes}) > 1

        def name(entry: ModelEntry, label: str, training: Training, seed: int, *pipeline: str) -> str:
            parts = [entry.name, label, *pipeline]
            parts += [training.task_label] if several_tasks else []
            parts += [f"e{training.epochs}"] if several_epochs else []
            parts += [f"s{seed}"] if len(self.seeds) > 1 else []
            return "-".join(parts)

        runs = []
        for entry, training, finetuning in recipes:
            for label, size in entry.sizes(video):
                for seed in self.seeds:
                    run = Run(
                        name=name(entry, label, training, seed),
                        size_label=label,
                        train=TrainJob(
                            model=self._model(entry, size),
                            training=training,
                            seed=seed,
                            short_videos=self.clips.short_videos if entry.of_many else "refuse",
                        ),
                        finetune=None if finetuning is None else FinetuneJob(finetuning=finetuning, seed=seed),
                        of_many=entry.of_many,
                        keyframes=self._keyframes(entry),
                        gpu=entry.gpu,
                    )
                    runs.append(run)
                    if entry.post_training is not None:
                        changes = {
                            "name": name(entry, label, training, seed, "post-training"),
                            "finetune": None,
                            "post_training": entry.post_training,
                            "trained_as": run.name,
                        }
                        runs.append(run.model_copy(update=changes))
        return tuple(runs)

    def runs_by_video(self, videos: Iterable[VideoSpec]) -> dict[str, tuple[Run, ...]]:
        """`runs` of each of `videos`, by its name; videos without sizes of their own share one tuple."""
        usual = self.runs()
        sized = {name for entry in self.models for name in entry.modelsize_m_for}
        return {video.name: usual if sized.isdisjoint(video.names) else self.runs(video) for video in videos}

    def _recipes(self) -> Iterator[tuple[ModelEntry, Training, Finetuning | None]]:
        for number, entry in enumerate(self.models):
            changes = [{**entry.training, "epochs": epochs} for epochs in entry.epochs] or [entry.training]
            for change in changes:
                training = _changed(self.training, change, f"models.{number}.training.")
                if training.batch_size < entry.gpu:
                    raise ValueError(
                        f"models.{number}.gpu: a batch of {training.batch_size} cannot be shared by {entry.gpu} "
                        "processes; raise training.batch_size, or lower gpu"
                    )
                yield entry, training, self._finetuning(number, entry, training)

    def _model(self, entry: ModelEntry, size: Mapping[str, Any]) -> ModelSettings:
        strides = entry.strides or self.strides
        clips = {"clip_frames": self.clips.frames} if entry.of_many else {}
        return ModelSettings(name=entry.name, strides=strides, options={**clips, **entry.options}, **size)

    def _keyframes(self, entry: ModelEntry) -> KeyframeJob | None:
        if not MODELS_OF_MANY.get(entry.name):
            return None
        chosen = entry.keyframes or self.clips.keyframes
        return KeyframeJob(**chosen.model_dump(), clip_frames=self.clips.frames)

    def _finetuning(self, number: int, entry: ModelEntry, training: Training) -> Finetuning | None:
        if entry.post_training is not None and training.task != "regression":
            raise ValueError(f"models.{number}.post_training: only regression is coded, not task: {training.task}")
        if entry.of_many and training.task != "regression":
            raise ValueError(f"models.{number}: {entry.name} is trained for regression only, not task: {training.task}")
        if self.finetuning is None:
            if entry.finetuning:
                raise ValueError(
                    f"'models.{number}.finetuning': the experiment has finetuning: null; remove one of both"
                )
            return None
        if training.task != "regression":
            raise ValueError(
                f"task: {training.task} is measured on the model as trained, only regression is coded; "
                "set finetuning: null"
            )
        return _changed(self.finetuning, entry.finetuning, f"models.{number}.finetuning.")

    def run(self, name: str, video: VideoSpec | None = None) -> Run:
        """Find a run by its name, with the size it has for `video`."""
        for run in self.runs(video):
            if run.name == name:
                return run
        raise UserError(
            f"experiment '{self.name}' has no run '{name}': {nearest(name, [run.name for run in self.runs()])}"
        )

    def dataset_spec(self, folder: Path | None = None) -> DatasetSpec:
        """The data set of this experiment; own videos become a data set called ``own``."""
        if self.dataset:
            return load_dataset(self.dataset, folder)
        return DatasetSpec(name="own", title="own videos", videos=tuple(map(own_video, self.own_videos)))

    def video_specs(self, folder: Path | None = None, root: Path = RAW) -> tuple[VideoSpec, ...]:
        """The videos of this experiment; raises `UserError` for one that is unknown or named twice.

        Where a file names the videos of the data set it is read, under `root`; see `with_listed_videos`.
        """
        return self.videos_of(self.dataset_spec(folder), root)

    def videos_of(self, dataset: DatasetSpec, root: Path = RAW) -> tuple[VideoSpec, ...]:
        """`video_specs`, where the data set of this experiment has been read already."""
        spec = with_listed_videos(dataset, root)
        spec.videos_named([name for entry in self.models for name in entry.modelsize_m_for])
        videos = spec.videos_named(self.videos) if self.videos else spec.videos
        counts = Counter(video.name for video in videos)
        for given, video in zip(self.videos, videos, strict=False):
            if counts[video.name] > 1:
                raise UserError(f"experiment '{self.name}' names video '{given}' twice; name it once under videos")
        return videos


def load_experiment(path: str | Path) -> Experiment:
    """Read and validate an experiment file; raises `UserError` with one sentence a problem."""
    return parse(Experiment, read_yaml(path, "experiment"), f"experiment {path}")


def _changed(base: Settings, changes: Mapping[str, Any], place: str) -> Settings:
    """`base` with `changes`, which stand at `place` of the experiment."""
    try:
        return type(base).model_validate(_merged(base, changes))
    except ValidationError as error:
        problems = (problem_sentence(type(base), problem, place) for problem in error.errors())
        raise ValueError("; ".join(problems)) from error


def _merged(base: Closed, changes: Mapping[str, Any]) -> dict[str, Any]:
    merged = base.model_dump()
    if isinstance(base, Training) and changes.get("recipe", base.recipe) != base.recipe:
        # The other recipe's keys take the place of those of this one.
        other = Training(epochs=base.epochs, recipe=changes["recipe"]).model_dump()
        merged |= {key: other[key] for key in FAST}
    for key, value in changes.items():
        # Of a nested key, what is not said stays as the experiment has it; a loss is said whole.
        nested = key in ("lr", "computing", "memory") and isinstance(value, dict)
        merged[key] = {**merged[key], **value} if nested else value
    return merged
