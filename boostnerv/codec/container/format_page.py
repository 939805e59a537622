"""The text of ``docs/format.md``: the file format for those who write a decoder of their own, from the code's tables.

``python -m boostnerv.codec.container.format_page`` writes the page; a test says when it is stale.
"""

from __future__ import annotations

import dataclasses
import struct
import textwrap
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from boostnerv.catalogue import ENTROPY_MODELS, IMAGE_CODECS, MODELS_OF_MANY
from boostnerv.codec.container import bitstream, limits, version0
from boostnerv.codec.container.bitstream import Field
from boostnerv.codec.entropy import entropy_models, huffman, payloads
from boostnerv.codec.entropy.entropy_models import MEAN_BITS, UNITS_PER_SIGMA, UNITS_PER_SIGMA_OF_CHANNEL
from boostnerv.codec.entropy.symbols import CONSTRICTION, PRECISION
from boostnerv.codec.keyframes import keyframe_section
from boostnerv.codec.quantizers import post_training, side_information, slices
from boostnerv.codec.quantizers.grids import (
    COARSE_SIGMA_GRID,
    LARGEST_CODE,
    OFFSET_UNITS_PER_STEP,
    SIGMA_GRID,
    STEP_GRID,
    SmallFloat,
)
from boostnerv.files import write_text
from boostnerv.models import work
from boostnerv.models.architecture import Architecture, architectures_by_wire_id, is_of_encoder, is_stored

_PAGE = Path("docs/format.md")
_TYPES = {"B": "u8", "H": "u16", "I": "u32", "i": "i32", "d": "f64"}
_SPEC_TYPES = {"int": "u32", "float": "f64", "tuple[int, ...]": "list"}
_GRIDS = {"step": STEP_GRID, "sigma": SIGMA_GRID, "coarse sigma": COARSE_SIGMA_GRID}
_SECTION_MEANINGS = {
    bitstream.VIDEO: ("file, first", "what belongs to the whole video"),
    bitstream.TIMESTAMPS: ("file, second, or nowhere", "when each frame is shown, where the rate varies"),
    bitstream.MODEL: ("each segment, first", "the architecture and its spec"),
    bitstream.VIDEOS: ("each segment, behind `model`", "names and lengths, if the architecture is of many videos"),
    bitstream.WEIGHTS: ("each segment, next", "the coded tensors of the decoder"),
    bitstream.EMBEDDINGS: ("each segment, next", "the coded embeddings, if the architecture has them"),
    bitstream.KEYFRAMES: ("each segment, last", "coded images, if the architecture needs them"),
}


def format_page() -> str:
    """The whole page, as Markdown."""
    parts = (
        *(_beginning, _container, _video, _model, _videos, _stream, _weights, _entropy_models, _embeddings),
        *(_older, _slices, _keyframes, _frames, _clips, _limits, _versions),
    )
    blocks = "\n\n".join(part().strip() for part in parts).split("\n\n")
    return "\n\n".join(map(_wrapped, blocks)) + "\n"


def _wrapped(block: str) -> str:
    """A paragraph in full lines; headings, tables and code as they are."""
    if block.startswith(("#", "|", "    ", "- ")):
        return block
    return textwrap.fill(block, 120, break_long_words=False, break_on_hyphens=False)


# --- the parts of the page, in order -----------------------------------------------------------------------


def _beginning() -> str:
    return f"""
# The file format `.bnv`, version {bitstream.VERSION}

Generated from `boostnerv/codec` by `make docs`; a test keeps it in step. This page says what every byte of a file is,
for those who write a decoder of their own. What the networks compute is said by their code in
[boostnerv/models](../boostnerv/models).

A video of T frames of H×W pixels is one or more **segments**, runs of frames with a network of their own. A network
is an **architecture** with the numbers that define it, its **spec**; its **tensors** are the weights. Some
architectures also have an **embedding** `[e, h, w]` for each frame; some are of many videos of one size, whose frames
stand one after the other in a segment. Tensors and embeddings are stored as **codes**,
whole numbers in ±{_power(LARGEST_CODE)} that a quantiser turns into float32.

All numbers are little-endian: u8, u16, u32 unsigned, i8, i32 two's complement, f16, f32, f64 IEEE 754. A **list** is a
u8 count and as many u16. Arrays are in C order, the last index fastest. In formulas numbers are reals, or doubles,
which makes no difference unless it is said.
"""


