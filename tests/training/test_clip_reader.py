"""Every frame of every video is delivered once an epoch, whatever the order; and reading ahead changes nothing."""

from __future__ import annotations

import gc
import os
import resource
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from boostnerv.errors import UserError
from boostnerv.models.clips import ClipSpec
from boostnerv.training.clip_reader import ClipBatch, ClipReader, Prefetcher
from boostnerv.video.collections import MOST_OPEN_FILES, OpenCollection, gather, open_collection
from boostnerv.video.frames import Pixels, open_frames, write_frames
from boostnerv.video.patches import split, split_patches
from tests.video.many import numbered, write_many

STATISTICS = ((0.5, 0.5, 0.5), (0.25, 0.25, 0.25))


@dataclass(frozen=True, kw_only=True)
class Spec(ClipSpec):
    """A model of clips without a network."""

    strides: tuple[int, ...] = (1,)
    fc_dim: int = 1


def spec_of(collection: OpenCollection, clip_frames: int) -> Spec:
    return Spec(
        frames=sum(collection.lengths),
        height=collection.height,
        width=collection.width,
        lengths=collection.lengths,
        clip_frames=clip_frames,
        patch_rows=collection.rows,
        patch_columns=collection.columns,
    )


def noise(frames: int, height: int, width: int, seed: int = 0) -> Pixels:
    return np.random.default_rng(seed).integers(0, 256, (frames, height, width, 3), dtype=np.uint8)


def gathered(folder: Path, videos: Sequence[Pixels], patch: tuple[int, int]) -> OpenCollection:
    paths = []
    for number, pixels in enumerate(videos):
        write_frames(pixels, folder / f"w{number}.npy", dataset="d", video=f"v{number}")
        split_patches(open_frames(folder / f"w{number}.json"), *patch, folder / f"p{number}.npy")
        paths.append(folder / f"p{number}.json")
    gather(paths, folder / "set.json", STATISTICS)
    return open_collection(folder / "set.json")


def keyframes_for(spec: ClipSpec, videos: Sequence[Pixels]) -> Pixels:
    """The videos' own frames as keyframes ``[K, P, h, w, 3]``."""
    chosen = [pixels[list(spec.keyframes_of(number))] for number, pixels in enumerate(videos)]
    return split(np.concatenate(chosen), spec.patch_rows, spec.patch_columns).swapaxes(0, 1)


# --- units ------------------------------------------------------------------------------------------------


def test_units_are_patches_of_clips(tmp_path: Path) -> None:
    videos = [noise(9, 4, 6, seed=1), noise(4, 4, 6, seed=2), noise(7, 4, 6, seed=3)]
    collection = gathered(tmp_path, videos, (2, 3))
    spec = spec_of(collection, 4)
    keyframes = keyframes_for(spec, videos)
    reader = ClipReader(collection, spec, keyframes)
    assert [(clip.video, clip.first, clip.count) for clip in spec.clips] == [
        (0, 0, 4), (0, 4, 4), (0, 8, 1), (1, 0, 4), (2, 0, 4), (2, 4, 3),
    ]  # fmt: skip
    assert len(reader) == 6 * 4
    batch = reader.read([4 * 5 + 3, 0, 4 * 2 + 1, 4 * 1 + 2])
    assert (batch.frames.shape, batch.frames.dtype) == ((4, 4, 2, 3, 3), np.uint8)
    assert batch.valid.tolist() == [3 * [True] + [False], 4 * [True], [True] + 3 * [False], 4 * [True]]
    # The last three frames of the last video, the last one twice; the lower right patch.
    np.testing.assert_array_equal(batch.frames[0], videos[2][[4, 5, 6, 6], 2:, 3:])
    np.testing.assert_array_equal(batch.frames[1], videos[0][:4, :2, :3])
    np.testing.assert_array_equal(batch.frames[2], videos[0][[8, 8, 8, 8], :2, 3:])
    np.testing.assert_array_equal(batch.frames[3], videos[0][4:8, 2:, :3])
    assert batch.keyframes is not None
    np.testing.assert_array_equal(batch.keyframes[0], videos[2][[4, 6], 2:, 3:])
    np.testing.assert_array_equal(batch.keyframes[1], videos[0][[0, 4], :2, :3])
    np.testing.assert_array_equal(batch.keyframes[2], videos[0][[8, 8], :2, 3:])
    np.testing.assert_array_equal(batch.keyframes[3], videos[0][[4, 8], 2:, :3])
    assert (batch.index.dtype, batch.distance.dtype) == (np.float32, np.float32)
    np.testing.assert_allclose(batch.index[0], np.array([4, 5, 6, 6]) / 6)
    np.testing.assert_allclose(batch.index[3], np.array([4, 5, 6, 7]) / 8)
    np.testing.assert_allclose(batch.distance[0], np.array([0, 1, 2, 2]) / 2)
    np.testing.assert_allclose(batch.distance[3], np.array([0, 1, 2, 3]) / 4)
    for place, (number, patch) in enumerate([(5, 3), (0, 0), (2, 1), (1, 2)]):
        np.testing.assert_array_equal(batch.index[place], spec.frame_indices(spec.clips[number], patch).numpy())
        np.testing.assert_array_equal(batch.distance[place], spec.distances(spec.clips[number]).numpy())


