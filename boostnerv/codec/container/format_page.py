"""Generator of ``docs/format.md``: the file format for authors of other decoders, from the code's own tables.

``python -m boostnerv.codec.container.format_page`` writes the page; a test detects a stale one.
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
    bitstream.VIDEO: ("file, first", "properties of the whole video"),
    bitstream.TIMESTAMPS: ("file, second, optional", "presentation time of each frame, for variable frame rates"),
    bitstream.MODEL: ("each segment, first", "the architecture and its spec"),
    bitstream.VIDEOS: ("each segment, after `model`", "names and lengths, for multi-video architectures"),
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
    """A paragraph filled to the line width; headings, tables and code unchanged."""
    if block.startswith(("#", "|", "    ", "- ")):
        return block
    return textwrap.fill(block, 120, break_long_words=False, break_on_hyphens=False)


# --- the parts of the page, in order -----------------------------------------------------------------------


def _beginning() -> str:
    return f"""
# The file format `.bnv`, version {bitstream.VERSION}

Generated from `boostnerv/codec` by `make docs`; a test keeps it in step. This page defines every byte of a file, for
anyone who writes another decoder. The networks themselves are defined by their code in
[boostnerv/models](../boostnerv/models).

A video of T frames of H×W pixels consists of one or more **segments**, runs of frames with a network of their own. A
network is an **architecture** with its parameters, the **spec**; its **tensors** are the weights. Some architectures
also have an **embedding** `[e, h, w]` per frame; multi-video architectures represent several videos of one size, whose
frames follow one another in a segment. Tensors and embeddings are stored as **codes**,
integers in ±{_power(LARGEST_CODE)} that a quantiser maps to float32 values.

All numbers are little-endian: u8, u16, u32 unsigned, i8, i32 two's complement, f16, f32, f64 IEEE 754. A **list** is a
u8 count followed by that many u16. Arrays are in C order, the last index fastest. Formulas hold for real numbers and
for doubles alike, unless stated otherwise.
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

A file consists of the three bytes `{bitstream.MAGIC.decode()}`, the version as u8 ({bitstream.VERSION}), and
sections up to the end of the file:

{_table(("offset", "type", "what"), head)}

The CRC-32 is that of zlib and PNG, computed over every byte of the file before the section (earlier CRCs included),
then the first five bytes of the section, then its payload.

{_table(("number", "section", "where", "what"), rows)}

Sections numbered {bitstream.FIRST_REMARK} to 255 are **remarks**. They may appear anywhere after the first section,
their CRCs must be correct, and readers skip those that they do not know. Frames never depend on a remark; all other
unknown sections are refused. One remark is defined, {bitstream.DISPLAY} `display`.
"""


def _video() -> str:
    return f"""
## Section video

{_fields(bitstream.VIDEO_FIELDS)}

Colour profiles: {_numbered(bitstream.COLOURS)}. The profile records how the source was
converted to RGB; decoded frames are RGB.

## Section timestamps

T − 1 numbers: the time from each frame to the next in ticks of 1/{bitstream.TICKS_PER_SECOND} s. Numbers are LEB128: a
byte holds seven bits, the lowest first, its top bit is set if another byte follows, and a number has at most six bytes.
The presentation time of the first frame is 0. Without this section, that of frame k is k / fps.

## Remark display

How to display the frames, if the source was interlaced, HDR or had non-square pixels and was coded as it is. Decoding
ignores it; a file without it holds progressive SDR with square pixels. A remark of another length or with other values
is skipped.

{_fields(bitstream.DISPLAY_FIELDS)}

Field orders: {_numbered(bitstream.FIELD_ORDERS)}. Transfer functions and primaries use the code points of ITU-T H.273:
{_numbered(bitstream.TRANSFERS)}; {_numbered(bitstream.PRIMARIES)}.
"""


def _model() -> str:
    entries = sorted(architectures_by_wire_id().items())
    with_embeddings = " and ".join(f"`{entry.name}`" for _, entry in entries if entry.encoder is not None)
    rows = [(number, _source(entry), _spec(entry)) for number, entry in entries]
    return f"""
## Section model

{_fields(bitstream.MODEL_FIELDS)}

The spec of the architecture follows, its fields packed in this order:

{_table(("number", "architecture", "spec"), rows)}

A spec also contains T (`frames` of the segment), H and W. {_unstored()}