def _container() -> str:
    head = (
        (0, "u8", "number of the section"),
        (1, "u32", "length of its payload in bytes"),
        (5, "u32", "CRC-32"),
        (9, "", "payload"),
    )
    rows = [(number, f"`{name}`", *_SECTION_MEANINGS[number]) for number, name in sorted(bitstream.SECTIONS.items())]
    return f"""
## Container

A file is the three bytes `{bitstream.MAGIC.decode()}`, the version as u8 ({bitstream.VERSION}), and sections up to its
end:

{_table(("offset", "type", "what"), head)}

The CRC-32 is that of zlib and PNG, taken over every byte of the file before the section, then the first five bytes of
the section, then its payload. The bytes before include the CRCs of earlier sections.

{_table(("number", "section", "where", "what"), rows)}

Sections of numbers from {bitstream.FIRST_REMARK} to 255 are **remarks**. They may stand anywhere behind the first
section, their CRCs have to be right, and a reader passes over those that it does not know. What frames depend on is
never a remark: other unknown numbers are refused. One remark is defined, {bitstream.DISPLAY} `display`.
"""


def _video() -> str:
    return f"""
## Section video

{_fields(bitstream.VIDEO_FIELDS)}

Colour profiles: {_numbered(bitstream.COLOURS)}. The profile says how the source became RGB; what is decoded is RGB.

## Section timestamps

T − 1 numbers: how many ticks of 1/{bitstream.TICKS_PER_SECOND} s each frame but the first is shown after the one
before. A number is written in groups of seven bits, the lowest first, one to a byte; the top bit of a byte says that
another follows, and six bytes are the most. The first frame is shown at 0. Without this section
frame k is shown at k / fps.

## Remark display

How the frames are meant to be shown, if their source was interlaced or HDR, or had pixels that are not square, and was
coded as it is. Frames are decoded without it; a file without it holds progressive SDR of square pixels. A remark of
another length or with other values is passed over.

{_fields(bitstream.DISPLAY_FIELDS)}

Field orders: {_numbered(bitstream.FIELD_ORDERS)}. Transfer functions and primaries have the numbers of ITU-T H.273:
{_numbered(bitstream.TRANSFERS)}; {_numbered(bitstream.PRIMARIES)}.
"""


def _model() -> str:
    entries = sorted(architectures_by_wire_id().items())
    with_embeddings = " and ".join(f"`{entry.name}`" for _, entry in entries if entry.encoder is not None)
    rows = [(number, _source(entry), _spec(entry)) for number, entry in entries]
    return f"""
## Section model

{_fields(bitstream.MODEL_FIELDS)}

Behind these stands the spec of the architecture, its fields in this order without gaps:

{_table(("number", "architecture", "spec"), rows)}

A spec also has T (`frames` of the segment), H and W. {_unstored()}

The tensors and their shapes follow from the spec, in the order in which
the architecture's modules register them, depth first; `boostnerv info --json FILE` lists them. {with_embeddings} have
embeddings `[e, h, w]`: e is `embedding_width`, h and w are H and W divided by the product of the strides and rounded
up.

Quantisers: {_numbered(bitstream.QUANTIZERS)}. For `uniform` the sections `weights` and `embeddings` hold what the next
four headings say; for `min-max` and `slices`, what stands under *Older pipeline* and *Slices*.
"""


