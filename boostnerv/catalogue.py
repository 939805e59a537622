"""The catalogue: every entropy model, quantiser, anchor, image codec, loss and kind of model, by name. No torch here.

Settings are validated from these tables; help texts, `boostnerv doctor`, columns and tables are made from them. What is
named here is implemented elsewhere; tests hold both equal. docs/extend.md says how to extend each.

A loss is a sum of named terms; the terms are implemented in `boostnerv.training.losses`. Both source papers
use the names ``FusionN`` for different mixtures, so an alias carries its paper.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal

Role = Literal["weights", "embeddings"]


# --- entropy models and quantisers --------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class EntropyModelEntry:
    """An entropy model: its number in files, which never changes, and which codes it can code."""

    name: str
    wire_id: int
    roles: tuple[Role, ...]
    meaning: str

    def column(self, role: Role) -> str:
        """Column of points.csv that has the bytes of all codes of a role under this model."""
        return f"{role}_{self.name.replace('-', '_')}_bytes"


# Implemented in `boostnerv.codec.entropy.entropy_models`.
ENTROPY_MODELS = (
    EntropyModelEntry(
        name="gaussian",
        wire_id=1,
        roles=("weights", "embeddings"),
        meaning="mean and deviation a tensor, a frame for embeddings, as published",
    ),
    EntropyModelEntry(
        name="gaussian-channel",
        wire_id=2,
        roles=("weights", "embeddings"),
        meaning="mean and deviation a channel",
    ),
    EntropyModelEntry(
        name="laplace",
        wire_id=3,
        roles=("weights", "embeddings"),
        meaning="location and scale a tensor, a frame for embeddings",
    ),
    EntropyModelEntry(
        name="temporal",
        wire_id=4,
        roles=("embeddings",),
        meaning="each code given the same position of the previous frame",
    ),
)
AUTO = "auto"
"""The setting that chooses the smallest entropy model, tensor by tensor."""


def entropy_model(name: str) -> EntropyModelEntry:
    """The row of a name that is in the catalogue."""
    return next(entry for entry in ENTROPY_MODELS if entry.name == name)


def entropy_model_names(role: Role | None = None) -> tuple[str, ...]:
    """Names of the entropy models that can code a role; all of them without one."""
    return tuple(entry.name for entry in ENTROPY_MODELS if role is None or role in entry.roles)


# How fine-tuning estimates the bits of embeddings, by the entropy model that does the same.
EMBEDDING_RATES = ("gaussian", "temporal")
# Implemented in `boostnerv.codec.quantizers.trained`.
WEIGHT_QUANTIZERS = MappingProxyType({"scale": "δ·round(x/δ), as published", "lsq": "the same, clamped to weight_bits"})
EMBEDDING_QUANTIZERS = MappingProxyType(
    {"scalebeta": "δ·round((x − β)/δ) + β, as published", "lsqv2": "the same, clamped to embedding_bits"}
)
# Implemented in `boostnerv.codec.quantizers.post_training` and `boostnerv.codec.quantizers.slices`.
POST_TRAINING_QUANTIZERS = MappingProxyType(
    {"min-max": "a range a tensor, as HNeRV publishes it", "slices": "a range a slice of a tensor, as D-NeRV does"}
)


# --- image codecs of keyframes ------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class ImageCodecEntry:
    """An image codec: its number in files, its qualities (inclusive), the default one, and what a quality means."""

    wire_number: int
    qualities: tuple[int, int]
    default_quality: int
    meaning: str
    higher_is_better: bool = True


# Implemented in `boostnerv.codec.keyframes.image_codecs`.
IMAGE_CODECS: Mapping[str, ImageCodecEntry] = MappingProxyType(
    {
        "avif": ImageCodecEntry(
            wire_number=1, qualities=(0, 100), default_quality=50, meaning="quality of libavif: more is better"
        ),
        "webp": ImageCodecEntry(
            wire_number=2, qualities=(0, 100), default_quality=50, meaning="quality of libwebp: more is better"
        ),
        "x265-intra": ImageCodecEntry(
            wire_number=3,
            qualities=(0, 51),
            default_quality=32,
            meaning="quantisation parameter of HEVC: less is better",
            higher_is_better=False,
        ),
    }
)


# --- anchors ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Program:
    """Programs that encode and decode an anchor outside of ffmpeg, as command templates of one argument an item.

    The first item is the program. ``{input} {output} {width} {height} {fps} {frames} {quality} {preset} {bits} {gop}
    {threads}`` are filled in; ``{fps}`` is a whole number, and ``{home}`` the folder above the program's own. The
    encoder reads planar YUV without a header, or Y4M where `input_format` says so, and writes a stream of the entry's
    `stream_format`. The decoder writes planar YUV without a header; where `decode` is empty, ffmpeg decodes the stream.
    `version` is a command that prints the encoder's version.
    """

    encode: tuple[str, ...]
    decode: tuple[str, ...] = ()
    version: tuple[str, ...]
    input_format: Literal["yuv", "y4m"] = "yuv"


@dataclass(frozen=True, kw_only=True)
class AnchorEntry:
    """A classical codec: an encoder of ffmpeg (`library`), or a `program`.

    `stream_format` is ffmpeg's name of the raw stream; `quality_range` is inclusive; ``{threads}`` is filled in in
    `options`. `preset_option` is ffmpeg's option for presets, e.g. ``cpu-used`` of libaom. `version_pattern` finds the
    version in what the encoder prints or writes into its stream.
    """

    library: str = ""
    program: Program | None = None
    stream_format: str
    quality_option: str
    quality_range: tuple[int, int]
    preset: str
    preset_option: str = "preset"
    pixel_formats: tuple[str, ...]
    version_pattern: str
    options: Mapping[str, str] = field(default_factory=dict)


ANCHORS: Mapping[str, AnchorEntry] = MappingProxyType(
    {
        "x264": AnchorEntry(
            library="libx264",
            stream_format="h264",
            quality_option="crf",
            quality_range=(0, 51),
            preset="veryslow",
            pixel_formats=("yuv420p", "yuv444p", "yuv420p10le"),
            version_pattern=r"x264 - core (\S+)",
            # NAL units of type 6 hold the text about the encoder; nothing in them is needed to decode.
            options={"threads": "{threads}", "bsf:v": "filter_units=remove_types=6"},
        ),
        "x265": AnchorEntry(
            library="libx265",
            stream_format="hevc",
            quality_option="crf",
            quality_range=(0, 51),
            preset="veryslow",
            pixel_formats=("yuv420p", "yuv444p", "yuv420p10le"),
            version_pattern=r"x265 \(build \d+\) - ([^:\s]+)",
            # One frame at a time: more would change the file with the number of cores.
            options={"x265-params": "log-level=error:info=0:frame-threads=1:pools={threads}"},
        ),
        "svt-av1": AnchorEntry(
            library="libsvtav1",
            stream_format="obu",
            quality_option="crf",
            quality_range=(1, 63),
            preset="4",
            pixel_formats=("yuv420p", "yuv420p10le"),
            version_pattern=r"SVT-AV1 Encoder Lib (\S+)",
            options={"svtav1-params": "lp={threads}"},
        ),
        "vvenc": AnchorEntry(
            library="libvvenc",
            stream_format="vvc",
            quality_option="qp",
            quality_range=(0, 63),
            preset="medium",
            pixel_formats=("yuv420p10le",),
            version_pattern=r"libvvenc version: (\S+)",
            options={"threads": "{threads}"},
        ),
        "x265-program": AnchorEntry(
            program=Program(
                encode=(
                    *("x265", "--input", "{input}", "--y4m", "--output", "{output}", "--crf", "{quality}"),
                    *("--preset", "{preset}", "--keyint", "{gop}", "--no-info", "--frame-threads", "1"),
                    *("--pools", "{threads}", "--output-depth", "{bits}", "--log-level", "error"),
                ),
                version=("x265", "--version"),
                input_format="y4m",
            ),
            stream_format="hevc",
            quality_option="crf",
            quality_range=(0, 51),
            preset="veryslow",
            pixel_formats=("yuv420p", "yuv420p10le"),
            version_pattern=r"HEVC encoder version (\S+)",
        ),
        "svt-av1-program": AnchorEntry(
            program=Program(
                encode=(
                    *("SvtAv1EncApp", "-i", "{input}", "-n", "{frames}", "--crf", "{quality}", "--preset", "{preset}"),
                    *("--keyint", "{gop}", "--lp", "{threads}", "--progress", "0", "-b", "{output}"),
                ),
                decode=("SvtAv1DecApp", "-i", "{input}", "-o", "{output}"),
                version=("SvtAv1EncApp", "--version"),
                input_format="y4m",
            ),
            stream_format="ivf",
            quality_option="crf",
            quality_range=(1, 63),
            preset="4",
            pixel_formats=("yuv420p", "yuv420p10le"),
            version_pattern=r"SVT-AV1 v?(\S+)",
        ),
        # The reference programs of HEVC and VVC, built from their sources and found by PATH; their random access
        # configurations lie in the folder cfg beside that of the programs.
        "hm": AnchorEntry(
            program=Program(
                encode=(
                    *("TAppEncoderStatic", "-c", "{home}/cfg/encoder_randomaccess_main10.cfg", "-i", "{input}"),
                    *("-b", "{output}", "-wdt", "{width}", "-hgt", "{height}", "-fr", "{fps}", "-f", "{frames}"),
                    *("-q", "{quality}", "--InputBitDepth={bits}", "--InternalBitDepth=10", "--IntraPeriod={gop}"),
                ),
                decode=("TAppDecoderStatic", "-b", "{input}", "-o", "{output}", "-d", "{bits}"),
                version=("TAppEncoderStatic", "--help"),
            ),
            stream_format="hevc",
            quality_option="qp",
            quality_range=(0, 51),
            preset="randomaccess",
            pixel_formats=("yuv420p", "yuv420p10le"),
            version_pattern=r"HM software: Encoder Version \[([^\]]+)\]",
        ),
        "vtm": AnchorEntry(
            program=Program(
                encode=(
                    *("EncoderAppStatic", "-c", "{home}/cfg/encoder_randomaccess_vtm.cfg", "-i", "{input}"),
                    *("-b", "{output}", "-wdt", "{width}", "-hgt", "{height}", "-fr", "{fps}", "-f", "{frames}"),
                    *("-q", "{quality}", "--InputBitDepth={bits}", "--InternalBitDepth=10", "--IntraPeriod={gop}"),
                ),
                decode=("DecoderAppStatic", "-b", "{input}", "-o", "{output}", "-d", "{bits}"),
                version=("EncoderAppStatic", "--help"),
            ),
            stream_format="vvc",
            quality_option="qp",
            quality_range=(0, 63),
            preset="randomaccess",
            pixel_formats=("yuv420p", "yuv420p10le"),
            version_pattern=r"VTM Encoder Version ([^\s\]]+)",
        ),
    }
)
"""Anchors by the name that an experiment uses."""


def anchor_pixel_formats() -> tuple[str, ...]:
    """Pixel formats that some anchor codes, each once."""
    return tuple(dict.fromkeys(name for entry in ANCHORS.values() for name in entry.pixel_formats))


def anchor_qualities() -> str:
    """What qualities mean, by anchor, e.g. ``crf (x264, x265) or qp (vvenc)``."""
    options = dict.fromkeys(entry.quality_option for entry in ANCHORS.values())
    names = {option: [name for name, entry in ANCHORS.items() if entry.quality_option == option] for option in options}
    return " or ".join(f"{option.upper()} ({', '.join(anchors)})" for option, anchors in names.items())


# --- losses and recipes -------------------------------------------------------------------------------------------

LOSS_TERMS = MappingProxyType(
    {
        "l1": "mean absolute error",
        "l2": "mean squared error",
        "ssim": "1 - SSIM (11-tap Gaussian window, data range 1)",
        "ms_ssim": "1 - MS-SSIM (five scales; frames must have more than 160 pixels a side)",
        "frequency": "mean absolute difference of the unnormalised 2-D FFT, real and imaginary parts stacked",
    }
)


FAST: MappingProxyType[str, Any] = MappingProxyType({"optimizer": "soap", "lr": {"peak": 1e-2}})
"""What ``recipe: fast`` changes of a training. Ours; docs/performance.md has what it gains, and what did not help."""


RATE_DISTORTION: MappingProxyType[str, Any] = MappingProxyType(
    {
        "optimizer": "soap",
        "lr": {"peak": 6e-3, "warmup": 0.02},
        "embedding_rate": "temporal",
        "weight_bits": 6,
        "embedding_bits": 6,
    }
)
"""What ``finetuning.rate_distortion`` changes of a fine-tuning where keys are not given; see docs/performance.md."""


def _fusion10(scale: float) -> dict[str, float]:
    return {"l1": 0.7 * scale, "ms_ssim": 0.3 * scale}


# Weights as published, nested factors multiplied out.
_PUBLISHED: dict[str, dict[str, dict[str, float]]] = {
    # CVPR 2024, the released training code.
    "boosting-nerv": {
        "l1": {"l1": 1.0},
        "l2": {"l2": 1.0},
        "ssim": {"ssim": 1.0},
        "fusion1": {"l2": 0.3, "ssim": 0.7},
        "fusion2": {"l1": 0.3, "ssim": 0.7},
        "fusion3": {"l2": 0.5, "ssim": 0.5},
        "fusion4": {"l1": 0.5, "ssim": 0.5},
        "fusion5": {"l2": 0.7, "ssim": 0.3},
        "fusion6": {"l1": 0.7, "ssim": 0.3},
        "fusion7": {"l1": 0.3, "l2": 0.7},
        "fusion8": {"l1": 0.5, "l2": 0.5},
        "fusion9": {"l1": 0.9, "ssim": 0.1},
        "fusion10": _fusion10(1.0),
        "fusion11": {"l1": 0.9, "ms_ssim": 0.1},
        "fusion12": {"l1": 0.8, "ms_ssim": 0.2},
        "fusion10_freq": {**_fusion10(60.0), "frequency": 1.0},
        "l1_freq": {"l1": 60.0, "frequency": 1.0},
        "l1_ssim_freq": {"l1": 42.0, "ssim": 18.0, "frequency": 1.0},
    },
    # CVPR 2023, the losses of its two trainings: UVG, and UCF101.
    "d-nerv": {
        "fusion6": {"l1": 0.7, "ssim": 0.3},
        "fusion19": {"l2": 1.0, "ssim": 0.03},
    },
}
LOSS_ALIASES: MappingProxyType[str, MappingProxyType[str, float]] = MappingProxyType(
    {
        f"{paper}/{name}": MappingProxyType(terms)
        for paper, losses in _PUBLISHED.items()
        for name, terms in losses.items()
    }
)

# Models of many videos: whether they need keyframes. A test compares this with their specs.
MODELS_OF_MANY = MappingProxyType({"d-nerv": True, "d-nerv-baseline": False})
