"""Round trips from weights to a file and back, for any model, size and weights."""

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

from boostnerv.codec.container.bitstream import read
from boostnerv.codec.decoder import NotANumberError, VideoFile, build_decoder, render, to_uint8
from boostnerv.codec.encoder import Quantized, Snapped, encode_segment, payload_bytes, snap
from boostnerv.codec.entropy.entropy_models import BY_NAME
from boostnerv.codec.entropy.payloads import Embeddings, Weights, dequantize
from boostnerv.codec.quantizers.grids import offset_value, step_values
from boostnerv.codec.quantizers.min_max import quantize
from boostnerv.errors import BitstreamError, UserError
from boostnerv.models.architecture import VideoModel, frame_time
from tests.codec.tiny import encoded, file_of, noise_embeddings, older_segment, opened, quantized, segment_of
from tests.examples import example_count
from tests.models.tiny import ALL, PUBLISHED, tiny_model

LARGEST = 1 << 19  # in quantiser steps; the encoder refuses larger values


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("files")


def check(model: VideoModel, values: Quantized, folder: Path, **choices: object) -> VideoFile:
    """The file holds the encoder's codes, and decodes to the frames of a network with exactly these."""
    snapped = snap(values)
    video = opened(file_of([encode_segment(model.architecture, model.spec, snapped, **choices)]), folder)
    assert (len(video), video.fps) == (model.spec.frames, 25.0)
    assert sum(video.section_bytes.values()) == video.file_bytes
    segment = video.segment(0)
    assert segment.spec == model.spec
    assert isinstance(segment.weights, Weights)
    assert segment.weights.step_index.tolist() == snapped.step_index.tolist()
    assert_equal(segment.weights.codes, snapped.weight_codes)
    if snapped.embedding_codes is not None:
        assert isinstance(segment.embeddings, Embeddings)
        assert_equal([np.concatenate(groups(segment.embeddings))], [snapped.embedding_codes])
    torch.set_flush_denormal(True)
    try:
        expected = list(measured(model, snapped))
    except NotANumberError:
        with pytest.raises(BitstreamError, match=r"frame \d contains NaN"):
            list(video.frames())
        return video
    finally:
        torch.set_flush_denormal(False)
    frames = list(video.frames())
    assert all(f.shape == (model.spec.height, model.spec.width, 3) and f.dtype == np.uint8 for f in frames)
    assert all(np.array_equal(a, b) for a, b in zip(frames, expected, strict=True))
    return video


def assert_equal(ours: list[NDArray[np.int32]], theirs: list[NDArray[np.int32]]) -> None:
    assert len(ours) == len(theirs)
    assert all(np.array_equal(a, b) and a.dtype == np.int32 for a, b in zip(ours, theirs, strict=True))


def groups(embeddings: Embeddings) -> list[NDArray[np.int32]]:
    return [embeddings.codes(number) for number in range(embeddings.groups)]


def measured(model: VideoModel, snapped: Snapped) -> Iterator[NDArray[np.uint8]]:
    """Frames of a network with these codes, computed one at a time."""
    values = (codes * step for codes, step in zip(snapped.weight_codes, step_values(snapped.step_index), strict=True))
    values = (tensor.astype(np.float32) for tensor in values)
    decoder = build_decoder(model.architecture, model.spec, values, torch.device("cpu"))
    embeddings = None
    if snapped.embedding_codes is not None:
        step = np.float32(step_values(np.array(snapped.embedding_step_index)))
        offset = offset_value(snapped.embedding_offset_index, step)
        embeddings = torch.from_numpy(dequantize(snapped.embedding_codes, step, offset))
    for k in range(model.spec.frames):
        one = None if embeddings is None else embeddings[k : k + 1]
        yield render(decoder, model.spec, range(k, k + 1), one)[0]


@pytest.mark.parametrize("name", ALL)
@settings(max_examples=example_count(10))
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
    check(model, quantized(model, bits=bits), folder)


def filled(model: VideoModel, draw: st.DataObject) -> Quantized:
    """Any weights: constant tensors, wide or narrow ones, single outliers, codes up to the limit."""

    def values(shape: torch.Size) -> torch.Tensor:
        scale = draw.draw(st.sampled_from([0.0, 1e-3, 1.0, 300.0, LARGEST / 2]))
        centre = draw.draw(st.sampled_from([0.0, 0.49, -7.0, -LARGEST / 2, LARGEST / 2]))
        kind = draw.draw(st.sampled_from(["constant", "uniform", "outlier"]))
        if kind == "constant":
            return torch.full(shape, centre)
        if kind == "uniform":
            return centre + scale * (2 * torch.rand(shape) - 1)
        outlier = torch.full(shape, centre)
        outlier.view(-1)[-1] += scale
        return outlier

    weights = {key: values(value.shape) for key, value in model.decoder.named_parameters()}
    step = draw.draw(st.sampled_from([1.0, 2.0**-20, 1.5, 2.0**10]))
    shape = model.spec.embedding_shape
    codes = values(torch.Size((model.spec.frames, *shape))) if shape else None
    offset = draw.draw(st.sampled_from([0.0, 0.3, -1000.0])) * step
    return Quantized(
        weights={key: value * step for key, value in weights.items()},
        steps=[step] * len(weights),
        # Below the limit, as the sum is rounded.
        embeddings=None if codes is None else codes.clamp(1 - LARGEST, LARGEST - 1) * step + offset,
        embedding_step=step,
        embedding_offset=offset,
    )