def _videos() -> str:
    of_many = " and ".join(f"`{entry.name}`" for entry in _of_many())
    return f"""
## Section videos

Of {of_many}. The number of videos, u32; then, as one zlib stream (RFC 1950), for each video in order:

{_fields(bitstream.ONE_OF_MANY_FIELDS)}

Their frames add up to those of the segment; no name stands twice. The spec of such an architecture has these frames as
`lengths` too.
"""


def _keyframes() -> str:
    with_keyframes = " and ".join(f"`{entry.name}`" for entry in _of_many() if MODELS_OF_MANY[entry.name])
    codecs = {entry.wire_number: name for name, entry in IMAGE_CODECS.items()}
    most, per_value = keyframe_section.ANY_IMAGE_BYTES, keyframe_section.IMAGE_BYTES_PER_VALUE
    return f"""
## Section keyframes

Of {with_keyframes}: images of H×W, those of a video one after the other, video after video. The keyframes of a video
of T frames are its frames 0, D, 2·D, …, where D is `clip_frames`, and its last one.

{_fields(keyframe_section.KEYFRAMES_FIELDS)}

Image codecs: {_numbered(codecs)}. Behind the head stands a number for each image, in groups of seven bits as in section
timestamps, {keyframe_section.MOST_LENGTH_BYTES} bytes at most: twice the bytes that it has here, plus 1 where it is
deflated. Then the images. A deflated one is a raw deflate stream (RFC 1951) whose window begins with the first
{keyframe_section.DICTIONARY_BYTES} bytes of the first image, or all of it; the first image is never deflated. Inflated,
an image has at most {_power(most)} bytes and {per_value} for each of its 3·H·W values.

`avif` is a file of one still AV1 picture, `webp` a WebP file, `x265-intra` an HEVC picture with its parameter sets, as
an Annex B stream. What they decode to is 8-bit RGB. The conversion of AVIF from YUV is that of libavif, and may differ
by a level from version to version.
"""


def _of_many() -> list[Architecture]:
    return [entry for _, entry in sorted(architectures_by_wire_id().items()) if entry.multi_video]


def _stream() -> str:
    total = f"2^{PRECISION}"
    return f"""
## Streams and grids

A stream is a stack of u32 words under an asymmetric numeral system, `AnsCoder` of
[constriction](https://bamler-lab.github.io/constriction/) {CONSTRICTION}: words of 32 bits, a state x of 64, and
probabilities in parts of {total}. A model gives symbol s the interval [start(s), start(s + 1)) of [0, {total}).

    begin    x = 0; twice, if there are words left: x = x·2^32 + last word, which is taken away
    symbol   q = x mod {total}; s is the symbol whose interval holds q
             x = floor(x / {total})·(start(s + 1) − start(s)) + q − start(s)
             if x < 2^32 and there are words left: x = x·2^32 + last word, which is taken away
    end      no words are left and x = 0

The last word of a stream is never 0; a stream may have no words. Three kinds of models occur:

| model | symbols | start(k) |
|---|---|---|
| Uniform(n) | 0 … n − 1 | k·floor({total} / n) |
| Gaussian(low, high, m, s) | low … high | 0 for low, else floor(f·F(k − ½)) + k − low |
| Laplace(low, high, m, s) | low … high | 0 for low, else floor(f·F(k − ½)) + k − low |

The interval of the last symbol ends at {total}. f is {total} − 1 − (high − low), and in doubles

    Gaussian   F(x) = ½·(1 + erf((x − m) / (s·√2)))
    Laplace    F(x) = ½·exp((x − m) / s) for x ≤ m, else 1 − ½·exp((m − x) / s)

These are constriction's `Uniform`, `QuantizedGaussian` and `QuantizedLaplace`. Another erf or exp, whose results differ
in the last digit, gives another start for less than one symbol in 10^8; such a symbol would spoil the rest of its
stream.

The range of codes about locations m and scales s follows from the **reach** R, a number that the file stores:

    low  = floor(max(least of m − R·s, −{_power(LARGEST_CODE)}))
    high = ceil(min(largest of m + R·s, {_power(LARGEST_CODE)})) + 1

Positive numbers are stored as indices of grids: index i of a grid with numbers M and B is

    (1 + (i mod 2^M) / 2^M)·2^(floor(i / 2^M) − B)

{_table(("grid", "indices", "M", "B", "from", "to"), [_grid(name, grid) for name, grid in _GRIDS.items()])}
"""


