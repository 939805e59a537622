"""Stand-alone decoder: from the bytes of a ``.bnv`` file to frames.

The exact mode, which is the default and the one that the encoder measures, computes frames in the batches that the file
specifies, each on one thread, several in parallel: pixels depend neither on which frames are requested nor on the
number of threads. On CPUs all modes flush subnormal numbers to zero, as some processors compute with them a hundred
times more slowly.
"""

from __future__ import annotations

import itertools
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from boostnerv.codec.container import bitstream, version0
from boostnerv.codec.container.bitstream import Bitstream, Segment
from boostnerv.codec.container.display import display_notes
from boostnerv.codec.container.limits import Demand, check_proportion, demand, most_side_by_side
from boostnerv.codec.entropy.payloads import CodedEmbeddings, CodedWeights, Embeddings, read_weights
from boostnerv.codec.keyframes.keyframe_section import Keyframes
from boostnerv.codec.quantizers.post_training import PostTrainingEmbeddings, PostTrainingWeights, decode_tensors
from boostnerv.codec.quantizers.slices import decode_slices
from boostnerv.errors import BitstreamError, UserError
from boostnerv.models.architecture import (
    Architecture,
    Spec,
    crop_to_video,
    frame_time,
    tensor_shapes,
    to_device,
)
from boostnerv.models.clips import Clip, ClipSpec, clip_keyframes
from boostnerv.models.convolution import fuse

T = TypeVar("T")

FAST_BATCH = 8
_IMPOSSIBLE = "it describes an impossible model; the file is damaged, get it again"
_NO_MEMORY = "can't allocate memory"  # part of PyTorch's message on a CPU
_TIMED_FRAMES = 16
_TIMED_PASSES = 3
_AFTER_TRAINING = {"min-max": decode_tensors, "slices": decode_slices}


@dataclass(frozen=True)
class Speeds:
    """Frames per second of a loaded file: its network is built and its codes are decoded.

    `warm_fps` includes rounding to uint8 and the transfer to CPU memory, `compute_fps` does not. Both include decoding
    the keyframe images.
    """

    warm_fps: float
    compute_fps: float


