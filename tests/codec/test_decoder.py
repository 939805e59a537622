"""Guarantees of an opened file: any frame, in any order, identical for any number of threads."""

from __future__ import annotations

import dataclasses
import re
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import boostnerv
from boostnerv.codec.container import bitstream, limits
from boostnerv.codec.container.bitstream import Bitstream
from boostnerv.codec.container.limits import ANY_SEGMENT_BYTES, Demand, check_proportion, demand, most_side_by_side
from boostnerv.codec.decoder import FAST_BATCH, VideoFile, images, render, to_uint8
from boostnerv.codec.entropy.payloads import DEFAULT_GROUP, read_weights
from boostnerv.config import ModelSettings
from boostnerv.errors import BitstreamError, UserError
from boostnerv.models.architecture import architecture, build_model
from boostnerv.models.budget import resolve
from tests.codec.sections import EMBEDDINGS, WEIGHTS, join, split
from tests.codec.tiny import encoded, file_of, older_segment, opened, quantized, segment_of, small_file
from tests.examples import example_count
from tests.golden.streams import FILES
from tests.models.tiny import ALL, tiny_model, tiny_spec


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("files")


@pytest.fixture(params=ALL)
def video(request: pytest.FixtureRequest, tmp_path: Path) -> VideoFile:
    return opened(encoded(tiny_model(request.param, frames=5, height=9, width=11)), tmp_path)


@pytest.fixture
def threads() -> Iterator[None]:
    """The test may change the number of threads."""
    yield
    torch.set_num_threads(1)


# --- frames -----------------------------------------------------------------------------------------------------


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


def test_the_fast_mode_computes_what_the_model_does(video: VideoFile) -> None:
    segment = video.segment(0)
    plain = segment.architecture.decoder(segment.spec)
    plain.load_state_dict(segment.network.state_dict())
    fast, slow = (
        [images(network, segment.spec, range(k, k + 1), segment._embedding(range(k, k + 1))) for k in range(5)]
        for network in (segment.network, plain.requires_grad_(False))
    )
    assert max((one - other).abs().max() for one, other in zip(fast, slow, strict=True)) < 1e-5


@pytest.mark.parametrize("index", [5, -6, 1 << 40])
def test_a_frame_that_is_not_there(video: VideoFile, index: int) -> None:
    with pytest.raises(IndexError, match=f"frame {index} of a video of 5 frames"):
        video[index]


@pytest.mark.parametrize("index", [5, -1, 1 << 40])
def test_frames_that_are_not_there(video: VideoFile, index: int) -> None:
    with pytest.raises(IndexError, match=f"frame {index} of a video of 5 frames"):
        list(video.frames([0, index]))


def test_a_file_is_a_sequence(video: VideoFile) -> None:
    assert len([frame for frame in video]) == 5  # noqa: C416  (tests the loop)


def test_the_package_opens_files(video: VideoFile) -> None:
    assert np.array_equal(boostnerv.open(video.path)[2], video[2])


def test_rounding_to_levels() -> None:
    levels = torch.tensor([0.0, 0.49 / 255, 0.51 / 255, 254.51 / 255, 1.0])
    assert to_uint8(levels.view(1, 1, 1, 5).expand(1, 3, 1, 5))[0, 0, :, 0].tolist() == [0, 0, 1, 255, 255]


def test_properties_of_the_video(folder: Path) -> None:
    video = opened(FILES["segments"](), folder)
    assert (len(video), video.height, video.width, video.fps, video.version) == (8, 9, 14, 25.0, 1)
    assert video.timestamps_s == (0.0, 0.04, 0.05, 0.125, 0.125, 0.5, 2.0, 2.5)
    assert opened(FILES["nerv"](), folder).timestamps_s is None