def _weights() -> str:
    return f"""
## Section weights

One stream, for all tensors in their order. Symbols are Uniform unless it is said otherwise:

    R                                               Uniform({payloads.REACHES})
    number of the entropy model of all tensors,
    or {payloads.ANY_MODEL}: each tensor has its own                   Uniform({payloads.MODEL_NUMBERS})
    for each tensor
        index of δ on the step grid                 Uniform({STEP_GRID.levels})
        if the number was {payloads.ANY_MODEL}: that of its model      Uniform({payloads.MODEL_NUMBERS})
        parameters of the model                     next heading
        codes                                       next heading

The value of a code is δ·code: one product of float32 numbers.
"""


def _independent_models(*, by_channel: bool) -> str:
    """Names of the entropy models of independent codes whose parameters are given in the same way."""
    kinds = entropy_models.Independent
    models = [model for model in entropy_models.MODELS if isinstance(model, kinds) and model.by_channel == by_channel]
    return " and ".join(f"`{model.name}`" for model in models)


def _entropy_models() -> str:
    index, centre = entropy_models.INDEX_RANGE, entropy_models.CENTRE_UNITS
    rows = [
        (entry.wire_id, f"`{entry.name}`", role, *dataclasses.astuple(entropy_models.BY_NAME[entry.name].units(role)))
        for entry in ENTROPY_MODELS
        for role in entry.roles
    ]
    plain, by_channel = (_independent_models(by_channel=by_channel) for by_channel in (False, True))
    return f"""
## Entropy models

{_table(("number", "model", "codes", "distribution", "m and s are those of", "low and high are those of"), rows)}

Codes stand in C order, each under the distribution with its m and s; the range is that of all m and s of what the last
column names. Every m and s is exact in doubles. Parameters come first:

**{plain}, parameters of weights.** i, the index of s on the sigma grid, Uniform({SIGMA_GRID.levels});
j + {1 << (MEAN_BITS["weights"] - 1)}, Uniform({1 << MEAN_BITS["weights"]}). Then m = j·s/{UNITS_PER_SIGMA}.

**{plain}, parameters of embeddings.** o + {_power(entropy_models.ORIGIN_RANGE // 2)},
Uniform({_power(entropy_models.ORIGIN_RANGE)}); then i of all T frames, Uniform({SIGMA_GRID.levels}) each; then
j + {1 << (MEAN_BITS["embeddings"] - 1)} of all frames, Uniform({1 << MEAN_BITS["embeddings"]}) each. Then
m = o + j·s/{UNITS_PER_SIGMA}.

**{by_channel}.** For embeddings o as above, for weights o = 0; then the i of all channels as an index list, and
the j of all channels as another. Then m = o + j·s/{UNITS_PER_SIGMA_OF_CHANNEL}.

**`temporal`.** Two symbols, Uniform(2) each: whether μ and σ₀, and whether a and σ₁, are given for each position
`[e, h, w]` (1) or for each channel `[e]` (0). Then four index lists: μ in parts of 1/{entropy_models.UNITS_PER_CODE},
σ₀ on the coarse sigma grid, a in parts of 1/{entropy_models.SLOPE_UNITS}, σ₁ on the coarse sigma grid. In the first
frame of a group m = μ, s = σ₀; in each later one m = μ + a·(c − μ), s = σ₁, where c is the code at the same place of
the frame before.

**An index list** of n whole numbers:

    low + {index // 2}                                     Uniform({index})
    span                                            Uniform({index})
    if span = 0, all numbers are low; else
        c                                           Uniform({centre})
        index of s on the sigma grid                Uniform({SIGMA_GRID.levels})
        n numbers                                   Gaussian(low, low + span, low + span·c/{centre}, s)

Indices beyond the ends of their grid, and a beyond ±1, are taken for these ends.
"""