def test_keyframes_may_be_a_memory_map(tmp_path: Path) -> None:
    videos = [noise(5, 4, 6)]
    collection = gathered(tmp_path, videos, (4, 3))
    spec = spec_of(collection, 2)
    keyframes = keyframes_for(spec, videos)
    np.save(tmp_path / "k.npy", keyframes)
    mapped = ClipReader(collection, spec, np.load(tmp_path / "k.npy", mmap_mode="r")).read(range(6)).keyframes
    np.testing.assert_array_equal(mapped, ClipReader(collection, spec, keyframes).read(range(6)).keyframes)
    assert ClipReader(collection, spec, None).read([0]).keyframes is None


@dataclass(frozen=True, kw_only=True)
class KeyframeSpec(Spec):
    """A model that is given keyframes."""

    @property
    def uses_keyframes(self) -> bool:
        return True


def test_what_does_not_fit(tmp_path: Path) -> None:
    collection = gathered(tmp_path, [noise(9, 4, 6), noise(5, 4, 6)], (4, 3))
    ClipReader(collection, spec_of(collection, 5), None)
    other = Spec(frames=14, height=4, width=6, lengths=(5, 9), clip_frames=2, patch_columns=2)
    with pytest.raises(UserError, match="does not have the lengths, size or patches of the model's videos"):
        ClipReader(collection, other, None)
    with pytest.raises(UserError, match="does not have the lengths, size or patches"):
        ClipReader(collection, Spec(frames=14, height=4, width=6, lengths=(9, 5), clip_frames=2), None)
    with pytest.raises(ValueError, match=r"keyframes are uint8 \[8, 2, 4, 3, 3\], not uint8 \[10, 1, 4, 6, 3\]"):
        ClipReader(collection, spec_of(collection, 2), np.zeros((10, 1, 4, 6, 3), np.uint8))
    with pytest.raises(ValueError, match="this model needs keyframes"):
        ClipReader(
            collection, KeyframeSpec(frames=14, height=4, width=6, lengths=(9, 5), clip_frames=2, patch_columns=2), None
        )


# --- an epoch of many videos ------------------------------------------------------------------------------


def lengths_of(videos: int, frames: int, shortest: int) -> list[int]:
    """Lengths that add up to `frames`, none shorter than allowed."""
    rng = np.random.default_rng(0)
    spare = rng.multinomial(frames - videos * shortest, np.full(videos, 1 / videos))
    return [int(shortest + each) for each in spare]


def open_maps() -> int:
    """Frames files that this process has mapped."""
    return sum(".npy" in line for line in Path("/proc/self/maps").read_text().splitlines())


# UCF101's own numbers in full: 9,537 videos with 138,041 frames.
@pytest.mark.parametrize(
    ("videos", "frames"), [(600, 8_001), pytest.param(9_537, 138_041, marks=pytest.mark.slow)], ids=["part", "full"]
)
def test_every_frame_is_delivered_once_an_epoch(videos: int, frames: int, tmp_path: Path) -> None:
    height, width, most = 4, 5, 32
    gather(write_many(tmp_path, lengths_of(videos, frames, 8), height, width), tmp_path / "set.json", STATISTICS)
    collection = open_collection(tmp_path / "set.json")
    spec = spec_of(collection, 8)
    reader = ClipReader(collection, spec, None)
    order = np.random.default_rng(1).permutation(len(reader)).tolist()
    batches = [order[first : first + most] for first in range(0, len(order), most)]
    times = np.zeros(frames, int)
    files, peaks, maps = len(os.listdir("/proc/self/fd")), [], 0
    with closing(Prefetcher(reader.read, batches)) as prefetcher:
        for number, (units, batch) in enumerate(zip(batches, prefetcher, strict=True)):
            values = batch.frames.astype(np.int64) @ [1 << 16, 1 << 8, 1]
            found = values[:, :, 0, 0] // (height * width)
            # All pixels of a frame are its own, and the frames those of the clip that was asked for.
            assert (values == values[:, :, :1, :1] + np.arange(height * width).reshape(height, width)).all()
            clips = [spec.clips[unit] for unit in units]
            firsts = [spec.starts[clip.video] + clip.first for clip in clips]
            assert found[:, 0].tolist() == firsts
            np.add.at(times, found[batch.valid], 1)
            np.testing.assert_array_equal(batch.valid.sum(1), [clip.count for clip in clips])
            if number % 50 == 0:
                maps = max(maps, open_maps(), len(os.listdir("/proc/self/fd")) - files)
                peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
    assert (times == 1).all()
    # One is being opened, another let go, while they are counted.
    assert maps <= MOST_OPEN_FILES + 6
    # From the time on at which as many files are open as ever, memory stays as it is.
    assert peaks[-1] - peaks[len(peaks) // 2] < 20_000


# --- reading ahead ----------------------------------------------------------------------------------------


def batch_of(units: Sequence[int]) -> ClipBatch:
    """A batch that says which units were asked for."""
    frames = np.array(units, np.uint8).reshape(-1, 1, 1, 1, 1)
    place = np.zeros((len(units), 1), np.float32)
    return ClipBatch(frames, np.ones((len(units), 1), bool), None, place, place)


def prefetchers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "prefetcher"]