@pytest.mark.parametrize("name", ALL)
@settings(max_examples=example_count(10))
@given(batch=st.sampled_from([1, 2, 3, 7, 255]), requested=st.lists(st.integers(0, 6), max_size=9))
def test_frames_are_those_of_their_batch(folder: Path, name: str, batch: int, requested: list[int]) -> None:
    """All frames of a batch are computed together, whichever are requested."""
    model = tiny_model(name, frames=7)
    # A group ends within a batch of 3 or 7 frames.
    video = opened(file_of([segment_of(model, group=4)], batch=batch), folder)
    segment = video.segment(0)
    embeddings = segment.embeddings
    values = None
    if embeddings is not None:
        values = torch.from_numpy(np.concatenate([embeddings.values(0), embeddings.values(1)]))
    for k, frame in zip(requested, video.frames(requested), strict=True):
        start = k // batch * batch
        together = range(start, min(start + batch, 7))
        part = None if values is None else values[together.start : together.stop]
        assert np.array_equal(frame, render(segment.network, model.spec, together, part)[k - start])


def test_a_batch_ends_with_its_segment(folder: Path) -> None:
    models = [tiny_model("hnerv-boost", frames=3), tiny_model("hnerv-boost", frames=4, seed=2)]
    alone = [list(opened(file_of([segment_of(model)], batch=2), folder).frames()) for model in models]
    video = opened(file_of([segment_of(model) for model in models], batch=2), folder)
    assert all(np.array_equal(a, b) for a, b in zip(video.frames(), [*alone[0], *alone[1]], strict=True))


# --- the number of threads ----------------------------------------------------------------------------------------


def sensitive_file(name: str) -> bytes:
    """A file with weights so large that the network is chaotic: frames differ by whole levels if threads share sums
    of floats, or if batches differ."""
    spec = resolve(ModelSettings(name=name, strides=(5, 2, 2), total_m=0.6), 3, 180, 320)
    model = build_model(name, spec, 1)
    with torch.no_grad():
        for parameter in model.decoder.parameters():
            parameter.mul_(4)
    return encoded(model, quantized(model, bits=8))


@pytest.mark.usefixtures("threads")
@pytest.mark.parametrize("name", ALL)
def test_the_number_of_threads_and_the_choice_of_frames_change_nothing(folder: Path, name: str) -> None:
    data = sensitive_file(name)
    torch.set_num_threads(1)
    expected = list(opened(data, folder).frames())
    for count in (2, 4):
        torch.set_num_threads(count)
        video = opened(data, folder)
        for order in ([0, 1, 2], [2, 0]):
            frames = list(video.frames(order))
            assert all(np.array_equal(frame, expected[k]) for k, frame in zip(order, frames, strict=True))
    # For a chaotic network, larger batches and shared sums preserve only the number and shape of frames.
    fast = list(VideoFile(video.path, exact=False).frames())
    assert [frame.shape for frame in fast] == [frame.shape for frame in expected]


@pytest.mark.parametrize("name", ALL)
def test_frames_that_need_not_be_exact_are_near(folder: Path, name: str) -> None:
    video = opened(encoded(tiny_model(name, frames=11)), folder)
    fast = VideoFile(video.path, exact=False)
    order = [*range(11), 10, 0]
    for ours, theirs in zip(fast.frames(order), video.frames(order), strict=True):
        assert np.abs(ours.astype(int) - theirs).max() <= 1


def new_thread_s_threads() -> int:
    counts: list[int] = []
    thread = threading.Thread(target=lambda: counts.append(torch.get_num_threads()))
    thread.start()
    thread.join()
    return counts[0]


@pytest.mark.usefixtures("threads")
@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize("end", ["whole", "one", "dropped", "closed", "damaged"])
def test_the_caller_s_number_of_threads_stays_as_it_is(folder: Path, end: str, count: int) -> None:
    torch.set_num_threads(count)
    model = tiny_model("hnerv-boost", frames=9)
    data = file_of([segment_of(model, group=2)])
    if end == "damaged":
        sections = split(data)
        sections[-1] = EMBEDDINGS, sections[-1][1][:-4] + b"\0\0\0\0"
        data = join(sections)
    video = opened(data, folder)
    frames = video.frames()
    if end == "whole":
        assert len(list(frames)) == 9
    elif end == "one":
        assert video[3].shape == (5, 6, 3)
    elif end == "damaged":
        with pytest.raises(BitstreamError, match="section embeddings: .*empty word"):
            list(frames)
    else:
        next(frames)
        next(frames)
        assert torch.get_num_threads() == count
        if end == "closed":
            frames.close()
        del frames
    assert torch.get_num_threads() == count
    assert new_thread_s_threads() == count