def _embeddings() -> str:
    return f"""
## Section embeddings

{_fields(payloads.EMBEDDINGS_FIELDS)}

Then, for each group of N frames (the last may have fewer), the length of its stream in words, u32; then the stream of
the parameters; then the groups' streams one after another. Each stream is decoded on its own: a frame needs the
parameters and its group.

δ is on the step grid and β = offset·(δ/{OFFSET_UNITS_PER_STEP}), rounded to float32. The value of a code is δ·code + β:
a product of float32 numbers, rounded, then a sum, rounded.
"""


def _older() -> str:
    rows = (
        ("u8", f"b, bits of a code, 1 to {post_training.MOST_BITS}"),
        ("", "for each tensor:"),
        ("i8", f"axis, or −{-side_information.WHOLE} for the whole tensor"),
        ("f32, or f16 for an axis", "minima, in the shape of the tensor with one entry along the axis; or one for all"),
        ("the same", "scales, as many"),
        ("", "for all tensors together:"),
        ("u16", "L, the largest symbol"),
        ("u8 each", "length in bits of the code words of symbols 0 … L, 0 for one that does not occur"),
        ("bits", "code words, the highest bit of a byte first, filled up to a byte with zeros"),
    )
    return f"""
## Older pipeline

Both sections hold tensors in their order; `embeddings` holds one, `[T, e, h, w]`.

{_table(("type", "what"), rows)}

The words are canonical: sorted by length, then by symbol, the first is 0 and each other is the one before plus one,
with zeros appended up to its length. They are at most {huffman.LARGEST_LENGTH} bits long and the code is complete; a
single symbol has the word 0 of one bit. A code is a symbol below 2^b. Its value is minimum + scale·code: a product of
float32 numbers, rounded, then a sum, rounded.
"""


def _slices() -> str:
    rows = (
        ("u8", f"b, bits that the scales were made for, 1 to {slices.MOST_BITS}"),
        ("i32", f"lowest code, −{slices.LARGEST_CODE} to 0"),
        ("", "for each tensor:"),
        ("i8", f"axis, or −{-side_information.WHOLE} for the whole tensor"),
        ("f32", "minima, one for each index of the axis; or one for all"),
        ("f32", "scales, as many"),
        ("", "for all tensors together:"),
        ("", "L, lengths and code words, as under *Older pipeline*"),
    )
    return f"""
## Slices

{_table(("type", "what"), rows)}

A code is its symbol plus the lowest code. Its value is minimum + scale·code with the numbers of its index of the axis:
a product of float32 numbers, rounded, then a sum, rounded.
"""


def _frames() -> str:
    return """
## From tensors to frames

The network is called with t = (k + 1)/T, rounded to float32, for frame k = 0 … T − 1 of its segment of T frames, and
with the frame's embedding. It makes RGB of H'×W', H and W rounded up to multiples of the product of the strides; rows
below and columns to the right are cut off. A pixel is 255 times the value in float32, rounded to the nearest whole
number (halves to the even one) and kept within 0 and 255.

Codes, δ, β and values are the same everywhere, to the bit, as far as erf and exp are (see *Streams and grids*). What
the network makes of them depends on the order in which floats are added. The exact decoder computes the frames
0 … B − 1 of a segment together, then the next B and so on (the last may be fewer), where B is `batch` of section video,
each batch on one thread: on one machine with one version of PyTorch its pixels depend neither on which frames are
wanted nor on the number of threads. Other processors, GPUs, other versions, and batches of another size may give pixels
that differ by a level. That is what trained networks do; the format cannot promise it of any weights, as a network may
multiply a difference in the last bits by any factor.

Subnormal numbers, below 2^−126 in size, count as zero wherever a decoder on a CPU reads or makes them: some processors
compute with them a hundred times as slowly as with others.
"""