@pytest.mark.parametrize("name", ALL)
@settings(max_examples=example_count(15))
@given(draw=st.data(), entropy_model=st.sampled_from(["auto", *BY_NAME]), group=st.sampled_from([1, 2, 16, 255]))
def test_any_weights(folder: Path, name: str, draw: st.DataObject, entropy_model: str, group: int) -> None:
    model = tiny_model(name)
    check(model, filled(model, draw), folder, entropy_model=entropy_model, group=group)


@pytest.mark.parametrize("name", ALL)
def test_values_lie_within_half_a_step(folder: Path, name: str) -> None:
    model = tiny_model(name)
    values = quantized(model, bits=8)
    segment = opened(encoded(model, values), folder).segment(0)
    assert isinstance(segment.weights, Weights)
    for decoded, (key, tensor), step in zip(
        segment.weights.values(), values.weights.items(), segment.weights.steps, strict=True
    ):
        assert (torch.from_numpy(decoded) - tensor).abs().max() <= 0.5001 * step, key
    for given_step, step in zip(values.steps, segment.weights.steps, strict=True):
        assert step == pytest.approx(given_step, rel=1 / 128)
    if values.embeddings is not None:
        assert isinstance(segment.embeddings, Embeddings)
        decoded = torch.from_numpy(segment.embeddings.values(0))
        assert (decoded - values.embeddings).abs().max() <= 0.5001 * segment.embeddings.step


@pytest.mark.parametrize("name", ALL)
def test_size_of_the_codes_under_every_entropy_model(name: str) -> None:
    model = tiny_model(name, frames=9, fc_dim=9)
    snapped = snap(quantized(model))
    sizes = payload_bytes(snapped, group=4)
    for entropy_model in ("auto", *BY_NAME):
        segment = encode_segment(model.architecture, model.spec, snapped, entropy_model=entropy_model, group=4)
        for section, payload in (("weights", segment.weights), ("embeddings", segment.embeddings)):
            section_sizes = {key: size for key, size in sizes.items() if key.startswith(section)}
            if section_sizes and entropy_model == "auto":
                assert len(payload) <= min(section_sizes.values())
            elif section_sizes:
                # For a model that cannot code weights, the published one is used.
                assert len(payload) == section_sizes.get(f"{section}:{entropy_model}", sizes["weights:gaussian"])


# --- several segments -----------------------------------------------------------------------------------------


def test_segments_have_models_of_their_own(folder: Path) -> None:
    models = [tiny_model(name, frames=frames) for frames, name in enumerate(PUBLISHED, 1)]
    alone = [frame for model in models for frame in opened(encoded(model), folder).frames()]
    video = opened(file_of([segment_of(model) for model in models]), folder)
    assert video.starts == [0, 1, 3, 6, 10, 15, 21]
    assert len(video) == len(alone) == 21
    assert_frames(list(video.frames()), alone)
    order = [20, 0, 5, 6, 9, 10, 9, 2, 20]
    assert_frames(list(video.frames(order)), [alone[k] for k in order])
    assert_frames([video[k] for k in range(21)], alone)


def assert_frames(ours: list[NDArray[np.uint8]], theirs: list[NDArray[np.uint8]]) -> None:
    assert len(ours) == len(theirs)
    assert all(np.array_equal(a, b) for a, b in zip(ours, theirs, strict=True))


def test_quantisers_of_segments_differ(folder: Path) -> None:
    model = tiny_model("hnerv-boost")
    video = opened(file_of([segment_of(model), older_segment(model)]), folder)
    assert [segment.quantizer for segment in read(video.path.read_bytes()).segments] == ["uniform", "min-max"]
    assert_frames(list(video.frames(range(3))), list(opened(file_of([segment_of(model)]), folder).frames()))


# --- the older pipeline -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ALL)
def test_min_max_values_and_huffman_codes_come_back(folder: Path, name: str) -> None:
    model = tiny_model(name, frames=5)
    video = opened(file_of([older_segment(model)]), folder)
    segment = video.segment(0)
    expected = [quantize(tensor, 8).dequantize() for tensor in model.decoder.parameters()]
    decoded = [torch.from_numpy(values) for values in segment.weights.values()]
    assert all(torch.equal(a, b) for a, b in zip(decoded, expected, strict=True))
    decoder = build_decoder(model.architecture, model.spec, segment.weights.values(), torch.device("cpu"))
    embeddings = noise_embeddings(model)
    for k, frame in enumerate(video.frames()):
        one = None if embeddings is None else quantize(embeddings, 6).dequantize()[k : k + 1]
        assert np.array_equal(frame, render(decoder, model.spec, range(k, k + 1), one)[0])


