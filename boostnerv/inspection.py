"""What is inside a file and what this machine has: the reports of ``boostnerv info`` and ``doctor``."""

from __future__ import annotations

import dataclasses
import os
import platform
import shutil
from pathlib import Path
from typing import Any

from boostnerv import provenance

ANCHOR_LIBRARIES = ("libx264", "libx265", "libsvtav1", "libvvenc")


def describe_file(path: Path) -> dict[str, Any]:
    """Everything a ``.bnv`` file says about itself; the bytes of `sections` add up to `file_bytes`."""
    from boostnerv.codec.bitstream import VERSION
    from boostnerv.codec.decoder import VideoFile
    from boostnerv.evaluation.measure import bits_per_pixel
    from boostnerv.models.architecture import tensor_shapes

    video = VideoFile(path)
    header, spec = video.stream.header, video.spec
    shapes = tensor_shapes(header.architecture, spec)
    sizes = {name: shape.numel() for name, shape in shapes.items()}
    side = video.stream.weight_side
    return {
        "file": str(path),
        "file_bytes": video.file_bytes,
        "format_version": VERSION,
        "architecture": header.architecture.name,
        "frames": spec.frames,
        "height": spec.height,
        "width": spec.width,
        "fps": header.fps,
        "colour": header.colour,
        "bpp": bits_per_pixel(video.file_bytes, spec.frames, spec.height, spec.width),
        "sections": video.section_bytes,
        "params_decoder": sum(sizes.values()),
        "params_embedding": spec.embedding_parameters,
        "spec": dataclasses.asdict(spec),
        "tensors": [
            {"name": name, "shape": list(shapes[name]), "step": float(step), "sigma": float(sigma)}
            for name, step, sigma in zip(shapes, side.steps, side.grid.sigma, strict=True)
        ],
    }


def file_text(found: dict[str, Any]) -> str:
    """`describe_file` for people."""
    lines = [
        f"{found['file']}: {found['file_bytes']:,} bytes, {found['bpp']:.4f} bit/pixel",
        f"  {found['architecture']}, {found['frames']} frames of {found['height']}×{found['width']} at "
        f"{found['fps']:g} fps, colour {found['colour']}, format version {found['format_version']}",
        f"  {found['params_decoder']:,} decoder parameters, {found['params_embedding']:,} in embeddings",
        "  sections:",
    ]
    lines += [f"    {name:<12}{size:>10,} bytes" for name, size in found["sections"].items()]
    lines.append(f"    {'together':<12}{sum(found['sections'].values()):>10,} bytes")
    choices = ", ".join(f"{key} {value}" for key, value in found["spec"].items())
    return "\n".join([*lines, f"  spec: {choices}"])


def describe_machine() -> dict[str, Any]:
    """What was found on this machine; `problems` lists sentences about what is missing."""
    import torch

    from boostnerv.errors import UserError

    problems: list[str] = []
    ffmpeg, encoders = "not found", []
    try:
        from boostnerv.video import ffmpeg as ffmpeg_module

        ffmpeg = ffmpeg_module.ffmpeg_version()
        found = ffmpeg_module.list_encoders()
        encoders = [library for library in ANCHOR_LIBRARIES if library in found]
    except UserError as error:
        problems.append(str(error))
    cuda = torch.cuda.is_available()
    return {
        "boostnerv": provenance.package_version(),
        "commit": provenance.commit(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "device": torch.cuda.get_device_name(0) if cuda else "cpu",
        "processor": provenance.processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_gib": round(_memory_bytes() / 2**30, 1),
        "free_disk_gib": round(shutil.disk_usage(".").free / 2**30, 1),
        "ffmpeg": ffmpeg,
        "anchor_encoders": encoders,
        "snakemake": _version("snakemake"),
        "problems": problems,
    }


def machine_text(found: dict[str, Any]) -> str:
    """`describe_machine` for people."""
    shown = {key: value for key, value in found.items() if key != "problems"}
    shown["anchor_encoders"] = ", ".join(found["anchor_encoders"]) or "none"
    lines = [f"{key.replace('_', ' '):<16} {value}" for key, value in shown.items()]
    return "\n".join([*lines, *(f"problem: {problem}" for problem in found["problems"])])


def _memory_bytes() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _version(package: str) -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
