"""Keyframes of many videos on disk: coded once, before training, which sees what a decoder will see of them.

``X.bin`` is the payload of a file's section ``keyframes``; ``X.npy`` what it decodes to, cut into patches as the videos
are, uint8 ``[K, P, h, w, 3]``; ``X.json`` says what they are.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from pydantic import Field

from boostnerv import files
from boostnerv.codec.keyframes.image_codecs import KeyframeCodec, keyframe_codec
from boostnerv.codec.keyframes.keyframe_section import Keyframes, write_keyframes
from boostnerv.config import Closed, KeyframeJob, Sha256, parse
from boostnerv.errors import UserError
from boostnerv.models.clips import keyframes_of
from boostnerv.progress import Progress
from boostnerv.video.collections import OpenCollection
from boostnerv.video.patches import split

# Images that are coded, or decoded, at a time.
_BATCH = 32


class KeyframeManifest(Closed):
    """What keyframe files hold."""

    job: KeyframeJob = Field(description="How they were made.")
    quality: int = Field(description="Quality of the codec.")
    count: int = Field(gt=0, description="Number of keyframes K of all videos.")
    patches: int = Field(gt=0, description="Patches of a frame.")
    height: int = Field(gt=0, description="Height of a frame in pixels.")
    width: int = Field(gt=0, description="Width of a frame in pixels.")
    coded_bytes: int = Field(gt=0, description="Bytes of the payload, which has less of what all images repeat.")
    image_bytes: int = Field(gt=0, description="Bytes of the images as their codec made them.")
    psnr_db: float = Field(description="PSNR of the decoded keyframes, mean over them.")
    videos_sha256: Sha256 = Field(description="Identity of the videos.")
    payload_sha256: Sha256 = Field(description="SHA-256 of the payload.")


@dataclass(frozen=True)
class KeyframeFile:
    """Open keyframe files; `pixels` is a read-only memory map, uint8 ``[K, P, h, w, 3]``."""

    manifest: KeyframeManifest
    pixels: npt.NDArray[np.uint8]
    path: Path

    def payload(self) -> bytes:
        """The coded keyframes; raises `UserError` where they are not those of the manifest."""
        path = self.path.with_suffix(".bin")
        try:
            data = path.read_bytes()
        except OSError as error:
            raise UserError(f"coded keyframes {path} cannot be read: {error.strerror}; run their step again") from error
        if hashlib.sha256(data).hexdigest() != self.manifest.payload_sha256:
            raise UserError(f"coded keyframes {path} are not those of {self.path.name}; run their step again")
        return data


def code_keyframes(
    videos: OpenCollection, job: KeyframeJob, output: Path, *, threads: int | None, progress: Progress
) -> KeyframeManifest:
    """Code the keyframes of all videos; writes `output` (``.json``), and ``.bin`` and ``.npy`` beside it."""
    codec = keyframe_codec(job.codec)
    numbers = [
        (video, frame) for video, length in enumerate(videos.lengths) for frame in keyframes_of(length, job.clip_frames)
    ]

    def coded_at(quality: int) -> list[bytes]:
        coded: list[bytes] = []
        for start in range(0, len(numbers), _BATCH):
            images = [videos.frame(*number) for number in numbers[start : start + _BATCH]]
            coded += codec.encode(images, quality, threads)
            progress(len(coded), f"quality {quality}")
        return coded

    quality = job.fixed_quality
    if quality is None:
        assert job.bpp is not None
        most_bytes = int(job.bpp * len(numbers) * videos.height * videos.width / 8)
        quality, coded = _best_within(codec, coded_at, most_bytes)
    else:
        coded = coded_at(quality)
    payload = write_keyframes(job.codec, coded)
    stored = Keyframes(payload, len(numbers), videos.height, videos.width)
    rows, columns = videos.rows, videos.columns
    shape = (len(numbers), rows * columns, videos.height // rows, videos.width // columns, 3)
    errors = []
    pixels = output.with_suffix(".npy")
    output.unlink(missing_ok=True)  # it must not describe others, not even for a moment
    with files.final(pixels) as temporary:
        mapped = np.lib.format.open_memmap(temporary, mode="w+", dtype=np.uint8, shape=shape)
        for number, image in enumerate(_decoded(stored)):
            original = videos.frame(*numbers[number]).astype(np.int32)
            errors.append(float(np.square(original - image).mean()) / 255**2)
            mapped[number] = split(image[None], rows, columns)[:, 0]
        mapped.flush()
        del mapped
    files.write_bytes(output.with_suffix(".bin"), payload)
    manifest = KeyframeManifest(
        job=job,
        quality=quality,
        count=len(numbers),
        patches=rows * columns,
        height=videos.height,
        width=videos.width,
        coded_bytes=len(payload),
        image_bytes=sum(map(len, coded)),
        psnr_db=float((-10 * np.log10(np.array(errors) + 1e-9)).mean()),
        videos_sha256=videos.manifest.pixels_sha256,
        payload_sha256=hashlib.sha256(payload).hexdigest(),
    )
    files.write_json(output, manifest.model_dump(mode="json"))
    return manifest


def _best_within(
    codec: KeyframeCodec, coded_at: Callable[[int], list[bytes]], most_bytes: int
) -> tuple[int, list[bytes]]:
    """The best quality at which all images have at most so many bytes, and the images; raises `UserError` for none."""
    # From the worst to the best: a higher QP is a lower quality.
    lowest, highest = codec.entry.qualities
    ladder = range(lowest, highest + 1)
    ladder = ladder if codec.entry.higher_is_better else ladder[::-1]
    low, high, best = 0, len(ladder), (ladder[0], coded_at(ladder[0]))
    while high - low > 1:
        middle = (low + high) // 2
        coded = coded_at(ladder[middle])
        if sum(map(len, coded)) <= most_bytes:
            low, best = middle, (ladder[middle], coded)
        else:
            high = middle
    if sum(map(len, best[1])) > most_bytes:
        raise UserError(
            f"keyframes by {codec.name} have {sum(map(len, best[1]))} bytes at least, {most_bytes} were asked for; "
            "raise keyframes.bpp, or choose another codec"
        )
    return best


def open_keyframes(path: Path) -> KeyframeFile:
    """Open keyframe files by their manifest ``X.json``; raises `UserError` where they do not fit."""
    described = parse(KeyframeManifest, files.read_json(path, "keyframes manifest"), f"keyframes manifest {path}")
    payload = path.with_suffix(".npy")
    try:
        pixels = np.load(payload, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise UserError(f"keyframes {payload} are missing or cut off; run their step again") from error
    size, values = (described.count, described.patches), described.count * described.height * described.width * 3
    if pixels.dtype != np.uint8 or pixels.ndim != 5 or pixels.shape[:2] != size or pixels.size != values:
        raise UserError(f"keyframes {payload} are not those that {path.name} describes; run their step again")
    return KeyframeFile(described, pixels, path)


def _decoded(stored: Keyframes) -> Iterator[npt.NDArray[np.uint8]]:
    for start in range(0, len(stored), _BATCH):
        yield from stored.decode(range(start, min(start + _BATCH, len(stored))))
