"""Planning: splitting a video into segments and choosing a model that fits the target size of each.

A video is split at scene cuts and where a segment would get too long; each segment gets a model of its own and a share
of the bits in proportion to its frames. Nothing is read or written here.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

from boostnerv import files
from boostnerv.catalogue import LOSS_ALIASES
from boostnerv.codec.assembly import video_header
from boostnerv.codec.container.bitstream import Video, head_bytes
from boostnerv.codec.container.limits import demand
from boostnerv.codec.entropy.payloads import DEFAULT_GROUP
from boostnerv.compression.request import PRESETS, Request
from boostnerv.config import FinetuneJob, Finetuning, ModelSettings, OptionValue, Training, TrainJob, config_hash
from boostnerv.errors import UserError
from boostnerv.evaluation.measure import bits_per_pixel
from boostnerv.models.architecture import Spec, architecture
from boostnerv.models.budget import narrowest, natural_strides, resolve, total_parameters
from boostnerv.training.losses import MS_SSIM_SMALLEST_SIDE
from boostnerv.versions import STEP_VERSIONS
from boostnerv.video.scenes import segments
from boostnerv.video.videos import VideosManifest

_BITS_PER_PARAMETER = (4.0, 3.0, 2.2)
_SHORTEST_SEGMENT = 48  # frames; a separate model costs more than a scene cut inside a segment
_EMBEDDING_WIDTHS = (16, 8, 4, 2)
_LARGEST_EMBEDDING_SHARE = 0.45
_SIDE_BITS = 8 * 160  # of a segment besides its codes: headers, quantiser steps and entropy models
_SOURCE_BITS = 24  # of a pixel as 8-bit RGB
_SSIM_SMALLEST_SIDE = 11
_ROUND_OFF = 1e-9
_EVALUATIONS = 8  # per training, which rolls back to the last one if it collapses
_LEAST_FILLING = 0.95  # of the target size; rate control ends at 0.97 or more


@dataclass(frozen=True)
class SegmentPlan:
    """A segment: its frames and the settings of its training."""

    frames: range
    spec: Spec
    train: TrainJob
    finetune: FinetuneJob

    @property
    def identity(self) -> str:
        """Name of its folder; changes with everything that changes its model."""
        versions = [STEP_VERSIONS["train"], STEP_VERSIONS["finetune"]]
        settings = files.sha256_of_value([config_hash(self.train), config_hash(self.finetune), versions])
        return f"frames-{self.frames.start}-{self.frames.stop}-{settings[:12]}"


def check_below_source(manifest: VideosManifest, request: Request) -> None:
    """Raise `UserError` if the target exceeds the size of the raw frames."""
    pixels, bits = manifest.frames * manifest.height * manifest.width, request.wanted_bits(manifest)
    if bits > _SOURCE_BITS * pixels:
        raise UserError(
            f"{bits / 8:,.0f} bytes are more than the {_SOURCE_BITS * pixels / 8:,.0f} of the frames themselves; "
            "ask for less with --bpp or --size"
        )


def can_have_cuts(manifest: VideosManifest, request: Request) -> bool:
    """Whether scene cuts are wanted, and the video is long enough for two segments."""
    return request.cut_scenes and manifest.frames >= 2 * _shortest_segment(request)


def plan_segments(manifest: VideosManifest, cuts: Sequence[int], request: Request) -> tuple[SegmentPlan, ...]:
    """Segments, models and their sizes of a video whose scenes begin at the frame numbers `cuts`.

    Raises `UserError` if no model has the target size.
    """
    bits = request.wanted_bits(manifest)
    head_bits, bare_bits = (8 * head_bytes(header) for header in headers(manifest))
    parts = segments(manifest.frames, cuts, request.gop, _shortest_segment(request))
    shares = [len(frames) / manifest.frames for frames in parts]
    _check_bits(bits, head_bits, bare_bits, shares, manifest, request)
    # A segment is trained as a file of its own, with a header.
    segment_bits = [(bits - head_bits) * share + bare_bits for share in shares]
    plans = tuple(
        _plan_segment(frames, manifest.height, manifest.width, wanted_bits, request)
        for frames, wanted_bits in zip(parts, segment_bits, strict=True)
    )
    _check_decodable(bits, plans, manifest, request)
    return plans


def _shortest_segment(request: Request) -> int:
    """Frames of the shortest segment at a scene cut."""
    return max(1, min(_SHORTEST_SEGMENT, (request.gop + 1) // 2))


def _check_decodable(bits: float, plans: tuple[SegmentPlan, ...], manifest: VideosManifest, request: Request) -> None:
    """Raise `UserError` if the frames are so large that decoders would reject so small a file as hostile."""
    entry = architecture(request.model)
    least_bytes = (
        demand(entry, plan.spec, group=DEFAULT_GROUP).least_coded_bytes * manifest.frames / len(plan.frames)
        for plan in plans
    )
    fewest = math.ceil(max(least_bytes) / _LEAST_FILLING)
    if bits / 8 < fewest:
        raise UserError(
            f"{bits / 8:,.0f} bytes are too few for frames of {manifest.height}×{manifest.width}, which "
            f"take work that decoders refuse to do for so small a file: ask for {fewest:,} bytes or more "
            f"(--size {fewest})"
        )


def headers(manifest: VideosManifest) -> tuple[Video, Video]:
    """The header of the whole video, and that of one at a constant rate without display metadata."""
    header = video_header(manifest)
    return header, dataclasses.replace(header, timestamps_s=None, display=None)


def _check_bits(
    bits: float, head_bits: int, bare_bits: int, shares: list[float], manifest: VideosManifest, request: Request
) -> None:
    """Raise `UserError` if a segment's share of the bits is too small for its smallest model."""
    size = (manifest.height, manifest.width)
    needed = max(
        (_fewest_bits(round(share * manifest.frames), *size, request.model) - bare_bits) / share for share in shares
    )
    if bits < needed + head_bits:
        fewest = math.ceil((needed + head_bits) / 8)
        fewest_bpp = bits_per_pixel(fewest, manifest.frames, *size)
        in_segments, remedy = "", ""
        if len(shares) > 1:
            in_segments = f" in {len(shares)} segments"
            remedy = ", or for fewer segments with a larger --gop or --no-cut-scenes"
        if fewest_bpp > _SOURCE_BITS:
            raise UserError(
                f"{_frames_text(manifest)}{in_segments} are smaller than the smallest file of {request.model} would be "
                f"({fewest:,} bytes): choose a smaller --model, e.g. hnerv{remedy}"
            )
        raise UserError(
            f"{bits / 8:,.0f} bytes are too few for {request.model} on {_frames_text(manifest)}{in_segments}: ask for "
            f"{fewest:,} bytes or more (--size {fewest}, --bpp {math.ceil(fewest_bpp * 1e4) / 1e4:g}){remedy}"
        )