class VideoFile:
    """An opened ``.bnv`` file: ``len(file)`` frames, ``file[k]`` is frame k as uint8 RGB ``[H, W, 3]``.

    Weights and embeddings are entropy-decoded on first use, one segment at a time. With ``exact=False`` frames are
    computed in larger batches, each on all threads, and pixels may differ by one level. Raises `UserError` if the file
    cannot be read, `BitstreamError` if it is damaged.
    """

    def __init__(self, path: str | Path, device: str = "cpu", *, exact: bool = True) -> None:
        self.path = Path(path)
        try:
            data = self.path.read_bytes()
        except OSError as error:
            raise UserError(f"cannot read {path}: {error.strerror}; check the path") from error
        self.device = torch.device(device)
        self.exact = exact
        self.file_bytes = len(data)
        try:
            self.version = bitstream.version(data)
            old = self.version == version0.VERSION
            self.stream: Bitstream = (version0 if old else bitstream).read(data)
            self.section_bytes = (version0 if old else bitstream).section_bytes(data)
        except BitstreamError as error:
            raise BitstreamError(f"{path}: {error}") from error
        frames = [segment.spec.frames for segment in self.stream.segments]
        self.starts = [0, *itertools.accumulate(frames)]
        self._opened: tuple[int, SegmentDecoder] | None = None

    @property
    def height(self) -> int:
        return self.stream.video.height

    @property
    def width(self) -> int:
        return self.stream.video.width

    @property
    def fps(self) -> float:
        return self.stream.video.fps

    @property
    def timestamps_s(self) -> tuple[float, ...] | None:
        """Presentation time of each frame relative to the first; None at a constant rate."""
        return self.stream.video.timestamps_s

    @property
    def notes(self) -> list[str]:
        """Sentences about display metadata that decoded videos get wrong; see `display_notes`."""
        return display_notes(self.stream.video.display, self.height, self.width)

    def __len__(self) -> int:
        return self.stream.video.frames

    def __getitem__(self, index: int) -> NDArray[np.uint8]:
        if not -len(self) <= index < len(self):
            raise IndexError(f"frame {index} of a video of {len(self)} frames")
        return next(self.frames([index % len(self)]))

    def frames(self, indices: Sequence[int] | range | None = None) -> Iterator[NDArray[np.uint8]]:
        """Yield frames (all by default) in the given order as uint8 RGB ``[H, W, 3]``; raises `IndexError`."""
        yield from self._computed(range(len(self)) if indices is None else indices, _Batch.render)

    def speeds(self) -> Speeds:
        """Decoding speed, measured on the first frames of the most recently used segment.

        They are recomputed as `frames` computes them and discarded; the best of several alternating passes counts.
        """
        segment = self._opened[0] if self._opened else 0
        start, end = self.starts[segment : segment + 2]
        stop = start
        while stop < min(start + _TIMED_FRAMES, end):
            stop = start + self._locate(stop)[1].stop
        timed = range(start, stop)
        self._seconds(range(start, start + self._locate(start)[1].stop), _Batch.render)  # the first group of codes
        passes = [
            (self._seconds(timed, _Batch.render), self._seconds(timed, _Batch.compute)) for _ in range(_TIMED_PASSES)
        ]
        render_s, compute_s = map(min, zip(*passes, strict=True))
        return Speeds(warm_fps=len(timed) / render_s, compute_fps=len(timed) / compute_s)

    def _seconds(self, indices: range, compute: Callable[[_Batch], list[Any]]) -> float:
        """Wall time of computing frames, which are discarded."""
        self._synchronise()
        started = time.perf_counter()
        deque(self._computed(indices, compute), maxlen=0)
        self._synchronise()
        return time.perf_counter() - started

    def _synchronise(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def _computed(self, indices: Sequence[int] | range, compute: Callable[[_Batch], list[T]]) -> Iterator[T]:
        """Results of `compute` for the batches of these frames, in order."""
        batches = self._batches(indices)
        if self.device.type == "cpu":
            yield from _side_by_side(batches, compute) if self.exact else _one_by_one(batches, compute)
        else:
            for batch in batches:
                yield from compute(batch)

    def segment(self, number: int) -> SegmentDecoder:
        """The decoder of a segment; only the most recent one is kept."""
        opened = self._opened
        if opened is None or opened[0] != number:
            segment, batch = self.stream.segments[number], self._batch_sizes[number]
            opened = (number, SegmentDecoder(segment, self.device, batch, str(self.path)))
            self._opened = opened
        return opened[1]

    @property
    def videos(self) -> dict[str, tuple[range, float]]:
        """Frame numbers and frames per second by video name for multi-video models; otherwise empty."""
        videos = {}
        for start, segment in zip(self.starts, self.stream.segments, strict=False):
            for video in segment.videos:
                videos[video.name] = (range(start, start + video.frames), video.fps)
                start += video.frames
        return videos

    def _batches(self, indices: Sequence[int] | range) -> Iterator[_Batch]:
        """The batches, as the file defines them, that contain the frames, in order."""
        for (number, frames), run in itertools.groupby(indices, self._locate):
            start = self.starts[number] + frames.start
            yield _Batch(self.segment(number), frames, [index - start for index in run])

    def _locate(self, index: int) -> tuple[int, range]:
        """Segment number of a frame, and the frames of the segment that are computed together with it."""
        if not 0 <= index < len(self):
            raise IndexError(f"frame {index} of a video of {len(self)} frames")
        number = int(np.searchsorted(self.starts, index, side="right")) - 1
        spec = self.stream.segments[number].spec
        return number, spec.computed_with(index - self.starts[number], self._batch_sizes[number])

    @cached_property
    def _batch_sizes(self) -> list[int]:
        """Number of frames computed together in each segment."""
        if self.exact:
            return [self.stream.video.batch] * len(self.stream.segments)
        return [self._fast_batch(segment) for segment in self.stream.segments]

    def _fast_batch(self, segment: Segment) -> int:
        """As many frames as the memory limit of the segment allows; one if the segment is invalid."""
        try:
            cost = demand(segment.architecture, segment.spec)
            return min(FAST_BATCH, most_side_by_side(cost, segment.coded_bytes))
        except (ArithmeticError, RuntimeError, TypeError, UserError, ValueError):
            return 1  # the segment's decoder reports the error


@dataclass(frozen=True)
class _Batch:
    """Frames of a segment that are computed together, and the indices of the requested ones among them."""

    decoder: SegmentDecoder
    frames: range
    requested: list[int]

    def render(self) -> list[NDArray[np.uint8]]:
        """The requested frames, uint8 ``[H, W, 3]``."""
        frames = self.decoder.render(self.frames)
        return [frames[index] for index in self.requested]

    def compute(self) -> list[Tensor]:
        """All frames as the network's output on its device."""
        return self.decoder.compute(self.frames)


def _side_by_side(batches: Iterator[_Batch], compute: Callable[[_Batch], list[T]]) -> Iterator[T]:
    """Results of `compute` in order, batches running a few ahead of the consumer, each on one thread of its own.

    Floating-point sums depend on the number of threads that share them; here none are shared.
    """
    threads = torch.get_num_threads()
    side_by_side = 1

    def on_one_thread(batch: _Batch) -> list[T]:
        # The setting is per thread; reading it first keeps that of the calling thread unchanged.
        if torch.get_num_threads() != 1:
            torch.set_num_threads(1)
        return compute(batch)

    waiting: deque[Future[list[T]]] = deque()
    current: SegmentDecoder | None = None
    pool = ThreadPoolExecutor(threads, initializer=_flush_subnormals)
    try:
        for batch in batches:
            if batch.decoder is not current:
                # Build the network of a segment once, here, when no thread uses the previous one.
                while waiting:
                    yield from waiting.popleft().result()
                current = batch.decoder
                current.prepare()
                side_by_side = min(threads, current.most_side_by_side)
            while len(waiting) >= side_by_side:
                yield from waiting.popleft().result()
            waiting.append(pool.submit(on_one_thread, batch))
        while waiting:
            yield from waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
        # Threads that start later inherit the number that any thread set last.
        torch.set_num_threads(threads)


def _one_by_one(batches: Iterator[_Batch], compute: Callable[[_Batch], list[T]]) -> Iterator[T]:
    """Results of `compute` for batches one after another, each on all threads."""
    pool = ThreadPoolExecutor(1, initializer=_flush_subnormals)
    try:
        for batch in batches:
            yield from pool.submit(compute, batch).result()
    finally:
        pool.shutdown(cancel_futures=True)


def _flush_subnormals() -> None:
    """Flush subnormal numbers to zero in this thread and those that it starts."""
    torch.set_flush_denormal(True)


class SegmentDecoder:
    """Decoder of one segment: codes, network and embeddings, each decoded on first use."""

    def __init__(self, segment: Segment, device: torch.device, batch: int, name: str) -> None:
        self.architecture, self.spec, self.quantizer = segment.architecture, segment.spec, segment.quantizer
        self._segment, self._device, self._name = segment, device, name
        self._batch = segment.spec.inputs_at_once(min(batch, segment.spec.frames))
        self._group: tuple[int, Tensor] | None = None

    def prepare(self) -> None:
        """Build the network, so that several threads may call `render`."""
        _ = self.network, self.embeddings, self.keyframes

    @cached_property
    def shapes(self) -> dict[str, torch.Size]:
        """Shapes of the decoder's tensors by name."""
        try:
            return tensor_shapes(self.architecture, self.spec)
        except (ArithmeticError, RuntimeError, TypeError, ValueError) as error:
            raise self._damaged("model", _IMPOSSIBLE) from error

    @cached_property
    def weights(self) -> CodedWeights:
        """The decoder's coded tensors."""
        shapes = [tuple(shape) for shape in self.shapes.values()]
        self._check_proportion()
        try:
            if self._segment.quantizer == "uniform":
                return read_weights(self._segment.weights, shapes)
            decode = _AFTER_TRAINING[self._segment.quantizer]
            return PostTrainingWeights(decode(self._segment.weights, shapes))
        except BitstreamError as error:
            raise self._damaged("weights", str(error)) from error

    @cached_property
    def demand(self) -> Demand:
        """Cost of the first frame; raises `BitstreamError` if the model is impossible."""
        group = 1
        if self._segment.quantizer == "uniform" and self.embeddings is not None:
            group = self.embeddings.group
        try:
            return demand(self.architecture, self.spec, self._batch, group)
        except (ArithmeticError, RuntimeError, TypeError, ValueError) as error:
            raise self._damaged("model", _IMPOSSIBLE) from error

    def _check_proportion(self) -> None:
        cost = self.demand
        try:
            check_proportion(cost, self._segment.coded_bytes)
        except BitstreamError as error:
            raise self._damaged("model", str(error)) from error

    @cached_property
    def embeddings(self) -> CodedEmbeddings | None:
        """The coded embeddings of the frames, or None."""
        if self.spec.embedding_shape is None:
            return None
        shape = (self.spec.frames, *self.spec.embedding_shape)
        try:
            if self._segment.quantizer == "uniform":
                return Embeddings(self._segment.embeddings, shape)
            decode = _AFTER_TRAINING[self._segment.quantizer]
            return PostTrainingEmbeddings(decode(self._segment.embeddings, [shape])[0])
        except BitstreamError as error:
            raise self._damaged("embeddings", str(error)) from error

    @cached_property
    def keyframes(self) -> Keyframes | None:
        """The keyframe images at both ends of each clip, or None."""
        if not self.spec.uses_keyframes:
            return None
        assert isinstance(self.spec, ClipSpec)
        try:
            return Keyframes(self._segment.keyframes, self.spec.keyframe_starts[-1], self.spec.height, self.spec.width)
        except BitstreamError as error:
            raise self._damaged("keyframes", str(error)) from error

    @cached_property
    def network(self) -> nn.Module:
        """The network with its decoded weights."""
        _ = self.most_side_by_side
        with self._enough_memory():
            return build_decoder(self.architecture, self.spec, self.weights.values(), self._device)

    @torch.inference_mode()
    def render(self, batch: range) -> NDArray[np.uint8]:
        """Frames of the segment, computed together: uint8 ``[N, H, W, 3]``."""
        try:
            with self._enough_memory():
                if isinstance(self.spec, ClipSpec):
                    clip = self.spec.clip_of(batch.start)
                    return render_clip(self.network, self.spec, clip, self._keyframes(self.spec, clip))
                return render(self.network, self.spec, batch, self._embedding(batch))
        except NotANumberError as error:
            reason = f"frame {batch.start} contains NaN; the file is damaged, get it again"
            raise self._damaged("model", reason) from error

    @torch.inference_mode()
    def compute(self, batch: range) -> list[Tensor]:
        """Network output for a batch on its device: ``[N, 3, H, W]`` in [0, 1]; for clips one tensor per patch."""
        with self._enough_memory():
            if isinstance(self.spec, ClipSpec):
                clip = self.spec.clip_of(batch.start)
                patches = clip_patches(self.network, self.spec, clip, self._keyframes(self.spec, clip))
                return [image for *_, image in patches]
            return [images(self.network, self.spec, batch, self._embedding(batch))]

    @contextmanager
    def _enough_memory(self) -> Iterator[None]:
        """Convert failures to allocate memory within this context to `UserError`."""
        try:
            yield
        except (MemoryError, RuntimeError) as error:
            if not isinstance(error, MemoryError | torch.OutOfMemoryError) and _NO_MEMORY not in str(error):
                raise
            raise UserError(
                f"there is not enough memory to decode {self._name} ({self.demand.memory_bytes / 1e9:.1f} GB at once): "
                "close other programs, or decode it with --threads 1 or on a larger machine"
            ) from error

    def _keyframes(self, spec: ClipSpec, clip: Clip) -> list[NDArray[np.uint8]] | None:
        """The two full-size keyframes ``[H, W, 3]`` around a clip."""
        coded = self.keyframes
        if coded is None:
            return None
        try:
            return coded.decode(spec.keyframes_around(clip))
        except BitstreamError as error:
            raise self._damaged("keyframes", str(error)) from error

    def _embedding(self, batch: range) -> Tensor | None:
        """Embeddings of the frames of a batch ``[N, e, h, w]``; the last group is cached."""
        coded = self.embeddings
        if coded is None:
            return None
        groups = range(batch.start // coded.group, (batch.stop - 1) // coded.group + 1)
        values = torch.cat([self._values(coded, number) for number in groups])
        first = batch.start - groups.start * coded.group
        return values[first : first + len(batch)].to(self._device)

    def _values(self, coded: CodedEmbeddings, number: int) -> Tensor:
        kept = self._group
        if kept is None or kept[0] != number:
            try:
                kept = (number, torch.from_numpy(coded.values(number)))
            except BitstreamError as error:
                raise self._damaged("embeddings", str(error)) from error
            self._group = kept
        return kept[1]

    @cached_property
    def most_side_by_side(self) -> int:
        """Number of batches that may be computed in parallel.

        Raises `BitstreamError` if one demands too much for the number of coded bytes, `UserError` if it needs more
        memory than this machine has.
        """
        cost = self.demand
        try:
            return most_side_by_side(cost, self._segment.coded_bytes)
        except BitstreamError as error:
            raise self._damaged("model", str(error)) from error
        except UserError as error:
            raise UserError(f"{self._name}: {error}") from error

    def _damaged(self, section: str, reason: str) -> BitstreamError:
        return BitstreamError(f"{self._name}: section {section}: {reason}")


def build_decoder(
    entry: Architecture, spec: Spec, values: Iterable[NDArray[np.float32]], device: torch.device
) -> nn.Module:
    """Network with these values in its tensors, in order, in evaluation mode and with fused convolutions."""
    with torch.random.fork_rng(devices=[]):
        decoder = entry.decoder(spec)
    with torch.no_grad():
        for parameter, value in zip(decoder.parameters(), values, strict=True):
            parameter.copy_(torch.from_numpy(value).view(parameter.shape))
    fuse(decoder)
    return to_device(decoder.requires_grad_(False).eval(), device, entry.name)


@torch.inference_mode()
def render(decoder: nn.Module, spec: Spec, batch: range, embeddings: Tensor | None) -> NDArray[np.uint8]:
    """Frames computed in one forward pass: uint8 RGB ``[N, H, W, 3]``; `embeddings` ``[N, e, h, w]`` or None.

    Raises `NotANumberError` for NaN.
    """
    return to_uint8(images(decoder, spec, batch, embeddings))


def images(decoder: nn.Module, spec: Spec, batch: range, embeddings: Tensor | None) -> Tensor:
    """The output of `render` before rounding, on the network's device: ``[N, 3, H, W]`` in [0, 1]."""
    device = next(decoder.parameters()).device
    t = frame_time(torch.tensor(batch), spec.frames).to(device)
    with _repeatable(device):
        output: Tensor = decoder(t, embeddings)
        return crop_to_video(output, spec)


@torch.inference_mode()
def render_clip(
    decoder: nn.Module, spec: ClipSpec, clip: Clip, keyframes: Sequence[NDArray[np.uint8]] | None
) -> NDArray[np.uint8]:
    """Frames of a clip, assembled from patches computed one by one: uint8 RGB ``[N, H, W, 3]``.

    `keyframes` are the two full-size images ``[H, W, 3]`` around the clip. Raises `NotANumberError` for NaN.
    """
    frames = np.empty((clip.count, spec.height, spec.width, 3), np.uint8)
    for rows, columns, output in clip_patches(decoder, spec, clip, keyframes):
        frames[:, rows, columns] = to_uint8(output)
    return frames


def clip_patches(
    decoder: nn.Module, spec: ClipSpec, clip: Clip, keyframes: Sequence[NDArray[np.uint8]] | None
) -> Iterator[tuple[slice, slice, Tensor]]:
    """Rows and columns of each patch of a clip, and its frames on the network's device: ``[N, 3, h, w]`` in [0, 1]."""
    device = next(decoder.parameters()).device
    for patch in range(spec.patches):
        rows, columns = spec.window(patch)
        patch_keyframes = None
        if keyframes is not None:
            patch_keyframes = clip_keyframes(
                spec, np.stack([image[rows, columns] for image in keyframes])[None], device
            )
        index = spec.frame_indices(clip, patch)[None].to(device)
        with _repeatable(device):
            output = decoder(index, patch_keyframes, spec.distances(clip)[None].to(device))
        yield rows, columns, crop_to_video(output[0, : clip.count], spec)


def _repeatable(device: torch.device) -> AbstractContextManager[None]:
    """On a GPU, select deterministic algorithms; the flags apply to the whole process."""
    if device.type != "cuda":
        return nullcontext()
    return torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False)


class NotANumberError(ValueError):
    """Some values of an image are NaN."""


def to_uint8(images: Tensor) -> NDArray[np.uint8]:
    """RGB ``[N, 3, H, W]`` in [0, 1] → uint8 ``[N, H, W, 3]``, rounded to the nearest level.

    Raises `NotANumberError` for NaN.
    """
    scaled = images * 255
    if torch.isnan(scaled.sum()):
        raise NotANumberError("an image has values that are not numbers")
    levels = scaled.round_().clamp_(0, 255).to(torch.uint8)
    return levels.permute(0, 2, 3, 1).contiguous().cpu().numpy()
