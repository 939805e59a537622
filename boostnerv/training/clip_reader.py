"""Clips for training a multi-video model, prefetched a few batches ahead.

A unit is one patch of one clip; units are numbered clip by clip: unit = clip · patches + patch.
Legend: N units of a batch, D frames of a clip, K keyframes of all videos, P patches, h and w pixels of a patch.
"""

from __future__ import annotations

import queue
import threading
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from boostnerv.errors import UserError
from boostnerv.models.clips import ClipSpec
from boostnerv.video.frames import Pixels
from boostnerv.video.videos import Videos


@dataclass(frozen=True)
class ClipBatch:
    """N units as a training step needs them.

    frames: uint8 RGB ``[N, D, h, w, 3]``; past the end of a video its last frame is repeated.
    valid: bool ``[N, D]``, whether a frame belongs to the video.
    keyframes: uint8 RGB ``[N, 2, h, w, 3]``, decoded, before and after the clip; None for models without keyframes.
    index, distance: float32 ``[N, D]``, as `ClipSpec.frame_indices` and `ClipSpec.distances` define them.
    """

    frames: Pixels
    valid: NDArray[np.bool_]
    keyframes: Pixels | None
    index: NDArray[np.float32]
    distance: NDArray[np.float32]


class ClipReader:
    """Reads units of a collection; `keyframes` are decoded ones ``[K, P, h, w, 3]``, an array or memory map.

    They are numbered as `ClipSpec.keyframes_around` says. Raises `UserError` where the
    collection is not that of the model.
    """

    def __init__(self, collection: Videos, spec: ClipSpec, keyframes: Pixels | None) -> None:
        _check_same(collection, spec)
        expected = (spec.keyframe_starts[-1], spec.patches, spec.patch_height, spec.patch_width, 3)
        if keyframes is not None and (keyframes.shape != expected or keyframes.dtype != np.uint8):
            raise ValueError(f"keyframes are uint8 {list(expected)}, not {keyframes.dtype} {list(keyframes.shape)}")
        if spec.uses_keyframes and keyframes is None:
            raise ValueError("this model needs keyframes")
        self._collection, self._spec, self._keyframes = collection, spec, keyframes

    def __len__(self) -> int:
        """Number of units."""
        return self._spec.samples

    def read(self, units: Sequence[int]) -> ClipBatch:
        """The units with these numbers, in order."""
        spec, count = self._spec, len(units)
        size = (spec.patch_height, spec.patch_width, 3)
        frames = np.empty((count, spec.clip_frames, *size), np.uint8)
        valid = np.zeros((count, spec.clip_frames), bool)
        keyframes = None if self._keyframes is None else np.empty((count, 2, *size), np.uint8)
        index = np.empty((count, spec.clip_frames), np.float32)
        distance = np.empty((count, spec.clip_frames), np.float32)
        for place, unit in enumerate(units):
            number, patch = divmod(unit, spec.patches)
            clip = spec.clips[number]
            pixels = self._collection.patch(clip.video, patch)
            frames[place, : clip.count] = pixels[clip.first : clip.first + clip.count]
            frames[place, clip.count :] = frames[place, clip.count - 1]
            valid[place, : clip.count] = True
            index[place] = spec.frame_indices(clip, patch).numpy()
            distance[place] = spec.distances(clip).numpy()
            if keyframes is not None and self._keyframes is not None:
                for side, keyframe in enumerate(spec.keyframes_around(clip)):
                    keyframes[place, side] = self._keyframes[keyframe, patch]
        return ClipBatch(frames, valid, keyframes, index, distance)


def _check_same(collection: Videos, spec: ClipSpec) -> None:
    there = (collection.lengths, collection.manifest.height, collection.manifest.width, collection.grid)
    if there != (spec.lengths, spec.height, spec.width, (spec.patch_rows, spec.patch_columns)):
        raise UserError(
            f"collection {collection.path} does not have the lengths, size or patches of the model's videos; use the "
            "collection that the model was made for, or train it anew"
        )


# --- prefetching ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Read:
    """A batch, or the exception raised instead; neither at the end."""

    batch: ClipBatch | None = None
    error: BaseException | None = None


class Prefetcher:
    """Reads batches of units in order, up to `ahead` of them in advance, on a thread of its own.

    A read error is raised in place of its batch. The thread ends with the last batch, on `close`, and when the object
    is garbage-collected.
    """

    def __init__(
        self, read: Callable[[Sequence[int]], ClipBatch], batches: Iterable[Sequence[int]], ahead: int = 2
    ) -> None:
        self._queue: queue.SimpleQueue[_Read] = queue.SimpleQueue()
        self._room, stop = threading.Semaphore(ahead), threading.Event()
        # The thread holds no reference to this object, so the object can be collected while the thread waits.
        arguments = (read, iter(batches), self._queue, self._room, stop)
        self._thread = threading.Thread(target=_read_ahead, args=arguments, name="prefetcher", daemon=True)
        self._close = weakref.finalize(self, _end, self._thread, self._room, stop)
        self._thread.start()

    def __iter__(self) -> Iterator[ClipBatch]:
        return self

    def __next__(self) -> ClipBatch:
        if not self._close.alive:
            raise StopIteration
        read = self._queue.get()
        self._room.release()
        if read.batch is None:
            self.close()
            raise read.error or StopIteration
        return read.batch

    def close(self) -> None:
        """End the thread; no batches follow."""
        self._close()


def _read_ahead(
    read: Callable[[Sequence[int]], ClipBatch],
    batches: Iterator[Sequence[int]],
    results: queue.SimpleQueue[_Read],
    room: threading.Semaphore,
    stop: threading.Event,
) -> None:
    while True:
        room.acquire()
        if stop.is_set():
            return
        try:
            units = next(batches, None)
            result = _Read() if units is None else _Read(batch=read(units))
        except BaseException as error:
            result = _Read(error=error)
        results.put(result)
        if result.batch is None:
            return


def _end(thread: threading.Thread, room: threading.Semaphore, stop: threading.Event) -> None:
    stop.set()
    room.release()
    # Garbage collection may run on the thread itself.
    if thread is not threading.current_thread():
        thread.join()