@pytest.mark.usefixtures("threads")
def test_two_readers_at_once(folder: Path) -> None:
    torch.set_num_threads(2)
    video = opened(encoded(tiny_model("hnerv-boost", frames=9)), folder)
    expected = list(video.frames())
    pairs = list(zip(video.frames(), VideoFile(video.path).frames(range(8, -1, -1)), strict=True))
    assert all(np.array_equal(a, expected[k]) and np.array_equal(b, expected[8 - k]) for k, (a, b) in enumerate(pairs))
    assert torch.get_num_threads() == new_thread_s_threads() == 2


# --- random access ------------------------------------------------------------------------------------------------


def test_a_frame_needs_only_the_stream_of_its_own_group(folder: Path) -> None:
    """Damaging the words of all other groups, with correct CRCs, leaves the frames of the group unchanged."""
    model = tiny_model("hnerv-boost", frames=11)
    data = file_of([segment_of(model, entropy_model="temporal", group=4)])
    expected = list(opened(data, folder).frames())
    sections = split(data)
    payload = sections[-1][1]
    lengths = np.frombuffer(payload, "<u4", 3, 13)
    start = 13 + 4 * 3 + 4 * int.from_bytes(payload[9:13], "little")
    bounds = start + 4 * np.cumsum([0, *lengths])
    assert bounds[-1] == len(payload)
    for kept in range(3):
        damaged = bytearray(payload)
        for other in {0, 1, 2} - {kept}:
            damaged[bounds[other] : bounds[other + 1]] = b"\xa5" * (bounds[other + 1] - bounds[other])
        video = opened(join([*sections[:-1], (EMBEDDINGS, bytes(damaged))]), folder)
        frames = range(4 * kept, min(4 * kept + 4, 11))
        assert all(np.array_equal(video[k], expected[k]) for k in frames)
        assert same(video, expected) == list(frames)


def same(video: VideoFile, expected: list[NDArray[np.uint8]]) -> list[int]:
    """Numbers of the frames that equal the expected ones; refused frames do not."""
    equal_frames = []
    for k, frame in enumerate(expected):
        try:
            if np.array_equal(video[k], frame):
                equal_frames.append(k)
        except BitstreamError:
            continue
    return equal_frames


# --- files on a disk --------------------------------------------------------------------------------------------


def test_paths_that_are_no_files(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"cannot read .*: No such file or directory; check the path"):
        VideoFile(tmp_path / "missing.bnv")
    with pytest.raises(UserError, match=r"cannot read .*: Is a directory; check the path"):
        VideoFile(tmp_path)


@pytest.mark.parametrize("kind", FILES)
def test_the_sentence_names_the_file(tmp_path: Path, kind: str) -> None:
    with pytest.raises(BitstreamError, match=r"video\.bnv: .*truncated"):
        opened(FILES[kind]()[:-1], tmp_path)


@pytest.mark.parametrize("older", [False, True])
@pytest.mark.parametrize(("number", "section"), [(WEIGHTS, "weights"), (EMBEDDINGS, "embeddings")])
def test_damaged_codes_name_file_and_section(tmp_path: Path, older: bool, number: int, section: str) -> None:
    model = tiny_model("hnerv-boost")
    sections = split(file_of([older_segment(model) if older else segment_of(model)]))
    changed = [(n, payload + b"\1\0\0\0" if n == number else payload) for n, payload in sections]
    with pytest.raises(BitstreamError, match=rf"video\.bnv: section {section}: .*(is damaged|is unknown)"):
        list(opened(join(changed), tmp_path).frames())


