"""What an experiment says: closed, frozen pydantic models, and the expansion of its grid into runs.

An experiment file (`config/NAME.yaml`) is read by `load_experiment`; code downstream gets the validated
objects and never the raw mapping. Unknown keys and unknown names are refused here, before any job starts
and without importing torch. `config/README.md` is generated from these classes by `boostnerv.config.keys_page`.

Units: sizes in million parameters carry ``_m``; bits carry ``_bits``; everything called ``epochs`` counts
passes over all frames.
"""

from __future__ import annotations

from boostnerv.config.base import Closed, Sha256, config_hash
from boostnerv.config.cluster_settings import Cluster
from boostnerv.config.experiment import Experiment, ModelEntry, load_experiment
from boostnerv.config.jobs import ExtractJob, FinetuneJob, KeyframeJob, Run, TrainJob, state_name
from boostnerv.config.measurements import Anchor, Evaluation
from boostnerv.config.model_settings import ModelSettings, OptionValue, model_names
from boostnerv.config.multi_video import ClipSettings, KeyframeSettings, PatchSize
from boostnerv.config.own_videos import OwnVideo, own_video
from boostnerv.config.preparation import Preparation
from boostnerv.config.reading import parse, read_yaml
from boostnerv.config.sources import (
    RAW,
    DatasetSpec,
    LocalSource,
    PathSource,
    RawVideo,
    VideoList,
    VideoSpec,
    WheelSource,
    load_dataset,
    name_of_all,
    with_listed_videos,
)
from boostnerv.config.training_settings import Computing, Finetuning, LearningRate, Memory, PostTraining, Training

__all__ = [
    "RAW",
    "Anchor",
    "ClipSettings",
    "Closed",
    "Cluster",
    "Computing",
    "DatasetSpec",
    "Evaluation",
    "Experiment",
    "ExtractJob",
    "FinetuneJob",
    "Finetuning",
    "KeyframeJob",
    "KeyframeSettings",
    "LearningRate",
    "LocalSource",
    "Memory",
    "ModelEntry",
    "ModelSettings",
    "OptionValue",
    "OwnVideo",
    "PatchSize",
    "PathSource",
    "PostTraining",
    "Preparation",
    "RawVideo",
    "Run",
    "Sha256",
    "TrainJob",
    "Training",
    "VideoList",
    "VideoSpec",
    "WheelSource",
    "config_hash",
    "load_dataset",
    "load_experiment",
    "model_names",
    "name_of_all",
    "own_video",
    "parse",
    "read_yaml",
    "state_name",
    "with_listed_videos",
]