The spec determines the tensors and their shapes, in the order in which
the architecture's modules register them, depth first; `boostnerv info --json FILE` lists them. {with_embeddings} have
embeddings `[e, h, w]`: e is `embedding_width`, h and w are H and W divided by the product of the strides and rounded
up.

Quantisers: {_numbered(bitstream.QUANTIZERS)}. For `uniform` the next four headings describe the sections `weights` and
`embeddings`; for `min-max` and `slices`, see *Older pipeline* and *Slices*.
"""


def _videos() -> str:
    of_many = " and ".join(f"`{entry.name}`" for entry in _of_many())
    return f"""
## Section videos

For {of_many}. The number of videos, u32; then one zlib stream (RFC 1950) with these fields for each video in order:

{_fields(bitstream.ONE_OF_MANY_FIELDS)}

The frame counts add up to the frames of the segment; names are unique. The counts are also the `lengths` in the spec
of such an architecture.
"""


def _keyframes() -> str:
    with_keyframes = " and ".join(f"`{entry.name}`" for entry in _of_many() if MODELS_OF_MANY[entry.name])
    codecs = {entry.wire_number: name for name, entry in IMAGE_CODECS.items()}
    most, per_value = keyframe_section.ANY_IMAGE_BYTES, keyframe_section.IMAGE_BYTES_PER_VALUE
    return f"""
## Section keyframes

For {with_keyframes}: images of H×W pixels, video by video. The keyframes of a video of T frames are its frames 0, D,
2·D, …, where D is `clip_frames`, and its last frame.

{_fields(keyframe_section.KEYFRAMES_FIELDS)}

Image codecs: {_numbered(codecs)}. The head is followed by one LEB128 number per image, as in section timestamps,
of at most {keyframe_section.MOST_LENGTH_BYTES} bytes: twice the stored length of the image in bytes, plus 1 if it is
deflated. Then come the images. A deflated image is a raw deflate stream (RFC 1951) with the first
{keyframe_section.DICTIONARY_BYTES} bytes of the first image, or all of it, as its preset dictionary; the first image is
never deflated. An inflated image has at most {_power(most)} bytes plus {per_value} for each of its 3·H·W values.

`avif` is a file of one still AV1 picture, `webp` a WebP file, `x265-intra` an HEVC picture with its parameter sets, as
an Annex B stream. They decode to 8-bit RGB. AVIF is converted from YUV by libavif, and versions of it may
differ by one level.
"""


def _of_many() -> list[Architecture]:
    return [entry for _, entry in sorted(architectures_by_wire_id().items()) if entry.multi_video]


def _stream() -> str:
    total = f"2^{PRECISION}"
    return f"""
## Streams and grids