def _frames_text(manifest: VideosManifest) -> str:
    return f"{manifest.frames} frame{'s' if manifest.frames > 1 else ''} of {manifest.height}×{manifest.width}"


def _plan_segment(frames: range, height: int, width: int, bits: float, request: Request) -> SegmentPlan:
    preset = PRESETS[request.preset]
    spec, model = _model(len(frames), height, width, bits, request.model)
    coded = total_parameters(architecture(request.model), spec)
    loss = _loss(height, width)
    evaluated = max(1, preset.epochs // _EVALUATIONS)
    training = Training(recipe="fast", epochs=preset.epochs, loss=loss, eval_every_epochs=evaluated)
    finetuning = Finetuning(
        epochs=preset.finetuning_epochs, loss=loss, target_bits=bits / coded, embedding_rate="temporal"
    )
    return SegmentPlan(
        frames,
        spec,
        TrainJob(model=model, training=training, seed=request.seed),
        FinetuneJob(finetuning=finetuning, seed=request.seed),
    )


def _model(frames: int, height: int, width: int, bits: float, name: str) -> tuple[Spec, ModelSettings]:
    """The model whose parameters take four bits each, or fewer if no model is that small.

    Embeddings are narrowed until they leave room for weights.
    """
    for parameter_bits, options in itertools.product(_BITS_PER_PARAMETER, _embedding_options(name)):
        total = (bits - _SIDE_BITS) / parameter_bits
        settings = _settings(name, height, width, total, options)
        narrow = narrowest(settings, frames, height, width)
        if _fewest_parameters(narrow, name) <= (1 + _ROUND_OFF) * total:
            return resolve(settings, frames, height, width), settings
    raise AssertionError("enough bits for the smallest model were asked for")


def _fewest_bits(frames: int, height: int, width: int, name: str) -> float:
    """Bits of the smallest file of a model."""
    narrow = (
        narrowest(_settings(name, height, width, 1.0, options), frames, height, width)
        for options in _embedding_options(name)
    )
    return _SIDE_BITS + min(_BITS_PER_PARAMETER) * min(_fewest_parameters(spec, name) for spec in narrow)


def _fewest_parameters(narrow: Spec, name: str) -> float:
    """Parameters of the narrowest model with embeddings as in `narrow` whose weights still have room."""
    smallest = total_parameters(architecture(name), narrow)
    return max(smallest, narrow.embedding_parameters / _LARGEST_EMBEDDING_SHARE)


def _settings(name: str, height: int, width: int, total: float, options: dict[str, OptionValue]) -> ModelSettings:
    strides = natural_strides(height, width)
    return ModelSettings(name=name, strides=strides, total_m=total / 1e6, options=options)


def _embedding_options(name: str) -> list[dict[str, OptionValue]]:
    if architecture(name).encoder is None:
        return [{}]
    return [{"embedding_width": width} for width in _EMBEDDING_WIDTHS]


def _loss(height: int, width: int) -> dict[str, float]:
    """The published loss that frames of this size allow."""
    smallest = min(height, width)
    if smallest >= MS_SSIM_SMALLEST_SIDE:
        return dict(LOSS_ALIASES["boosting-nerv/fusion10_freq"])
    return dict(LOSS_ALIASES[f"boosting-nerv/{'l1_ssim_freq' if smallest >= _SSIM_SMALLEST_SIDE else 'l1_freq'}"])