# --- excessive demands ---------------------------------------------------------------------------------------------


def respecified(data: bytes, batch: int = 1, **changes: object) -> bytes:
    """A valid file with the description of another model."""
    stream = bitstream.read(data)
    segment = stream.segments[0]
    spec = dataclasses.replace(segment.spec, **changes)
    video = dataclasses.replace(stream.video, frames=spec.frames, height=spec.height, width=spec.width, batch=batch)
    return bitstream.write(Bitstream(video, (dataclasses.replace(segment, spec=spec),)))


HUGE = {"height": 30000, "width": 30000}


def test_no_memory_is_taken_for_codes_that_cannot_be_there(tmp_path: Path) -> None:
    shapes = [(1 << 21, 1, 1, 2)]
    with pytest.raises(BitstreamError, match=r"it claims 4194304 codes in 2097152 channels in 8 bytes"):
        read_weights(bytes(8), shapes)
    with pytest.raises(BitstreamError, match="section embeddings: it claims 337500000 codes in 1 channels"):
        _ = opened(respecified(small_file("hnerv-boost"), **HUGE), tmp_path).segment(0).embeddings


WIDE = {"height": 500, "width": 500, "strides": (2, 1), "lower_width": 100, "fc_dim": 100}


@pytest.mark.parametrize(
    ("name", "batch", "changes", "sentence"),
    [
        ("nerv", 1, {**HUGE, "fc_dim": 1}, r"[\d.,]+ seconds, but \d+ coded bytes may use 2\.\d; the file is damaged"),
        ("nerv", 255, {"height": 180, "width": 200, "frames": 300}, "seconds"),
        ("nerv", 1, {"height": 1 << 14, "width": 800, "strides": (16, 16), "fc_dim": 1, "lower_width": 3}, "seconds"),
        ("hnerv-boost", 1, {"height": 2000, "width": 2000, "strides": (2, 2, *6 * (1,))}, "seconds"),
        ("nerv-boost", 1, {"height": 10000, "width": 10000, "fc_dim": 10000}, "seconds"),
        ("hnerv", 1, WIDE, "seconds"),
        ("e-nerv", 1, {"height": 1 << 15, "width": 1 << 15, "strides": (1, 1)}, "seconds|an impossible model"),
    ],
)
def test_work_out_of_proportion_is_refused(
    tmp_path: Path, name: str, batch: int, changes: dict[str, object], sentence: str
) -> None:
    data = respecified(small_file(name), batch, **changes)
    for use in ("most_side_by_side", "weights", "network"):
        with pytest.raises(BitstreamError, match=rf"video\.bnv: section model: it.*{sentence}"):
            getattr(opened(data, tmp_path).segment(0), use)


def test_memory_out_of_proportion_is_refused() -> None:
    cost = Demand(nominal_s=0.5, memory_bytes=ANY_SEGMENT_BYTES + 1, batch_bytes=1)
    with pytest.raises(BitstreamError, match=r"first frame needs 300\.0 megabytes, but 0 coded bytes may use 300\.0"):
        check_proportion(cost, 0)
    check_proportion(cost, cost.least_coded_bytes)
    assert cost.least_coded_bytes == 1


def test_a_segment_is_credited_with_its_own_codes_only(tmp_path: Path) -> None:
    wide = respecified(small_file("hnerv"), **WIDE)
    filled = join([*split(wide), (200, bytes(1 << 20))])
    with pytest.raises(BitstreamError, match="but 253 coded bytes may use"):
        _ = opened(filled, tmp_path)[0]


@pytest.mark.parametrize("reduce", [5e-324, 1e-300, 1e-17])
@pytest.mark.parametrize("name", ["hnerv-boost", "nerv-boost"])
def test_widths_that_grow_without_bound(tmp_path: Path, name: str, reduce: float) -> None:
    video = opened(respecified(small_file(name), reduce=reduce), tmp_path)
    with pytest.raises(BitstreamError, match=r"video\.bnv: section (model|weights): "):
        video[0]