def _clips() -> str:
    return """
## Clips, patches and keyframes

An architecture of many videos makes D = `clip_frames` frames of a patch at once. A video is cut into clips of D frames
from its first on; the last may have fewer. A frame is a grid of `patch_rows` × `patch_columns` patches of one size,
numbered row by row, which are put together without overlap. The network is called with, for frame k of a video of T
frames in patch p, all divided in doubles and rounded to float32:

- index: k / (T − 1), or 0 where T = 1. Of `d-nerv-baseline` it is g / (G − 1), where g counts frames over all videos of
  the segment before, with all their patches, then over the patches before p of this video, then k; G is their number.
- distance: (k − a) / (b − a), or 0 where a = b, where a is the first frame of the clip and b the next keyframe.
- keyframes: patch p of the images at a and b, each value divided by 255, padded below and on the right to multiples of
  the product of the strides by repeating the last row and column. Before the network sees them, the mean
  (`mean_e4` in 1/10000, for R, G, B) is taken away and the rest divided by the deviation (`deviation_e4`).

Frames of a clip behind the end of the video have index and distance of the last frame, and are thrown away. Each patch
of a clip is computed on its own, on one thread, whatever `batch` says.
"""


def _limits() -> str:
    side = bitstream.LARGEST_SIDE
    rows = (
        ("frames", f"1 to {_power(bitstream.LARGEST_FRAME_COUNT)}; the segments' add up to the video's"),
        ("height, width", f"1 to {_power(side)}; rounded up to the strides, up to {_power(2 * side)}"),
        ("segments", "1 to frames, as many as there are"),
        ("fps", "10^-6 or more, under 10^6"),
        ("batch, group", "1 to 255"),
        (
            "a number of a spec",
            f"above 0, up to {_power(bitstream.LARGEST_WIDTH)}; odd where its name begins `kernel_`",
        ),
        ("a list of a spec", f"1 to {bitstream.LARGEST_STRIDES} numbers; three where its name ends in `_e4`"),
        ("names of videos", "printable, without `/`, neither `.` nor `..`; frames per second as in section video"),
        ("clip_frames", "1 to 255"),
        ("patch_rows, patch_columns", "divisors of height and width, 4096 patches at most"),
        (
            "codes",
            f"up to {payloads.CODES_PER_BYTE} for each byte of the section and {_power(payloads.ANY_CODES)} more",
        ),
        (
            "channels",
            f"first axes of all tensors: up to {payloads.CHANNELS_PER_BYTE} a byte and {_power(payloads.ANY_CHANNELS)}",
        ),
    )
    return f"""
## What a file may hold

{_table(("what", "values"), rows)}

A reader refuses anything else, and wrong CRCs, sections in another order or of unknown numbers, unknown numbers of
architectures, quantisers, colour profiles and entropy models, and payloads that are longer or shorter than what they
say; minima and scales that are not finite, and scales below 0; and frames that become no numbers (NaN). Lengths are
compared with the bytes at hand before memory is taken.

Equal codes cost next to nothing, so that few bytes may describe a large network. Ours refuses a segment whose first
frame would take more than {limits.ANY_SEGMENT_S:g} s of CPU time or {limits.ANY_SEGMENT_BYTES / 1e6:g} MB of memory,
and {limits.S_PER_BYTE * 1e3:g} ms and {limits.MEMORY_PER_BYTE / 1e3:g} kB more for each byte of its own `weights`,
`embeddings` and `keyframes`: a network of 3 million parameters at one bit each may take
{limits.ANY_SEGMENT_S + 375_000 * limits.S_PER_BYTE:.0f} s and
{(limits.ANY_SEGMENT_BYTES + 375_000 * limits.MEMORY_PER_BYTE) / 1e9:.1f} GB. The first frame is all that is computed
together with it: the codes of its group, the frames of its batch or clip. Both amounts are estimates from shapes, the
same on every machine: {work.MACS_PER_S / 1e9:g}·10^9 multiply–accumulates a second, with output channels rounded up to
{work.OUTPUTS_AT_ONCE} (kernels above {work.SLOWER_BY_KERNEL[0][0]} take {work.SLOWER_BY_KERNEL[1][1]} times as long,
above {work.SLOWER_BY_KERNEL[1][0]} {work.SLOWER_BY_KERNEL[2][1]} times), {work.BYTES_PER_S / 1e9:g} GB a second
read and written, {limits.S_PER_CODE * 1e6:g} µs a code. Measured times are a half to a fifth of it
(`bench/crafted_files.py`).
"""


