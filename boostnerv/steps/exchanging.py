"""Files of published implementations, read and written."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from boostnerv import files
from boostnerv.steps.common import check_suffix, prepare_cpu, write_decoded

if TYPE_CHECKING:
    from boostnerv.interop.arguments import Arguments


def import_checkpoint(
    file: Path, output: Path, arguments: Arguments | None = None, *, threads: int | None = None
) -> dict[str, Any]:
    """Read a file of a published implementation: a training's ``.pth`` becomes a checkpoint (``.safetensors``),
    a compressed video its decoded frames (``.npy`` uint8 ``[T, H, W, 3]``). `arguments` say what the file does not."""
    from boostnerv.interop.arguments import Arguments
    from boostnerv.interop.published_files import CompressedVideo, read_file

    files.check_distinct([output], [file])
    prepare_cpu(threads)
    arguments = arguments or Arguments()
    published = read_file(file)
    if isinstance(published, CompressedVideo):
        check_suffix(output, (".npy",), f"{file} is a compressed video and becomes frames")
        return _import_frames(published.open(arguments), output)
    check_suffix(output, (".safetensors",), f"{file} is a checkpoint and stays one")
    return _import_weights(file, published.restore(arguments), published.epoch, len(published.left_out), output)


def export_checkpoint(checkpoint: Path, output: Path) -> dict[str, Any]:
    """Write a checkpoint as its published implementation would: ``.pth`` with ``epoch`` and ``state_dict``."""
    from boostnerv.interop.published_files import write_checkpoint
    from boostnerv.training.checkpoint import restore_any

    files.check_distinct([output], [checkpoint])
    about, model = restore_any(checkpoint)
    files.write_bytes(output, write_checkpoint(model, about.trained_epochs))
    return {"model": about.architecture, "epoch": about.trained_epochs, "tensors": len(model.state_dict())}


def _import_weights(file: Path, model: Any, epoch: int | None, left_out: int, output: Path) -> dict[str, Any]:
    from boostnerv.training.checkpoint import Imported, save, spec_fields

    spec = spec_fields(model.spec)
    name = model.architecture.name
    about = Imported(architecture=name, spec=spec, source_sha256=files.sha256_of_file(file), epoch=epoch)
    save(output, about, model)
    return {"model": name, "epoch": epoch, "spec": spec, "quantiser_tensors_left_out": left_out}


def _import_frames(video: Any, output: Path) -> dict[str, Any]:
    from boostnerv.training.checkpoint import spec_fields
    from boostnerv.video.images import DEFAULT_FPS
    from boostnerv.video.writing import OutputVideo

    spec = video.spec
    described = OutputVideo(spec.frames, spec.height, spec.width, DEFAULT_FPS)
    decoded_sha256 = write_decoded(video.frames(), described, output)
    return {"model": video.architecture.name, "spec": spec_fields(spec), "decoded_sha256": decoded_sha256}
