"""The format page is up to date, and sufficient to write a reader."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from boostnerv.codec.container.bitstream import Bitstream, Video, spec_fields, write
from boostnerv.codec.container.format_page import format_page
from boostnerv.codec.encoder import (
    Quantized,
    encode_after_training,
    encode_segment,
    encode_slices_after_training,
    snap,
)
from boostnerv.codec.entropy.entropy_models import MODELS
from boostnerv.codec.entropy.payloads import read_weights, write_embeddings, write_weights
from boostnerv.codec.entropy.symbols import CONSTRICTION
from boostnerv.codec.quantizers import slices
from boostnerv.codec.quantizers.min_max import quantize
from boostnerv.models.architecture import VideoModel, architecture
from tests.codec.container import page_reader
from tests.codec.tiny import encoded, file_of, segment_of
from tests.models.tiny import ALL, MANY, tiny_clip_spec, tiny_model

ROOT = Path(__file__).parents[3]
MODEL_NAMES = [model.name for model in MODELS]


def quantized(model: VideoModel) -> Quantized:
    """Initial weights, and embeddings that follow a random walk."""
    shape = model.spec.embedding_shape
    noise = torch.Generator().manual_seed(1)
    embeddings = torch.randn(model.spec.frames, *shape, generator=noise).cumsum(0) if shape else None
    return Quantized.after_training(dict(model.decoder.named_parameters()), embeddings, 5)


def shapes(model: VideoModel) -> list[tuple[int, ...]]:
    return [tuple(tensor.shape) for tensor in model.decoder.parameters()]


# --- the page -----------------------------------------------------------------------------------------------


def test_the_page_is_in_step() -> None:
    assert format_page() == page_reader.PAGE, "run: make docs"


def test_the_command_that_writes_the_page_writes_this_page(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "boostnerv.codec.container.format_page"]
    subprocess.run(command, cwd=tmp_path, env=environment, check=True)
    assert (tmp_path / "docs/format.md").read_text(encoding="utf-8") == page_reader.PAGE


def test_the_page_names_the_coder_that_is_pinned() -> None:
    assert f"\nconstriction=={CONSTRICTION}\n" in (ROOT / "constraints.txt").read_text()
    assert f"constriction/) {CONSTRICTION}:" in " ".join(page_reader.PAGE.split())


def test_what_the_page_links_to_is_there() -> None:
    links = re.findall(r"\]\((?!https)([^)]+)\)", page_reader.PAGE)
    assert len(links) > 6
    assert [link for link in links if not (ROOT / "docs" / link).exists()] == []


# --- a reader written from the page ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", ALL)
def test_it_finds_every_value_of_a_file(name: str) -> None:
    model = tiny_model(name, frames=4, height=9, width=7)
    data = file_of([segment_of(model, quantized(model))], fps=23.976)
    named_payloads = page_reader.sections(data)
    embeds = model.spec.embedding_shape is not None
    assert [kind for kind, _ in named_payloads] == ["video", "model", "weights", *["embeddings"] * embeds]
    video, rest = page_reader.fields("Section video", named_payloads[0][1])
    assert rest == b""
    assert video == {
        "frames": 4,
        "height": 9,
        "width": 7,
        "fps": 23.976,
        "colour": 1,
        "batch": 1,
        "segments": 1,
    }
    values, spec = page_reader.model(named_payloads[1][1])
    assert values == {"architecture": name, "quantizer": 1, "frames": 4}
    assert spec == {field.name: getattr(model.spec, field.name) for field in spec_fields(type(model.spec))}


def test_it_finds_segments_and_timestamps() -> None:
    models = [tiny_model("nerv", frames=2), tiny_model("hnerv", frames=3)]
    segments = [encode_segment(model.architecture, model.spec, snap(quantized(model))) for model in models]
    shown_s = (0.0, 0.04, 0.08, 100.0, 100.0)
    video = Video(5, 5, 6, 0.05, "ffmpeg-default", batch=2, timestamps_s=shown_s)
    named_payloads = page_reader.sections(write(Bitstream(video, tuple(segments))))
    assert [kind for kind, _ in named_payloads] == [
        *("video", "timestamps", "model", "weights", "model", "weights", "embeddings"),
    ]
    assert page_reader.timestamps(named_payloads[1][1]) == [3600, 3600, 8992800, 0]
    assert [page_reader.model(named_payloads[index][1])[0]["frames"] for index in (2, 4)] == [2, 3]


def test_it_notices_a_section_that_was_taken_out() -> None:
    model = tiny_model("hnerv", frames=2)
    data = encoded(model, quantized(model))
    length = 9 + len(page_reader.sections(data)[1][1])
    start = 4 + 9 + len(page_reader.sections(data)[0][1])
    with pytest.raises(AssertionError):
        page_reader.sections(data[:start] + data[start + length :])


@pytest.mark.parametrize("choice", [*MODEL_NAMES, "auto"])
@pytest.mark.parametrize("name", ["nerv-boost", "hnerv-boost"])
def test_it_decodes_weights(name: str, choice: str) -> None:
    model = tiny_model(name)
    snapped = snap(quantized(model))
    segment = encode_segment(model.architecture, model.spec, snapped, entropy_model=choice)
    tensors = page_reader.weights(segment.weights, shapes(model))
    assert [codes for _, codes in tensors] == [codes.ravel().tolist() for codes in snapped.weight_codes]
    expected = quantized(model).steps
    np.testing.assert_allclose([step for step, _ in tensors], expected, rtol=2**-7)


@pytest.mark.parametrize("choice", MODEL_NAMES)
@pytest.mark.parametrize("group", [2, 16])
def test_it_decodes_embeddings(choice: str, group: int) -> None:
    model = tiny_model("hnerv-boost", frames=5)
    snapped = snap(quantized(model))
    assert snapped.embedding_codes is not None
    segment = encode_segment(model.architecture, model.spec, snapped, entropy_model=choice, group=group)
    step, offset, codes = page_reader.embeddings(segment.embeddings, snapped.embedding_codes.shape)
    assert codes == snapped.embedding_codes.ravel().tolist()
    values = np.array(codes, np.float32) * np.float32(step) + offset
    embeddings = quantized(model).embeddings
    assert embeddings is not None
    assert np.abs(values - embeddings.numpy().ravel()).max() < 0.51 * step


def test_it_decodes_tensors_with_models_of_their_own() -> None:
    random = np.random.default_rng(0)
    spread = np.rint(random.normal(0, np.geomspace(1, 200, 10)[:, None], (10, 200))).astype(np.int32)
    peaked = np.rint(random.laplace(0, 9, 2000)).astype(np.int32)
    data = write_weights([spread, peaked], np.array([2000, 2001]), "auto")
    assert read_weights(data, [(10, 200), (2000,)]).models == ("gaussian-channel", "laplace")
    tensors = page_reader.weights(data, [(10, 200), (2000,)])
    assert [codes for _, codes in tensors] == [spread.ravel().tolist(), peaked.tolist()]


@pytest.mark.parametrize("still", [True, False])
def test_it_decodes_embeddings_that_follow_one_another(still: bool) -> None:
    random = np.random.default_rng(0)
    places = random.normal(0, 40, (1, 2, 6, 6))
    frames = random.normal(0, 1 if still else 30, (40, 2, 6, 6))
    codes = np.rint(places * still + (frames if still else frames.cumsum(0) / 5)).astype(np.int32)
    data = write_embeddings(codes, 2000, -33, 16, "temporal")
    assert page_reader.embeddings(data, codes.shape)[2] == codes.ravel().tolist()


def test_it_decodes_the_older_pipeline() -> None:
    model = tiny_model("hnerv", fc_dim=60)
    weights, embeddings = dict(model.decoder.named_parameters()), quantized(model).embeddings
    assert embeddings is not None
    segment, _ = encode_after_training(model.architecture, model.spec, weights, embeddings)
    expected = [quantize(tensor, 8) for tensor in weights.values()]
    assert {tensor.axis for tensor in expected} > {None}
    for values, tensor in zip(page_reader.older(segment.weights, shapes(model)), expected, strict=True):
        np.testing.assert_array_equal(values, tensor.dequantize().numpy())
    (values,) = page_reader.older(segment.embeddings, [tuple(embeddings.shape)])
    np.testing.assert_array_equal(values, quantize(embeddings, 6).dequantize().numpy())


@pytest.mark.parametrize("name", MANY)
def test_it_decodes_slices(name: str) -> None:
    entry, spec = architecture(name), tiny_clip_spec(name)
    weights = dict(entry.decoder(spec).named_parameters())
    segment, _ = encode_slices_after_training(entry, spec, weights)
    axis = 1 if name == "d-nerv" else 0
    tensors = page_reader.slices(segment.weights, [tuple(tensor.shape) for tensor in weights.values()])
    for values, tensor in zip(tensors, weights.values(), strict=True):
        np.testing.assert_array_equal(values, slices.quantize(tensor, axis, 8).dequantize().numpy())