def units_of(batch: ClipBatch) -> list[int]:
    return batch.frames.ravel().tolist()


@pytest.mark.parametrize("ahead", [1, 2, 7, 100])
def test_batches_come_in_order(ahead: int) -> None:
    batches = [[number, number + 1] for number in range(40)]
    prefetcher = Prefetcher(batch_of, batches, ahead)
    assert [units_of(batch) for batch in prefetcher] == batches
    assert list(prefetcher) == []
    assert not prefetchers()
    assert list(Prefetcher(batch_of, [], ahead)) == []
    assert not prefetchers()


def test_only_a_few_are_read_ahead() -> None:
    asked: list[int] = []
    reached = threading.Semaphore(0)

    def read(units: Sequence[int]) -> ClipBatch:
        asked.append(units[0])
        reached.release()
        return batch_of(units)

    with closing(Prefetcher(read, ([number] for number in range(200)), ahead=3)) as prefetcher:
        for _ in range(3):
            assert reached.acquire(timeout=20)
        assert not reached.acquire(timeout=0.05)
        assert asked == [0, 1, 2]
        assert units_of(next(prefetcher)) == [0]
        assert reached.acquire(timeout=20)
        assert not reached.acquire(timeout=0.05)
        assert asked == [0, 1, 2, 3]


def test_errors_come_where_their_batch_would() -> None:
    def read(units: Sequence[int]) -> ClipBatch:
        if units[0] == 2:
            raise UserError("video 'x' is missing; gather again")
        return batch_of(units)

    prefetcher = Prefetcher(read, [[0], [1], [2], [3]], ahead=4)
    assert [units_of(next(prefetcher)), units_of(next(prefetcher))] == [[0], [1]]
    with pytest.raises(UserError, match="video 'x' is missing; gather again"):
        next(prefetcher)
    assert list(prefetcher) == []
    assert not prefetchers()


def test_errors_of_the_order_are_raised_too() -> None:
    def batches() -> Iterator[list[int]]:
        yield [0]
        raise ValueError("no order")

    prefetcher = Prefetcher(batch_of, batches())
    next(prefetcher)
    with pytest.raises(ValueError, match="no order"):
        next(prefetcher)
    assert not prefetchers()


def test_threads_end_with_what_reads_them() -> None:
    endless = ([number % 200] for number in iter(int, 1))
    with pytest.raises(KeyError), closing(Prefetcher(batch_of, endless)) as prefetcher:
        next(prefetcher)
        raise KeyError
    assert not prefetchers()
    closed = Prefetcher(batch_of, endless)
    closed.close()
    closed.close()
    assert list(closed) == []
    dropped = Prefetcher(batch_of, endless)
    next(dropped)
    assert len(prefetchers()) == 1
    del dropped
    gc.collect()
    assert not prefetchers()


def test_a_missing_file_is_a_sentence_in_the_training_loop(tmp_path: Path) -> None:
    collection = gathered(tmp_path, [noise(4, 4, 6, seed) for seed in range(3)], (2, 6))
    (tmp_path / "p1.npy").unlink()
    reader = ClipReader(collection, spec_of(collection, 4), None)
    with closing(Prefetcher(reader.read, [[0], [1], [2]])) as prefetcher:
        next(prefetcher)
        next(prefetcher)
        with pytest.raises(UserError, match=r"p1.npy are missing"):
            next(prefetcher)


def test_the_numbers_of_the_synthetic_videos(tmp_path: Path) -> None:
    paths = write_many(tmp_path, lengths_of(3, 30, 8), 4, 5)
    whole = np.concatenate([open_frames(path).pixels for path in paths])
    np.testing.assert_array_equal(whole, numbered(0, 30, 4, 5))