# --- errors -------------------------------------------------------------------------------------------------


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


def test_an_unknown_entropy_model_is_refused() -> None:
    with pytest.raises(UserError, match="unknown entropy model 'gausian': did you mean 'gaussian'"):
        segment_of(tiny_model("nerv"), entropy_model="gausian")


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
    video = check(model, quantized(model, bits=8), folder)
    for decoded, original in zip(video.segment(0).network.parameters(), model.decoder.parameters(), strict=True):
        torch.testing.assert_close(decoded, original, rtol=0.01, atol=0)


# --- the counter video: frame k shows k ----------------------------------------------------------------------


def pass_through(model: VideoModel) -> None:
    """Weights of 0 and 1 that pass channel 0 of the stem through every block's sine to the image."""
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
    levels = 90 + 2 * np.arange(40)
    values = np.arctanh(2 * levels / 255 - 1)
    for _ in range(3):  # the sines of stem and two stages
        values = np.arcsin(values)
    embeddings = torch.zeros(40, *model.spec.embedding_shape)
    embeddings[:, 0] = torch.from_numpy(values).float()[:, None, None]
    steps = [1.0] * sum(1 for _ in model.decoder.parameters())
    stored = quantized(model, steps=steps, embeddings=embeddings, embedding_step=1e-4, embedding_offset=0.0)
    video = opened(encoded(model, stored), folder)
    for k, frame in enumerate(video.frames()):
        assert (frame == levels[k]).all(), k
    assert [int(video[k][3, 4, 1]) for k in (39, 0, 17)] == [168, 90, 124]


def test_frames_of_an_index_model_are_in_order(folder: Path) -> None:
    model = tiny_model("nerv-boost", frames=41, height=7, width=9)
    pass_through(model)
    with torch.no_grad():
        model.decoder.stem[0].weight[0, 2] = 1  # the first cosine: cos(π·t), falling over the video
        model.decoder.stem[2].weight[: math.prod(model.spec.grid), 0] = 1
    steps = [1.0] * sum(1 for _ in model.decoder.parameters())
    video = opened(encoded(model, quantized(model, steps=steps)), folder)
    t = (np.arange(41) + 1) / 41
    levels = grey(sines(np.cos(np.pi * t), 4))
    assert len(set(levels)) > 30
    assert levels == sorted(levels, reverse=True)
    frame_levels = [np.unique(frame).tolist() for frame in video.frames()]
    assert frame_levels == [[level] for level in levels]


# --- the trained network and the decoded one ----------------------------------------------------------------


@pytest.mark.parametrize("name", ALL)
def test_fine_codes_decode_to_the_frames_of_the_network(folder: Path, name: str) -> None:
    model = tiny_model(name, height=9, width=11)
    pictures = torch.rand(3, 3, 9, 11, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        original = to_uint8(model(frame_time(torch.arange(3), 3), pictures))
        embeddings = model.embed(pictures)
    stored = Quantized.after_training(dict(model.decoder.named_parameters()), embeddings, bits=16)
    decoded = np.stack(list(opened(encoded(model, stored), folder).frames()))
    assert np.abs(decoded.astype(int) - original).max() <= 1


def test_codes_are_those_of_the_learned_steps(folder: Path) -> None:
    """Fine-tuning fitted the network to these codes; snapping the step scales values but does not change codes."""
    model = tiny_model("hnerv-boost")
    initial = quantized(model, bits=10)
    learned = [step * 1.003 for step in initial.steps]  # between two steps of the grid
    weights = {
        name: torch.round(tensor / step) * step
        for (name, tensor), step in zip(initial.weights.items(), learned, strict=True)
    }
    video = check(model, dataclasses.replace(initial, weights=weights, steps=learned), folder)
    codes = [np.rint(tensor.detach().numpy() / step) for tensor, step in zip(weights.values(), learned, strict=True)]
    weights_of_file = video.segment(0).weights
    assert isinstance(weights_of_file, Weights)
    assert all(
        np.array_equal(one.ravel(), other.ravel()) for one, other in zip(weights_of_file.codes, codes, strict=True)
    )
    assert max(np.abs(one).max() for one in codes) > 200


def test_a_step_finer_than_the_grid_becomes_its_finest(folder: Path) -> None:
    model = tiny_model("nerv")
    initial = quantized(model)
    weights = {name: torch.full_like(tensor, 1e-14) for name, tensor in initial.weights.items()}
    tiny = dataclasses.replace(initial, weights=weights, steps=[1e-21] * len(initial.steps))
    assert all(codes.tolist() == np.full_like(codes, 3).tolist() for codes in snap(tiny).weight_codes)
    check(model, tiny, folder)
