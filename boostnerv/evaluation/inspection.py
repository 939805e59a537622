"""Contents of a ``.bnv`` file: the report of ``boostnerv info``."""

from __future__ import annotations

import collections
import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from boostnerv.codec.decoder import SegmentDecoder

_NAMED_VIDEOS = 8


def describe_file(path: Path) -> dict[str, Any]:
    """Everything that a ``.bnv`` file declares about itself; the bytes of `sections` add up to `file_bytes`."""
    from boostnerv.codec.decoder import VideoFile
    from boostnerv.evaluation.measure import bits_per_pixel

    video = VideoFile(path)
    header = dataclasses.asdict(video.stream.video)
    timestamps_s = header.pop("timestamps_s")
    segments = [_describe_segment(video.segment(number)) for number in range(len(video.stream.segments))]
    return {
        "file": str(path),
        "file_bytes": video.file_bytes,
        "format_version": video.version,
        **header,
        "variable_rate": timestamps_s is not None,
        "bpp": bits_per_pixel(video.file_bytes, len(video), video.height, video.width),
        "sections": video.section_bytes,
        "videos": {name: len(frames) for name, (frames, _) in video.videos.items()},
        "segments": segments,
        "notes": video.notes,
    }


def _describe_segment(segment: SegmentDecoder) -> dict[str, Any]:
    from boostnerv.codec.container.bitstream import spec_fields

    spec, embeddings = segment.spec, segment.embeddings
    return {
        "frames": spec.frames,
        "architecture": segment.architecture.name,
        "quantizer": segment.quantizer,
        "spec": {field.name: getattr(spec, field.name) for field in spec_fields(type(spec))},
        "params_decoder": sum(shape.numel() for shape in segment.shapes.values()),
        "params_embedding": spec.embedding_parameters,
        "side_bytes": (segment.weights.side_bits + (embeddings.side_bits if embeddings else 0)) // 8,
        "embedding_model": embeddings.model_name if embeddings else None,
        "embedding_group": embeddings.group if embeddings else None,
        "keyframe_codec": segment.keyframes.codec if segment.keyframes else None,
        "keyframes": len(segment.keyframes) if segment.keyframes else 0,
        "tensors": [
            {"name": name, "shape": list(shape), "entropy_model": model}
            for (name, shape), model in zip(segment.shapes.items(), segment.weights.models, strict=True)
        ],
    }


def file_text(contents: dict[str, Any]) -> str:
    """Format the result of `describe_file` as text."""
    rate = " (variable)" if contents["variable_rate"] else ""
    lines = [
        f"{contents['file']}: {contents['file_bytes']:,} bytes, {contents['bpp']:.4f} bit/pixel",
        f"  {contents['frames']} frames of {contents['height']}×{contents['width']} "
        f"at {contents['fps']:g} fps{rate}, colour {contents['colour']}, format version {contents['format_version']}, "
        f"decoded {contents['batch']} at a time",
        "  sections:",
    ]
    lines += [f"    {name:<12}{size:>10,} bytes" for name, size in contents["sections"].items()]
    lines.append(f"    {'together':<12}{sum(contents['sections'].values()):>10,} bytes")
    if contents["videos"]:
        named = [f"{name} ({frames})" for name, frames in contents["videos"].items()]
        more = f" and {len(named) - _NAMED_VIDEOS} more" if len(named) > _NAMED_VIDEOS else ""
        lines.append(f"  {len(named)} videos (frames): {', '.join(named[:_NAMED_VIDEOS])}{more}")
    for number, segment in enumerate(contents["segments"]):
        lines += _segment_lines(number, segment)
    return "\n".join([*lines, *(f"  note: {note}" for note in contents["notes"])])


def _segment_lines(number: int, segment: dict[str, Any]) -> list[str]:
    models = collections.Counter(tensor["entropy_model"] for tensor in segment["tensors"])
    coded = ", ".join(f"{count} tensors {name}" for name, count in models.most_common())
    if segment["embedding_model"]:
        coded += f", embeddings {segment['embedding_model']} in groups of {segment['embedding_group']}"
    if segment["keyframe_codec"]:
        coded += f", {segment['keyframes']} keyframes {segment['keyframe_codec']}"
    choices = ", ".join(f"{key} {value}" for key, value in segment["spec"].items())
    return [
        f"  segment {number}: {segment['frames']} frames, {segment['architecture']}, "
        f"{segment['params_decoder']:,} decoder parameters, {segment['params_embedding']:,} in embeddings",
        f"    codes: {segment['quantizer']}; {coded}; {segment['side_bytes']:,} bytes of side information",
        f"    spec: {choices}",
    ]
