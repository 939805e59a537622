"""From weights to a file and back, for any model, size and weights; and what an opened file promises."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import boostnerv
from boostnerv.codec.decoder import VideoFile, build_decoder, dequantize_embeddings, render, to_uint8
from boostnerv.codec.encoder import Encoded, Quantized
from boostnerv.config import ModelSettings
from boostnerv.errors import UserError
from boostnerv.models.architecture import VideoModel, architecture, build_model, frame_time
from boostnerv.models.budget import resolve
from tests.codec.tiny import encoded, opened, quantized
from tests.models.tiny import NAMES, tiny_model

LARGEST = 1 << 19  # quantiser steps; beyond them an encoder refuses


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("files")


def check(model: VideoModel, result: Encoded, folder: Path) -> VideoFile:
    """The file holds the encoder's codes, and decodes to the frames of a decoder with just those."""
    video = opened(result.data, folder)
    assert video.spec == model.spec
    assert (len(video), video.fps) == (model.spec.frames, 25.0)
    assert sum(video.section_bytes.values()) == video.file_bytes == len(result.data)
    for ours, theirs in ((video.weight_codes, result.weight_codes), (video.embedding_codes, result.embedding_codes)):
        assert [codes.tolist() for codes in ours] == [codes.tolist() for codes in theirs]
    frames = list(video.frames())
    assert all(f.shape == (model.spec.height, model.spec.width, 3) and f.dtype == np.uint8 for f in frames)
    stream = video.stream
    decoder = build_decoder(
        model.architecture, model.spec, result.weight_codes, stream.weight_side.steps, torch.device("cpu")
    )
    embeddings = None
    if stream.embedding_side is not None:
        values = dequantize_embeddings(np.stack(result.embedding_codes), stream.embedding_side)
        embeddings = torch.from_numpy(values).view(-1, *model.spec.embedding_shape)
    measured = render(decoder, model.spec, embeddings, range(len(video)))
    assert all(np.array_equal(a, b) for a, b in zip(frames, measured, strict=True))
    return video


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=20)
@given(
    size=st.tuples(st.integers(1, 24), st.integers(1, 24)),
    strides=st.lists(st.integers(1, 4), min_size=1, max_size=3).map(tuple),
    frames=st.integers(1, 4),
    bits=st.integers(2, 12),
    seed=st.integers(0, 99),
)
@example(size=(1, 1), strides=(2, 2), frames=1, bits=2, seed=0)
@example(size=(17, 23), strides=(5,), frames=1, bits=12, seed=0)
def test_any_model(
    folder: Path, name: str, size: tuple[int, int], strides: tuple[int, ...], frames: int, bits: int, seed: int
) -> None:
    model = tiny_model(name, seed=seed, height=size[0], width=size[1], strides=strides, frames=frames)
    check(model, encoded(model, quantized(model, bits=bits)), folder)


def filled(model: VideoModel, draw: st.DataObject) -> Quantized:
    """Any weights: constant tensors, wide and narrow ones, single outliers, codes up to the limit."""

    def values(shape: torch.Size) -> torch.Tensor:
        scale = draw.draw(st.sampled_from([0.0, 1e-3, 1.0, 300.0, LARGEST / 2]))
        centre = draw.draw(st.sampled_from([0.0, 0.49, -7.0, -LARGEST / 2, LARGEST / 2]))
        kind = draw.draw(st.sampled_from(["constant", "uniform", "outlier"]))
        if kind == "constant":
            return torch.full(shape, centre)
        if kind == "uniform":
            return centre + scale * (2 * torch.rand(shape) - 1)
        found = torch.full(shape, centre)
        found.view(-1)[-1] += scale
        return found

    weights = {key: values(value.shape) for key, value in model.decoder.named_parameters()}
    step = draw.draw(st.sampled_from([1.0, 2.0**-20, 1.5, 2.0**10]))
    shape = model.spec.embedding_shape
    return Quantized(
        weights={key: value * step for key, value in weights.items()},
        steps=[step] * len(weights),
        embeddings=values(torch.Size((model.spec.frames, *shape))) * step if shape else None,
        embedding_step=step,
        embedding_offset=draw.draw(st.sampled_from([0.0, 0.3, -1000.0])) * step,
    )


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=25)
@given(draw=st.data())
def test_any_weights(folder: Path, name: str, draw: st.DataObject) -> None:
    model = tiny_model(name)
    check(model, encoded(model, filled(model, draw)), folder)