def _versions() -> str:
    return f"""
## Versions

Version {bitstream.VERSION} is frozen: files that it allows today are read by every later release, and mean the same.
What comes later comes as sections of new numbers, or as new numbers of architectures, quantisers and entropy models,
which older readers refuse, or as remarks, which they pass over; a number is never given twice. The version of
constriction belongs to the format: its models are a part of it. Another one that is installed is used, and a line on
the standard error output names both; 0.4.2 made and read the same files.

Files of version {version0.VERSION}, written before the format was frozen, are read and no longer written;
[version0.py](../boostnerv/codec/container/version0.py) describes them.
"""


# --- tables and numbers ------------------------------------------------------------------------------------


def _table(heads: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    lines = (f"| {' | '.join(map(str, line))} |" for line in (heads, *rows))
    head, *body = (line.replace("|  |", "| |") for line in lines)
    return "\n".join([head, "|" + "---|" * len(heads), *body])


def _fields(fields: Sequence[Field]) -> str:
    rows, offset = [], 0
    for field in fields:
        rows.append((offset, _TYPES[field.code], f"`{field.name}`", field.meaning))
        offset += struct.calcsize(field.code)
    return _table(("offset", "type", "field", "meaning"), rows)


def _unstored() -> str:
    """What decoders have that the spec of a file does not say."""
    kinds = [entry.spec for entry in architectures_by_wire_id().values()]
    fields = [field for kind in kinds for field in dataclasses.fields(kind)]
    names = {field.name for field in fields if not is_stored(field) and not is_of_encoder(field)}
    listed = ", ".join(f"`{name}`" for name in sorted(names))
    return f"Fields of its class that are missing in the table ({listed}) have their defaults in files of this version."


def _spec(entry: Architecture) -> str:
    return ", ".join(f"`{field.name}` {_SPEC_TYPES[str(field.type)]}" for field in bitstream.spec_fields(entry.spec))


def _source(entry: Architecture) -> str:
    path = entry.spec.__module__.replace(".", "/")
    return f"[`{entry.name}`](../{path}.py)"


def _grid(name: str, grid: SmallFloat) -> tuple[object, ...]:
    least, largest = grid.decode(np.array([0, grid.levels - 1]))
    return name, f"0 … {grid.levels - 1}", grid.mantissa_bits, grid.bias, f"{least:.3g}", f"{largest:.3g}"


def _numbered(names: dict[int, str]) -> str:
    return ", ".join(f"{number} `{name}`" for number, name in sorted(names.items()))


def _power(number: int) -> str:
    """A power of two as it is written: ``2^19``."""
    exponent = number.bit_length() - 1
    assert number == 1 << exponent
    return f"2^{exponent}"


def main() -> None:
    """Write the page into the checkout that is the current folder."""
    write_text(_PAGE, format_page())


if __name__ == "__main__":
    main()