@pytest.mark.parametrize(
    ("size", "total_m", "coded_bytes"),
    [
        ((1080, 1920), 0.4, 50_000),
        ((1080, 1920), 3.0, 375_000),
        ((1080, 1920), 15.0, 1_875_000),
        ((2160, 3840), 1.5, 250_000),
    ],
)
@pytest.mark.parametrize("name", ["hnerv-boost", "hnerv", "nerv-boost"])
def test_real_models_are_within_proportion(name: str, size: tuple[int, int], total_m: float, coded_bytes: int) -> None:
    """At one or two bits per parameter, less than any file coded so far."""
    spec = resolve(ModelSettings(name=name, strides=(5, 3, 2, 2, 2), total_m=total_m), 100, *size)
    assert demand(architecture(name), spec, group=DEFAULT_GROUP).least_coded_bytes <= coded_bytes


def test_batches_side_by_side_share_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    cost = Demand(nominal_s=1.0, memory_bytes=150_000_000, batch_bytes=100_000_000)
    monkeypatch.setattr(limits, "machine_memory_bytes", lambda: 8_000_000_000)
    assert most_side_by_side(cost, 0) == 3
    assert most_side_by_side(cost, 10_000) == 6
    monkeypatch.setattr(limits, "machine_memory_bytes", lambda: 500_000_000)
    assert most_side_by_side(cost, 10_000) == 2  # half of the machine
    monkeypatch.setattr(limits, "machine_memory_bytes", lambda: 160_000_000)
    assert most_side_by_side(cost, 10_000) == 1


def test_a_batch_that_this_machine_has_no_memory_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    video = opened(small_file("hnerv"), tmp_path)
    monkeypatch.setattr(limits, "machine_memory_bytes", lambda: 1000)
    sentence = (
        r"video\.bnv: decoding one of its frames takes 0\.0 GB of memory, and this machine has 0\.0 GB; decode it on"
    )
    with pytest.raises(UserError, match=sentence):
        _ = video[0]


@pytest.mark.parametrize(
    ("groups", "expected"),
    [
        ({"": "max", "job": "3000000000", "job/step": "max"}, [3_000_000_000]),
        ({"job": "2000", "job/step": "1000"}, [1000, 2000]),
        ({}, []),
    ],
)
def test_limits_of_control_groups(tmp_path: Path, groups: dict[str, str], expected: list[int]) -> None:
    own = tmp_path / "own"
    own.write_text("1:cpu:/elsewhere\n0::/job/step\n")
    for name, limit in groups.items():
        (tmp_path / "root" / name).mkdir(parents=True, exist_ok=True)
        (tmp_path / "root" / name / "memory.max").write_text(f"{limit}\n")
    assert limits._group_limits_bytes(tmp_path / "root", own) == expected
    assert limits._group_limits_bytes(tmp_path / "root", tmp_path / "none") == []


