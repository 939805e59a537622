"""The catalogue and what implements it name the same things."""

from __future__ import annotations

from typing import get_args

import pytest
from pydantic import ValidationError
from typer.testing import CliRunner

from boostnerv import catalogue
from boostnerv.cli import app
from boostnerv.codec.entropy import entropy_models
from boostnerv.codec.keyframes.image_codecs import KEYFRAME_CODECS
from boostnerv.codec.quantizers.trained import EMBEDDING_KINDS, WEIGHT_KINDS
from boostnerv.config import Anchor, Finetuning, KeyframeSettings, PostTraining
from boostnerv.evaluation.points import AVERAGED, COLUMNS
from boostnerv.operations import doctor
from boostnerv.steps.coding import POST_TRAINING
from boostnerv.training.losses import TERMS


def choices(settings: type, field: str) -> list[str]:
    return list(get_args(settings.model_fields[field].annotation))


def test_implementations_have_the_names_of_their_rows() -> None:
    assert [model.name for model in entropy_models.MODELS] == [entry.name for entry in catalogue.ENTROPY_MODELS]
    assert len(entropy_models.BY_WIRE_ID) == len(catalogue.ENTROPY_MODELS)
    assert list(KEYFRAME_CODECS) == list(catalogue.IMAGE_CODECS)
    assert list(WEIGHT_KINDS) == list(catalogue.WEIGHT_QUANTIZERS)
    assert list(EMBEDDING_KINDS) == list(catalogue.EMBEDDING_QUANTIZERS)
    assert list(POST_TRAINING) == list(catalogue.POST_TRAINING_QUANTIZERS)
    assert list(TERMS) == list(catalogue.LOSS_TERMS)
    assert set(catalogue.EMBEDDING_RATES) <= set(catalogue.entropy_model_names("embeddings"))


def test_settings_take_the_names_of_the_catalogue() -> None:
    assert choices(Anchor, "codec") == list(catalogue.ANCHORS)
    assert choices(Anchor, "pixel_format") == ["yuv420p", "yuv444p", "yuv420p10le"]
    assert choices(Finetuning, "entropy_model") == ["auto", *(entry.name for entry in catalogue.ENTROPY_MODELS)]
    assert choices(Finetuning, "weight_quantizer") == list(catalogue.WEIGHT_QUANTIZERS)
    assert choices(Finetuning, "embedding_quantizer") == list(catalogue.EMBEDDING_QUANTIZERS)
    assert choices(Finetuning, "embedding_rate") == list(catalogue.EMBEDDING_RATES)
    assert choices(PostTraining, "quantizer") == list(catalogue.POST_TRAINING_QUANTIZERS)
    assert choices(KeyframeSettings, "codec") == list(catalogue.IMAGE_CODECS)
    with pytest.raises(ValidationError, match="'x264', 'x265', 'svt-av1', 'vvenc'"):
        Anchor(codec="x266", qualities=(30,))


def test_every_entropy_model_has_a_column_for_each_role() -> None:
    names = [column.name for column in COLUMNS]
    for entry in catalogue.ENTROPY_MODELS:
        for role in entry.roles:
            assert names.count(entry.column(role)) == 1
            assert entry.column(role) in AVERAGED
    assert len(set(names)) == len(names)


def test_help_and_doctor_read_the_catalogue() -> None:
    text = CliRunner().invoke(app, ["encode", "--help"], terminal_width=200).output
    assert ", ".join(("auto", *catalogue.entropy_model_names())) in " ".join(text.split())
    assert set(doctor.ANCHOR_LIBRARIES) >= {"libx264", "libx265", "libsvtav1", "libvvenc"}
    assert len(doctor.ANCHOR_LIBRARIES) == sum(1 for entry in catalogue.ANCHORS.values() if entry.library)