A stream is a stack of u32 words coded with asymmetric numeral systems (ANS), `AnsCoder` of
[constriction](https://bamler-lab.github.io/constriction/) {CONSTRICTION}: words of 32 bits, a state x of 64 bits, and
probabilities in units of 1/{total}. A model assigns symbol s the interval [start(s), start(s + 1)) of [0, {total}).

    begin    x = 0; twice, if any words are left: x = x·2^32 + last word, which is removed
    symbol   q = x mod {total}; s is the symbol whose interval contains q
             x = floor(x / {total})·(start(s + 1) − start(s)) + q − start(s)
             if x < 2^32 and any words are left: x = x·2^32 + last word, which is removed
    end      no words are left and x = 0

The last word of a stream is never 0; a stream may be empty. There are three kinds of models:

| model | symbols | start(k) |
|---|---|---|
| Uniform(n) | 0 … n − 1 | k·floor({total} / n) |
| Gaussian(low, high, m, s) | low … high | 0 for low, else floor(f·F(k − ½)) + k − low |
| Laplace(low, high, m, s) | low … high | 0 for low, else floor(f·F(k − ½)) + k − low |

The interval of the last symbol ends at {total}. f is {total} − 1 − (high − low), and in doubles

    Gaussian   F(x) = ½·(1 + erf((x − m) / (s·√2)))
    Laplace    F(x) = ½·exp((x − m) / s) for x ≤ m, else 1 − ½·exp((m − x) / s)

These are constriction's `Uniform`, `QuantizedGaussian` and `QuantizedLaplace`. An erf or exp whose results differ in
the last digit changes the start of less than one symbol in 10^8; such a symbol would corrupt the rest of its stream.

The range of codes with locations m and scales s is determined by the **reach** R, which the file stores:

    low  = floor(max(least of m − R·s, −{_power(LARGEST_CODE)}))
    high = ceil(min(largest of m + R·s, {_power(LARGEST_CODE)})) + 1

Positive numbers are stored as indices of grids: index i of a grid with numbers M and B is

    (1 + (i mod 2^M) / 2^M)·2^(floor(i / 2^M) − B)

{_table(("grid", "indices", "M", "B", "from", "to"), [_grid(name, grid) for name, grid in _GRIDS.items()])}
"""


def _weights() -> str:
    return f"""
## Section weights

One stream for all tensors, in order:

    R                                               Uniform({payloads.REACHES})
    number of the entropy model of all tensors,
    or {payloads.ANY_MODEL} if each tensor has its own                 Uniform({payloads.MODEL_NUMBERS})
    for each tensor
        index of δ on the step grid                 Uniform({STEP_GRID.levels})
        after {payloads.ANY_MODEL}: number of the tensor's model       Uniform({payloads.MODEL_NUMBERS})
        parameters of the model                     next heading
        codes                                       next heading

The value of a code is δ·code, a product of float32 numbers.
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

{_table(("number", "model", "codes", "distribution", "m and s per", "low and high per"), rows)}

Codes are in C order, each coded under the distribution with its m and s; the range follows from all m and s within the
unit in the last column. Every m and s is exact in double precision. The parameters come first:

**{plain}, parameters of weights.** i, the index of s on the sigma grid, Uniform({SIGMA_GRID.levels});
j + {1 << (MEAN_BITS["weights"] - 1)}, Uniform({1 << MEAN_BITS["weights"]}). Then m = j·s/{UNITS_PER_SIGMA}.

**{plain}, parameters of embeddings.** o + {_power(entropy_models.ORIGIN_RANGE // 2)},
Uniform({_power(entropy_models.ORIGIN_RANGE)}); then i for all T frames, Uniform({SIGMA_GRID.levels}) each; then
j + {1 << (MEAN_BITS["embeddings"] - 1)} for all frames, Uniform({1 << MEAN_BITS["embeddings"]}) each. Then
m = o + j·s/{UNITS_PER_SIGMA}.

**{by_channel}.** For embeddings o as above, for weights o = 0; then the i of all channels as an index list, and
the j of all channels as another. Then m = o + j·s/{UNITS_PER_SIGMA_OF_CHANNEL}.

**`temporal`.** Two symbols, Uniform(2) each: whether μ and σ₀, and whether a and σ₁, are given per position
`[e, h, w]` (1) or per channel `[e]` (0). Then four index lists: μ in units of 1/{entropy_models.UNITS_PER_CODE},
σ₀ on the coarse sigma grid, a in units of 1/{entropy_models.SLOPE_UNITS}, σ₁ on the coarse sigma grid. In the first
frame of a group m = μ, s = σ₀; in each later one m = μ + a·(c − μ), s = σ₁, where c is the code at the same position
of the previous frame.

**An index list** of n integers:

    low + {index // 2}                                     Uniform({index})
    span                                            Uniform({index})
    if span = 0, all numbers are low; else
        c                                           Uniform({centre})
        index of s on the sigma grid                Uniform({SIGMA_GRID.levels})
        n numbers                                   Gaussian(low, low + span, low + span·c/{centre}, s)

Indices outside their grid, and values of a outside ±1, are clamped.
"""


def _embeddings() -> str:
    return f"""
## Section embeddings

{_fields(payloads.EMBEDDINGS_FIELDS)}

Next, for each group of N frames (the last may have fewer), the length of its stream in words, u32; then the stream of
the parameters; then the streams of the groups. Each stream is decoded on its own: a frame needs only the parameters and
its group.

δ is on the step grid and β = offset·(δ/{OFFSET_UNITS_PER_STEP}), rounded to float32. The value of a code is δ·code + β,
a float32 product, rounded, then a float32 sum, rounded.
"""


def _older() -> str:
    rows = (
        ("u8", f"b, bits of a code, 1 to {post_training.MOST_BITS}"),
        ("", "for each tensor:"),
        ("i8", f"axis, or −{-side_information.WHOLE} for the whole tensor"),
        (
            "f32, or f16 for an axis",
            "minima, in the shape of the tensor with one entry along the axis; a single one without an axis",
        ),
        ("the same", "scales, in the same shape"),
        ("", "for all tensors together:"),
        ("u16", "L, the largest symbol"),
        ("u8 each", "length in bits of the code word of each symbol 0 … L, 0 if the symbol does not occur"),
        ("bits", "code words, most significant bit first, zero-padded to a byte"),
    )
    return f"""
## Older pipeline

Post-training quantization (PTQ) with min–max quantisers, as in HNeRV. Both sections hold tensors in order; `embeddings`
holds a single one, `[T, e, h, w]`.

{_table(("type", "what"), rows)}

The Huffman code is canonical: sorted by length, then by symbol, the first word is 0 and each further one is its
predecessor plus one, with zeros appended up to its length. Words have at most {huffman.LARGEST_LENGTH} bits and the
code is complete; a single symbol has the one-bit word 0. A code is a symbol below 2^b. Its value is
minimum + scale·code, a float32 product, rounded, then a float32 sum, rounded.
"""


def _slices() -> str:
    rows = (
        ("u8", f"b, bits for which the scales were computed, 1 to {slices.MOST_BITS}"),
        ("i32", f"lowest code, −{slices.LARGEST_CODE} to 0"),
        ("", "for each tensor:"),
        ("i8", f"axis, or −{-side_information.WHOLE} for the whole tensor"),
        ("f32", "minima, one per index of the axis; a single one without an axis"),
        ("f32", "scales, as many as minima"),
        ("", "for all tensors together:"),
        ("", "L, lengths and code words, as under *Older pipeline*"),
    )
    return f"""
## Slices

PTQ slice by slice, as in D-NeRV.

{_table(("type", "what"), rows)}

A code is its symbol plus the lowest code. Its value is minimum + scale·code, with the minimum and scale of its index on
the axis: a float32 product, rounded, then a float32 sum, rounded.
"""


def _frames() -> str:
    return """
## From tensors to frames

The inputs of the network for frame k = 0 … T − 1 of a segment of T frames are t = (k + 1)/T, rounded to float32, and
the embedding of the frame. Its output is RGB of H'×W' pixels, H and W rounded up to multiples of the product of the
strides; the bottom rows and right columns in excess are cropped. A pixel is 255 times the value in float32, rounded to
the nearest integer (halves to even) and clamped to 0 … 255.

Codes, δ, β and values are bit-identical everywhere, provided that erf and exp are (see *Streams and grids*). The output
of the network depends on the order of floating-point additions. The exact decoder computes the frames 0 … B − 1 of a
segment together, then the next B and so on (the last batch may be smaller), where B is `batch` of section video, and
each batch on one thread: on one machine with one version of PyTorch its pixels depend neither on which frames are
requested nor on the number of threads. With other processors, GPUs, versions or batch sizes, pixels may differ by one
level. That holds for trained networks; the format cannot guarantee it for arbitrary weights, which may amplify a
difference in the last bits by any factor.

Subnormal numbers, below 2^−126 in magnitude, are flushed to zero by decoders on CPUs, as inputs and as results: some
processors compute with them a hundred times more slowly.
"""


def _clips() -> str:
    return """
## Clips, patches and keyframes

One forward pass of a multi-video architecture produces D = `clip_frames` frames of a patch. A video is divided into
clips of D frames; the last may have fewer. A frame is a grid of `patch_rows` × `patch_columns` patches of one size
without overlap, numbered row by row. The inputs of the network for frame k of a video of T frames in patch p are,
divided in double precision and rounded to float32:

- index: k / (T − 1), or 0 if T = 1. For `d-nerv-baseline`, g / (G − 1), where g is the number of frames in all patches
  of the preceding videos of the segment, plus those in the patches before p of this video, plus k; G is their total.
- distance: (k − a) / (b − a), or 0 if a = b, where a is the first frame of the clip and b the next keyframe.
- keyframes: patch p of the images at a and b, divided by 255 and padded at the bottom and on the right to multiples of
  the product of the strides by repeating the last row and column. They are normalised by the mean (`mean_e4`, in
  1/10000, for R, G, B) and the deviation (`deviation_e4`).

Frames of a clip beyond the end of the video take the index and distance of the last frame, and are discarded. Each
patch of a clip is computed separately, on one thread, regardless of `batch`.
"""


def _limits() -> str:
    side = bitstream.LARGEST_SIDE
    rows = (
        ("frames", f"1 to {_power(bitstream.LARGEST_FRAME_COUNT)}; those of the segments add up to those of the video"),
        ("height, width", f"1 to {_power(side)}; rounded up to the strides, up to {_power(2 * side)}"),
        ("segments", "1 to frames; the number of segments that follow"),
        ("fps", "at least 10^-6, below 10^6"),
        ("batch, group", "1 to 255"),
        (
            "a number in a spec",
            f"above 0, up to {_power(bitstream.LARGEST_WIDTH)}; odd if its name begins with `kernel_`",
        ),
        ("a list in a spec", f"1 to {bitstream.LARGEST_STRIDES} numbers; three if its name ends in `_e4`"),
        ("names of videos", "printable, without `/`, neither `.` nor `..`; frames per second as in section video"),
        ("clip_frames", "1 to 255"),
        ("patch_rows, patch_columns", "divisors of height and width, at most 4096 patches"),
        (
            "codes",
            f"up to {_power(payloads.ANY_CODES)}, plus {payloads.CODES_PER_BYTE} for each byte of the section",
        ),
        (
            "channels",
            f"first axes of tensors: up to {_power(payloads.ANY_CHANNELS)}, plus {payloads.CHANNELS_PER_BYTE} a byte",
        ),
    )
    return f"""
## What a file may hold

{_table(("what", "values"), rows)}

A reader refuses anything else: wrong CRCs, unknown or misplaced sections, unknown architectures, quantisers, colour
profiles and entropy models, payloads that are longer or shorter than they declare, minima and scales that are not
finite, scales below 0, and frames with values that are not numbers (NaN). Lengths are compared with the remaining bytes
before memory is allocated.

Equal codes cost next to nothing, so that a few bytes may describe a large network. This decoder refuses a segment whose
first frame would take more than {limits.ANY_SEGMENT_S:g} s of CPU time or {limits.ANY_SEGMENT_BYTES / 1e6:g} MB of
memory, plus {limits.S_PER_BYTE * 1e3:g} ms and {limits.MEMORY_PER_BYTE / 1e3:g} kB for each byte of its `weights`,
`embeddings` and `keyframes`: a network of 3 million parameters at one bit each may take
{limits.ANY_SEGMENT_S + 375_000 * limits.S_PER_BYTE:.0f} s and
{(limits.ANY_SEGMENT_BYTES + 375_000 * limits.MEMORY_PER_BYTE) / 1e9:.1f} GB. The cost of the first frame includes
everything computed together with it: the codes of its group, the frames of its batch or clip. Both are estimates from
shapes, the same on every machine: {work.MACS_PER_S / 1e9:g}·10^9 multiply–accumulates a second, with
output channels rounded up to {work.OUTPUTS_AT_ONCE} (kernels above
{work.SLOWER_BY_KERNEL[0][0]} take {work.SLOWER_BY_KERNEL[1][1]} times as long,
above {work.SLOWER_BY_KERNEL[1][0]} {work.SLOWER_BY_KERNEL[2][1]} times), {work.BYTES_PER_S / 1e9:g} GB a second
read and written, {limits.S_PER_CODE * 1e6:g} µs a code. Measured times are a half to a fifth of these estimates
(`bench/crafted_files.py`).
"""


def _versions() -> str:
    return f"""
## Versions

Version {bitstream.VERSION} is frozen: every later release reads the files that are valid today, with the same meaning.
Extensions use new numbers for sections, architectures, quantisers and entropy models, which older readers refuse, or
remarks, which they skip; numbers are never reused. The version of constriction is part of the format, as its models
are. If another version is installed, it is used, and a line on standard error names both; 0.4.2 wrote and read the same
files.

Files of version {version0.VERSION}, written before the format was frozen, can still be read but are no longer written;
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
    """Which fields of the specs a file does not store."""
    kinds = [entry.spec for entry in architectures_by_wire_id().values()]
    fields = [field for kind in kinds for field in dataclasses.fields(kind)]
    names = {field.name for field in fields if not is_stored(field) and not is_of_encoder(field)}
    listed = ", ".join(f"`{name}`" for name in sorted(names))
    return f"Fields of its class that are not in the table ({listed}) have their defaults in files of this version."


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
    """A power of two in the notation of the page: ``2^19``."""
    exponent = number.bit_length() - 1
    assert number == 1 << exponent
    return f"2^{exponent}"


def main() -> None:
    """Write the page into the checkout in the current folder."""
    write_text(_PAGE, format_page())


if __name__ == "__main__":
    main()