@pytest.mark.parametrize("name", NAMES)
def test_values_lie_within_half_a_step(folder: Path, name: str) -> None:
    model = tiny_model(name)
    values = quantized(model, bits=8)
    video = opened(encoded(model, values).data, folder)
    for (key, decoded), step in zip(video.decoder.named_parameters(), video.stream.weight_side.steps, strict=True):
        assert (decoded - values.weights[key]).abs().max() <= 0.5001 * step, key
    for given_step, step in zip(values.steps, video.stream.weight_side.steps, strict=True):
        assert step == pytest.approx(given_step, rel=1 / 128)
    if values.embeddings is not None:
        assert video.stream.embedding_side is not None
        assert (video.embeddings - values.embeddings).abs().max() <= 0.5001 * video.stream.embedding_side.step


# --- what is refused ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("place", ["weights", "steps", "embeddings", "embedding_step", "embedding_offset"])
def test_numbers_that_are_not_finite_are_refused(bad: float, place: str) -> None:
    model = tiny_model("hnerv-boost")
    values = quantized(model)
    if place == "weights":
        broken = torch.full_like(values.weights["head.bias"], bad)
        values = dataclasses.replace(values, weights={**values.weights, "head.bias": broken})
    elif place == "embeddings":
        assert values.embeddings is not None
        values.embeddings[1, 0, 0, 0] = bad
    else:
        values = dataclasses.replace(values, **{place: [bad] * len(values.steps) if place == "steps" else bad})
    with pytest.raises(UserError, match=r"cannot be coded: .*the training diverged"):
        encoded(model, values)


def test_weights_that_are_not_finite_are_refused_with_their_own_quantisers() -> None:
    model = tiny_model("nerv-boost")
    with torch.no_grad():
        model.decoder.head.bias[0] = math.nan
    with pytest.raises(UserError, match=r"cannot be coded: .*the training diverged"):
        encoded(model, quantized(model))


def test_too_many_steps_are_refused() -> None:
    model = tiny_model("nerv-boost")
    values = quantized(model)
    weights = {**values.weights, "head.bias": torch.tensor([0.0, 0.0, 2.0 * LARGEST])}
    steps = [1.0] * len(weights)
    with pytest.raises(UserError, match=r"tensor head\.bias cannot be coded"):
        encoded(model, dataclasses.replace(values, weights=weights, steps=steps))


def test_a_model_with_equal_weights_is_coded_with_its_own_quantisers(folder: Path) -> None:
    model = tiny_model("hnerv-boost")
    with torch.no_grad():
        for number, parameter in enumerate(model.decoder.parameters()):
            parameter.fill_((number % 5 - 2) * 0.3)
    video = check(model, encoded(model, quantized(model, bits=8)), folder)
    for decoded, original in zip(video.decoder.parameters(), model.decoder.parameters(), strict=True):
        torch.testing.assert_close(decoded, original, rtol=0.01, atol=0)


# --- an opened file -----------------------------------------------------------------------------------------


@pytest.fixture(params=NAMES)
def video(request: pytest.FixtureRequest, folder: Path) -> VideoFile:
    return opened(encoded(tiny_model(request.param, frames=5, height=9, width=11)).data, folder)


def test_any_frame_alone_and_in_any_order(video: VideoFile) -> None:
    frames = list(video.frames())
    assert len(frames) == len(video) == 5
    assert len({frame.tobytes() for frame in frames}) == 5
    for k in range(5):
        assert np.array_equal(video[k], frames[k])
        assert np.array_equal(video[k - 5], frames[k])
    order = [3, 0, 0, 4]
    assert all(np.array_equal(f, frames[k]) for k, f in zip(order, video.frames(order), strict=True))
    assert list(video.frames([])) == []


@pytest.mark.parametrize("index", [5, -6, 1 << 40])
def test_a_frame_that_is_not_there(video: VideoFile, index: int) -> None:
    with pytest.raises(IndexError, match=f"frame {index} of a video of 5 frames"):
        video[index]


def test_a_file_is_a_sequence(video: VideoFile) -> None:
    assert len([frame for frame in video]) == 5  # noqa: C416  (what is tested is the loop)


def test_open_is_the_door(video: VideoFile) -> None:
    assert np.array_equal(boostnerv.open(video.path)[2], video[2])


def test_rounding_to_levels() -> None:
    levels = torch.tensor([0.0, 0.49 / 255, 0.51 / 255, 254.51 / 255, 1.0])
    assert to_uint8(levels.view(1, 1, 1, 5).expand(1, 3, 1, 5))[0, 0, :, 0].tolist() == [0, 0, 1, 255, 255]


@pytest.fixture
def two_threads() -> Iterator[None]:
    yield
    torch.set_num_threads(1)