def test_failed_allocations_have_a_sentence(tmp_path: Path) -> None:
    segment = opened(small_file("hnerv"), tmp_path).segment(0)

    class Greedy(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = torch.nn.Parameter(torch.zeros(1))

        def forward(self, t: torch.Tensor, embedding: torch.Tensor) -> torch.Tensor:
            return torch.empty(1 << 60)

    segment.network = Greedy()
    with pytest.raises(UserError, match=r"there is not enough memory to decode .*video\.bnv \(0\.\d GB at once\)"):
        segment.render(range(1))


# --- NaN and subnormal numbers -------------------------------------------------------------------------------------


def test_nan_is_refused(tmp_path: Path) -> None:
    spec = dataclasses.replace(tiny_spec("nerv"), base=16384.0, levels=80)
    data = encoded(build_model("nerv", spec, seed=1))
    with pytest.raises(BitstreamError, match=r"video\.bnv: section model: frame 0 contains NaN; the file is"):
        _ = opened(data, tmp_path)[0]


def test_subnormal_numbers_count_as_zero(tmp_path: Path) -> None:
    """2^−140 is subnormal: multiplied by 2^139 it would be ½."""
    model = tiny_model("hnerv", frames=1)
    for exact in (True, False):
        video = opened(encoded(model), tmp_path)
        video.exact = exact
        segment = video.segment(0)
        segment.prepare()

        def forward(t: torch.Tensor, embedding: torch.Tensor) -> torch.Tensor:
            small = torch.full((1, 3, *model.spec.padded), 2.0**-70)
            return small * 2.0**-70 * 2.0**100 * 2.0**39 + 0.25

        segment.network.forward = forward  # type: ignore[method-assign]
        assert set(video[0].ravel().tolist()) == {64}
    assert torch.full((1,), 2.0**-70) * 2.0**-70 != 0  # the caller's threads are unchanged


def test_versions_that_are_newer_are_refused(tmp_path: Path) -> None:
    data = small_file("nerv")
    sentence = re.escape("format version 2, this program reads versions 0 to 1; use a newer boostnerv release")
    with pytest.raises(BitstreamError, match=sentence):
        opened(join(split(data), version=2), tmp_path)


def test_iterators_of_one_file_do_not_disturb_each_other(folder: Path) -> None:
    models = [tiny_model("hnerv", frames=6, seed=seed) for seed in (1, 2)]
    video = opened(file_of([segment_of(model) for model in models]), folder)
    frames = list(video.frames())
    pairs = zip(video.frames(range(6)), video.frames(range(6, 12)), strict=True)
    for index, (first, second) in enumerate(pairs):
        assert np.array_equal(first, frames[index])
        assert np.array_equal(second, frames[6 + index])
        assert np.array_equal(video[11 - index], frames[11 - index])


def test_decoding_leaves_the_process_as_it_was(folder: Path) -> None:
    video = opened(file_of([segment_of(tiny_model("hnerv", frames=6))]), folder)
    cudnn = torch.backends.cudnn

    def state() -> tuple[object, ...]:
        return cudnn.enabled, cudnn.benchmark, cudnn.deterministic, cudnn.allow_tf32, torch.random.get_rng_state().sum()

    before = state()
    list(video.frames())
    assert state() == before


def test_batches_that_the_program_chooses_fit_the_memory_that_a_file_may_use(folder: Path) -> None:
    model = tiny_model("nerv", frames=20, height=2000, width=2000, strides=(10, 10, 10), fc_dim=1)
    video = opened(file_of([segment_of(model)]), folder)
    video.exact = False
    assert 1 <= video._batch_sizes[0] < FAST_BATCH
    assert video.segment(0).most_side_by_side >= 1


# --- speeds ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("exact", [True, False])
@pytest.mark.parametrize("first", [None, 1, 4])
def test_measuring_speed_changes_no_frame(folder: Path, first: int | None, exact: bool) -> None:
    models = [tiny_model("hnerv-boost", frames=3), tiny_model("hnerv-boost", frames=19, seed=2)]
    path = opened(file_of([segment_of(model) for model in models], batch=2), folder).path
    expected = list(VideoFile(path, exact=exact).frames())
    video = VideoFile(path, exact=exact)
    if first is not None:
        _ = video[first]
    threads = torch.get_num_threads()
    speeds = video.speeds()
    assert min(speeds.warm_fps, speeds.compute_fps) > 0
    assert torch.get_num_threads() == threads
    assert all(np.array_equal(ours, theirs) for ours, theirs in zip(video.frames(), expected, strict=True))


def test_what_is_timed_alone_makes_the_same_frames(video: VideoFile) -> None:
    segment = video.segment(0)
    outputs = segment.compute(range(2, 3))
    assert [tuple(output.shape) for output in outputs] == [(1, 3, 9, 11)]
    assert np.array_equal(to_uint8(outputs[0])[0], video[2])