@pytest.mark.usefixtures("two_threads")
@pytest.mark.parametrize("name", NAMES)
def test_the_number_of_threads_changes_a_pixel_by_one_level_at_most(folder: Path, name: str) -> None:
    spec = resolve(ModelSettings(name=name, strides=(5, 2, 2), total_m=0.6), 2, 180, 320)
    model = build_model(name, spec, 1)
    video = opened(encoded(model, quantized(model, bits=8)).data, folder)
    frames = []
    for threads in (1, 2, 4):
        torch.set_num_threads(threads)
        frames.append(np.stack(list(video.frames())).astype(int))
    # Sums of floats are split differently; what is on the edge of two levels may fall to the other side.
    for other in frames[1:]:
        assert np.abs(other - frames[0]).max() <= 1
        assert (other != frames[0]).mean() < 1e-4


# --- the counter video: frame k shows k ----------------------------------------------------------------------


def pass_through(model: VideoModel) -> None:
    """Weights of 0 and 1 so that channel 0 of the stem passes every block, through its sine, to the image."""
    with torch.no_grad():
        for parameter in model.decoder.parameters():
            parameter.zero_()
        for name, parameter in model.decoder.named_parameters():
            if name.endswith("upsample.conv.weight"):
                stride_squared = 4
                centre = parameter.shape[2] // 2
                parameter[:stride_squared, 0, centre, centre] = 1
        head = model.decoder.head.weight
        head[:, 0, head.shape[2] // 2, head.shape[3] // 2] = 1


def sines(x: NDArray[np.float64], count: int) -> NDArray[np.float64]:
    for _ in range(count):
        x = np.sin(x)
    return x


def grey(x: NDArray[np.float64]) -> list[int]:
    return np.rint(255 * (0.5 * np.tanh(x) + 0.5)).astype(int).tolist()


def test_frames_of_an_embedding_model_are_in_order(folder: Path) -> None:
    model = tiny_model("hnerv-boost", frames=40, height=7, width=9)
    pass_through(model)
    with torch.no_grad():
        model.decoder.stem[0].weight[0, 0] = 1
    wanted = 90 + 2 * np.arange(40)
    values = np.arctanh(2 * wanted / 255 - 1)
    for _ in range(3):  # the sines of stem and two stages
        values = np.arcsin(values)
    embeddings = torch.zeros(40, *model.spec.embedding_shape)
    embeddings[:, 0] = torch.from_numpy(values).float()[:, None, None]
    steps = [1.0] * sum(1 for _ in model.decoder.parameters())
    stored = quantized(model, steps=steps, embeddings=embeddings, embedding_step=1e-4, embedding_offset=0.0)
    video = opened(encoded(model, stored).data, folder)
    for k, frame in enumerate(video.frames()):
        assert (frame == wanted[k]).all(), k
    assert [int(video[k][3, 4, 1]) for k in (39, 0, 17)] == [168, 90, 124]


def test_frames_of_an_index_model_are_in_order(folder: Path) -> None:
    model = tiny_model("nerv-boost", frames=41, height=7, width=9)
    pass_through(model)
    with torch.no_grad():
        model.decoder.stem[0].weight[0, 2] = 1  # the first cosine: cos(π·t), falling over the video
        model.decoder.stem[2].weight[: math.prod(model.spec.grid), 0] = 1
    steps = [1.0] * sum(1 for _ in model.decoder.parameters())
    video = opened(encoded(model, quantized(model, steps=steps)).data, folder)
    t = (np.arange(41) + 1) / 41
    wanted = grey(sines(np.cos(np.pi * t), 4))
    assert len(set(wanted)) > 30
    assert wanted == sorted(wanted, reverse=True)
    shown = [np.unique(frame).tolist() for frame in video.frames()]
    assert shown == [[level] for level in wanted]


# --- the trained network and the decoded one ----------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_fine_codes_decode_to_what_the_network_shows(folder: Path, name: str) -> None:
    model = tiny_model(name, height=9, width=11)
    pictures = torch.rand(3, 3, 9, 11, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        shown = to_uint8(model(frame_time(torch.arange(3), 3), pictures))
        embeddings = model.embed(pictures)
    stored = Quantized.after_training(dict(model.decoder.named_parameters()), embeddings, bits=16)
    decoded = np.stack(list(opened(encoded(model, stored).data, folder).frames()))
    assert np.abs(decoded.astype(int) - shown).max() <= 1


def test_every_registered_model_is_tested_here() -> None:
    from boostnerv.config import model_names

    assert set(NAMES) == set(model_names())
    assert all(architecture(name).name == name for name in NAMES)
