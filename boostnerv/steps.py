"""The steps of the workflow as functions of files: one rule = one verb = one function here.

Each reads its inputs, calls the package that does the work, and writes its outputs under their final names
when they are complete. Heavy packages are imported where they are used, so that a verb pays only for its own.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from pathlib import Path
from types import MappingProxyType
from typing import Any

from boostnerv import files, progress, provenance
from boostnerv.config import (
    Anchor,
    DatasetSpec,
    Experiment,
    ExtractJob,
    FinetuneJob,
    Finetuning,
    Preparation,
    Run,
    Training,
    TrainJob,
    VideoSpec,
    config_hash,
)
from boostnerv.errors import UserError

# Declared versions: raise one when the output of a step changes for the same input, and everything that
# depends on it is made again.
STEP_VERSIONS = MappingProxyType(
    {
        "fetch_source": 1,
        "extract_frames": 1,
        "train": 2,
        "finetune": 2,
        "encode": 2,
        "decode": 1,
        "evaluate": 1,
        "evaluate_model": 1,
        "encode_anchor": 1,
        "collect": 1,
        "tabulate": 3,
        "plot": 2,
    }
)


_SMALL_FRAME_PIXELS = 250_000


def fetch_source(dataset: DatasetSpec, video: VideoSpec, output: Path) -> None:
    """Bring the source file of a registered video to `output`."""
    from boostnerv.video.datasets import fetch_source as fetch

    fetch(video, output, dataset.name)


def extract_frames(source: Path, job: ExtractJob, output: Path) -> None:
    """Decode a video into `output` (``.npy``) and the manifest beside it (``.json``)."""
    from boostnerv.video.frames import extract_frames as extract

    with progress.shown(f"frames of {job.video.name}", job.preparation.frame_count, "frames") as show:
        extract(
            job.video,
            source,
            job.preparation,
            output,
            dataset=job.dataset,
            credit=job.credit,
            licence=job.licence,
            progress=show,
        )


def train(
    frames: Path,
    job: TrainJob,
    model: Path,
    log: Path,
    state: Path,
    *,
    device: str,
    threads: int | None,
    tensorboard: Path | None = None,
) -> None:
    """Fit a model to the frames of the manifest `frames`; goes on from `state` where it can."""
    from boostnerv.training.distributed import leads
    from boostnerv.training.run import choose_device, train_video
    from boostnerv.video.frames import open_frames

    video = open_frames(frames)
    _limit_training_threads(threads, video)
    count = video.manifest.frames
    trained = (count + 1) // 2 if job.training.task == "interpolation" else count
    total = _steps(trained, job.training)
    with progress.shown(f"train {job.model.name}", total, "steps") if leads() else nullcontext(progress.silent) as show:
        train_video(
            video,
            job,
            model,
            log,
            state,
            device=choose_device(device),
            save_every_s=30.0,
            progress=show,
            tensorboard=tensorboard,
        )


def finetune(
    frames: Path,
    trained: Path,
    job: FinetuneJob,
    model: Path,
    log: Path,
    state: Path,
    *,
    device: str,
    threads: int | None,
    tensorboard: Path | None = None,
) -> None:
    """Fine-tune the checkpoint `trained` with consistent entropy minimisation."""
    from boostnerv.training.run import choose_device, finetune_video
    from boostnerv.video.frames import open_frames

    video = open_frames(frames)
    _limit_training_threads(threads, video)
    with progress.shown("finetune", _steps(video.manifest.frames, job.finetuning), "steps") as show:
        finetune_video(
            video,
            job,
            trained,
            model,
            log,
            state,
            device=choose_device(device),
            save_every_s=30.0,
            progress=show,
            tensorboard=tensorboard,
        )


def encode(frames: Path, finetuned: Path, output: Path, report: Path, *, threads: int | None) -> dict[str, Any]:
    """Code a fine-tuned checkpoint into the file `output`; `report` (JSON) has what the encoder measured.

    The PSNR after quantisation is taken from the file's own codes by the decoder's own functions.
    """
    from boostnerv.codec import bitstream
    from boostnerv.codec.decoder import VideoFile
    from boostnerv.codec.encoder import encode as encode_model
    from boostnerv.evaluation.metrics import psnr_db
    from boostnerv.models.architecture import architecture
    from boostnerv.models.budget import decoder_parameters
    from boostnerv.training.checkpoint import restore_quantized
    from boostnerv.video.frames import open_frames

    _limit_threads(threads)
    started = time.monotonic()
    video = open_frames(frames)
    about, model = restore_quantized(finetuned)
    if about.frames_sha256 != video.manifest.pixels_sha256:
        raise UserError(f"checkpoint {finetuned} was trained on other frames than {frames}; give those frames")
    entry, spec = architecture(about.architecture), about.make_spec()
    encoded = encode_model(entry, spec, model, fps=about.fps, colour=about.colour)
    encode_s = time.monotonic() - started
    files.write_bytes(output, encoded.data)
    written = VideoFile(output)
    digest, psnr = hashlib.sha256(), []
    with progress.shown("check the file", spec.frames, "frames") as show:
        for index, frame in enumerate(written.frames()):
            digest.update(frame.tobytes())
            psnr.append(float(psnr_db(video.pixels[index : index + 1], frame[None])[0]))
            show(index + 1)
    parts = bitstream.section_bytes(encoded.data)
    result = {
        "file_bytes": len(encoded.data),
        "header_bytes": parts["container"] + parts["header"],
        "side_bytes": parts["side"],
        "weights_bytes": parts["weights"],
        "embedding_bytes": parts.get("embeddings", 0),
        "estimated_bytes": encoded.estimated_bits / 8,
        "psnr_quantized_db": sum(psnr) / len(psnr),
        "decoded_sha256": digest.hexdigest(),
        "encode_s": encode_s,
        "params_decoder": decoder_parameters(entry, spec),
        "params_embedding": spec.embedding_parameters,
        # The settings of imported weights are not known; those of their fine-tuning are.
        "config_sha256": config_hash(about.train or about),
        "task": "regression",
    }
    files.write_json(report, result)
    return result


def decode(bitstream: Path, output: Path, report: Path | None, *, device: str, threads: int | None) -> dict[str, Any]:
    """Decode a ``.bnv`` file, with nothing else at hand, into what the name of `output` says, e.g. ``.npy``."""
    from boostnerv.codec.decoder import VideoFile
    from boostnerv.training.run import choose_device

    _limit_threads(threads)
    started = time.monotonic()
    video = VideoFile(bitstream, str(choose_device(device)))
    spec = video.spec
    decoded_sha256 = _write_decoded(video.frames(), spec, video.fps, output)
    decode_s = time.monotonic() - started
    result = {
        "decoded_sha256": decoded_sha256,
        "frames": spec.frames,
        "height": spec.height,
        "width": spec.width,
        "decode_s": decode_s,
        "decode_fps": spec.frames / decode_s,
        "decode_device": device,
    }
    if report is not None:
        files.write_json(report, result)
    return result


def evaluate(
    frames: Path,
    bitstream: Path,
    decoded: Path,
    reports: Sequence[Path],
    logs: Sequence[Path],
    identity: dict[str, Any],
    output: Path,
    frames_csv: Path,
    *,
    threads: int | None,
) -> dict[str, Any]:
    """Measure decoded frames against the source at full resolution; the rate is the size of the file.

    `reports` are those of encode and decode, `logs` those of train and finetune. `identity` names the run
    (experiment, run, codec, size_label, seed).
    """
    import numpy as np

    from boostnerv.evaluation.measure import bits_per_pixel, measure, write_quality
    from boostnerv.models.architecture import architecture
    from boostnerv.models.budget import kmac_per_pixel
    from boostnerv.training.run import last_record
    from boostnerv.video.frames import open_frames

    _limit_threads(threads)
    video = open_frames(frames)
    manifest = video.manifest
    encoding, decoding = (files.read_json(path, "report") for path in reports)
    training, finetuning = (last_record(path) for path in logs)
    with progress.shown("evaluate", manifest.frames, "frames") as show:
        quality = measure(video.pixels, np.load(decoded, mmap_mode="r"), progress=show)
    file_bytes = bitstream.stat().st_size
    if file_bytes != encoding["file_bytes"]:
        raise UserError(f"{bitstream} has {file_bytes} bytes, its report says {encoding['file_bytes']}; encode again")
    spec = _spec_of(bitstream)
    point = {
        **identity,
        "dataset": manifest.dataset,
        "video": manifest.video,
        "kind": "model",
        "frames": manifest.frames,
        "height": manifest.height,
        "width": manifest.width,
        "fps": manifest.fps,
        **{key: value for key, value in encoding.items() if key != "decoded_sha256"},
        "bpp": bits_per_pixel(file_bytes, manifest.frames, manifest.height, manifest.width),
        "keyframes_bytes": 0,
        "psnr_float_db": training["psnr_db"],
        "params_total": encoding["params_decoder"] + encoding["params_embedding"],
        "kmac_per_pixel": kmac_per_pixel(architecture(identity["codec"]), spec),
        "train_s": training["wall_s"],
        "finetune_s": finetuning["wall_s"],
        "decode_s": decoding["decode_s"],
        "decode_fps": decoding["decode_fps"],
        "returns": training["returns"] + finetuning["returns"],
        "peak_memory_mib": max(training["peak_memory_mib"], finetuning["peak_memory_mib"]),
        "device": training["device"],
        "frames_sha256": manifest.pixels_sha256,
        "version": provenance.package_version(),
        "commit": provenance.commit(),
        "deterministic": training["deterministic"] and finetuning["deterministic"],
        "frames_match_encoder": encoding["decoded_sha256"] == decoding["decoded_sha256"],
        "command": "boostnerv encode",
    }
    write_quality(quality, output, frames_csv, point)
    return files.read_json(output)


def evaluate_model(
    frames: Path,
    model: Path,
    log: Path,
    identity: dict[str, Any],
    output: Path,
    frames_csv: Path,
    *,
    device: str,
    threads: int | None,
) -> dict[str, Any]:
    """Measure a model as it was trained, nothing coded: of every frame, and apart of those its task withheld.

    Frames are rounded to 8 bits before they are compared, as decoded ones are; `psnr_float_db` is the papers'
    figure, of frames that are not rounded.
    """
    from boostnerv.evaluation.measure import measure, split_summary, write_quality
    from boostnerv.models.budget import decoder_parameters, kmac_per_pixel
    from boostnerv.training import checkpoint
    from boostnerv.training.run import Reconstruction, choose_device, last_record
    from boostnerv.video.frames import open_frames
    from boostnerv.video.masks import hidden_pixels

    _limit_threads(threads)
    video, training = open_frames(frames), last_record(log)
    manifest = video.manifest
    about, trained = checkpoint.restore(model)
    if about.frames_sha256 != manifest.pixels_sha256:
        raise UserError(f"checkpoint {model} was trained on other frames than {frames}; give those frames")
    if about.kind != "trained" or about.train is None:
        raise UserError(f"checkpoint {model} is fine-tuned; give the one that `boostnerv train` wrote")
    recipe, spec = about.train.training, trained.spec
    made = Reconstruction(trained, video.pixels, recipe, choose_device(device))
    hidden = None if recipe.mask is None else hidden_pixels(recipe.mask, spec.height, spec.width)
    with progress.shown("evaluate", spec.frames, "frames") as show:
        quality = measure(video.pixels[: spec.frames], made, hidden=hidden, progress=show)
    decoder, embeddings = decoder_parameters(trained.architecture, spec), stored_embeddings(recipe.task, spec)
    point = {
        **identity,
        "task": recipe.task_label,
        "dataset": manifest.dataset,
        "video": manifest.video,
        "kind": "model",
        "frames": spec.frames,
        "height": manifest.height,
        "width": manifest.width,
        "fps": manifest.fps,
        "psnr_float_db": training["psnr_db"],
        "params_total": decoder + embeddings,
        "params_decoder": decoder,
        "params_embedding": embeddings,
        "kmac_per_pixel": kmac_per_pixel(trained.architecture, spec),
        "train_s": training["wall_s"],
        "returns": training["returns"],
        "peak_memory_mib": training["peak_memory_mib"],
        "device": training["device"],
        "config_sha256": config_hash(about.train),
        "frames_sha256": manifest.pixels_sha256,
        "version": provenance.package_version(),
        "commit": provenance.commit(),
        "deterministic": training["deterministic"],
        "command": "boostnerv train",
        **split_summary(quality, made.unseen_frames),
    }
    write_quality(quality, output, frames_csv, point)
    return files.read_json(output)


def encode_anchor(
    frames: Path,
    anchor: Anchor,
    quality: int,
    experiment: str,
    stream: Path,
    output: Path,
    *,
    threads: int | None,
) -> None:
    """Code the frames with a classical codec, decode the file and measure it."""
    from boostnerv.evaluation.anchors import encode_anchor as encode_with
    from boostnerv.evaluation.anchors import write_anchor
    from boostnerv.video.frames import open_frames

    _limit_threads(threads)
    video = open_frames(frames)
    manifest = video.manifest
    with progress.shown(f"{anchor.codec} {quality}", None, "frames") as show:
        point = encode_with(video.pixels, manifest.fps, anchor, quality, stream, threads=threads or 1, progress=show)
    identity = {
        "experiment": experiment,
        "dataset": manifest.dataset,
        "video": manifest.video,
        "seed": None,
        "frames_sha256": manifest.pixels_sha256,
        "config_sha256": config_hash(anchor.model_copy(update={"qualities": (quality,)})),
        "version": provenance.package_version(),
        "commit": provenance.commit(),
        "deterministic": True,
    }
    write_anchor(point, output, identity)


def collect(results: Iterable[Path], output: Path) -> None:
    """Gather the results of an experiment into ``points.csv``."""
    from boostnerv.evaluation.points import collect as collect_points
    from boostnerv.evaluation.points import write_points

    write_points(collect_points(results), output)


def tabulate(points: Path, markdown: Path, csv: Path) -> None:
    """Tables of an experiment, for people and for programs."""
    from boostnerv.evaluation.points import read_points
    from boostnerv.report.tables import write_tables

    write_tables(read_points(points), markdown, csv)


def plot(points: Path, folder: Path, logs: dict[str, Path]) -> None:
    """Figures of an experiment: rate–distortion, and the training curves of its runs."""
    from boostnerv.evaluation.points import read_points
    from boostnerv.report.plots import plot_points, plot_training

    plot_points(read_points(points), folder)
    if logs:
        plot_training(logs, folder / "training")


def check(experiment: Experiment, output: Path | None) -> list[dict[str, Any]]:
    """Build the spec of every run on every video and count its parameters; raises `UserError` for the first
    that cannot be. Videos of unknown size are looked at where they are present and left out where not."""
    rows = [
        row
        for video in experiment.video_specs()
        for run in experiment.runs(video)
        for row in _plan(experiment, video, run)
    ]
    for anchor in experiment.anchors:
        from boostnerv.evaluation.anchors import check_anchor

        check_anchor(anchor)
    if output is not None:
        files.write_json(output, {"config_sha256": config_hash(experiment), "runs": rows})
    return rows


def _plan(experiment: Experiment, video: VideoSpec, run: Run) -> Iterable[dict[str, Any]]:
    from boostnerv.models.architecture import architecture
    from boostnerv.models.budget import decoder_parameters, kmac_per_pixel
    from boostnerv.training.losses import check_frame_size
    from boostnerv.training.run import planned_spec

    shape = planned_shape(experiment.preparation, video)
    if shape is None:
        return
    _, height, width = shape
    entry = architecture(run.train.model.name)
    spec = planned_spec(run.train, *shape)
    if run.finetune is not None:
        check_frame_size(run.finetune.finetuning.loss, height, width)
    decoder = decoder_parameters(entry, spec)
    embeddings = stored_embeddings(run.train.training.task, spec)
    yield {
        "video": video.name,
        "run": run.name,
        "frames": spec.frames,
        "height": height,
        "width": width,
        "padded_height": spec.padded[0],
        "padded_width": spec.padded[1],
        "fc_dim": spec.fc_dim,
        "params_decoder": decoder,
        "params_embedding": embeddings,
        "params_total": decoder + embeddings,
        "kmac_per_pixel": kmac_per_pixel(entry, spec),
    }


def planned_shape(preparation: Preparation, video: VideoSpec) -> tuple[int, int, int] | None:
    """Frames, height, width that a video will have, as far as the registry and the preparation say."""
    count = preparation.frame_count
    if count is None and video.frames is not None:
        count = video.frames - preparation.first_frame
    height = preparation.height or video.height
    width = preparation.width or video.width
    if count is None or height is None or width is None:
        return None
    if count < 1 or (video.frames is not None and preparation.first_frame + count > video.frames):
        raise UserError(
            f"video {video.name} has {video.frames} frames, the preparation asks for {count} from "
            f"{preparation.first_frame} on; correct preparation.first_frame or frame_count"
        )
    return count, height, width


def stored_embeddings(task: str, spec: Any) -> int:
    """Numbers in the embeddings that a model keeps: interpolation keeps those of every second frame."""
    kept: int = spec.embedding_parameters
    return kept * ((spec.frames + 1) // 2) // spec.frames if task == "interpolation" else kept


def _spec_of(bitstream: Path) -> Any:
    from boostnerv.codec.decoder import VideoFile

    return VideoFile(bitstream).spec


def _steps(frames: int, recipe: Training | Finetuning) -> int:
    return recipe.epochs * -(-frames // recipe.batch_size)


def _write_decoded(frames: Iterable[Any], spec: Any, fps: float, output: Path) -> str:
    """Write the decoded frames of a model of `spec` as `write_frames` does; returns the SHA-256 of the pixels."""
    from boostnerv.video.writing import OutputVideo, write_frames

    video = OutputVideo(count=spec.frames, height=spec.height, width=spec.width, fps=fps)
    with progress.shown("decode", spec.frames, "frames") as show:
        return write_frames(frames, output, video, progress=show)


def _limit_training_threads(threads: int | None, video: Any) -> None:
    """Threads of a training that may have `threads`: two small trainings side by side finish as soon as one after
    the other on two threads, and threads that wait for each other suffer on a busy machine."""
    small = video.manifest.height * video.manifest.width < _SMALL_FRAME_PIXELS
    _limit_threads(1 if small and threads is not None else threads)


def _limit_threads(threads: int | None) -> None:
    if threads is not None:
        import torch

        torch.set_num_threads(threads)


def import_checkpoint(
    file: Path,
    output: Path,
    *,
    model: str | None = None,
    strides: tuple[int, ...] | None = None,
    height: int | None = None,
    width: int | None = None,
    frames: int | None = None,
    fc_dim: int | None = None,
    options: dict[str, Any] | None = None,
    threads: int | None = None,
) -> dict[str, Any]:
    """Read a file of a published implementation: a training's ``.pth`` becomes a checkpoint (``.safetensors``),
    a compressed video its decoded frames (``.npy`` uint8 ``[T, H, W, 3]``)."""
    from boostnerv.interop.arguments import Arguments
    from boostnerv.interop.files import CompressedVideo, read_file

    _limit_threads(threads)
    flags = Arguments(
        model=model,
        strides=strides,
        height=height,
        width=width,
        frames=frames,
        fc_dim=fc_dim,
        options=options or {},
    )
    found = read_file(file)
    if isinstance(found, CompressedVideo):
        _check_suffix(output, ".npy", f"{file} is a compressed video and becomes frames")
        return _import_frames(found.open(flags), output)
    _check_suffix(output, ".safetensors", f"{file} is a checkpoint and stays one")
    return _import_weights(file, found.restore(flags), found.epoch, len(found.left_out), output)


def export_checkpoint(checkpoint: Path, output: Path) -> dict[str, Any]:
    """Write a checkpoint as its published implementation would: ``.pth`` with ``epoch`` and ``state_dict``."""
    from boostnerv.interop.files import write_checkpoint
    from boostnerv.training.checkpoint import restore_any

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

    spec = video.spec
    decoded_sha256 = _write_decoded(video.frames(), spec, DEFAULT_FPS, output)
    return {"model": video.architecture.name, "spec": spec_fields(spec), "decoded_sha256": decoded_sha256}


def _check_suffix(output: Path, suffix: str, why: str) -> None:
    if output.suffix != suffix:
        raise UserError(f"{why}: the output must end in {suffix}, not '{output.suffix}'")


def check_published(experiment: Experiment, points: Path, output: Path | None) -> list[Any]:
    """Set the results of a finished experiment beside published figures; they must be its own."""
    from boostnerv.evaluation.points import read_points
    from boostnerv.evaluation.published import compare

    found = read_points(points)
    for name in {str(point["experiment"]) for point in found} - {experiment.name}:
        raise UserError(f"{points} has results of experiment '{name}', not of '{experiment.name}'; give its own")
    runs = [run.name.removesuffix(f"-s{run.train.seed}") for run in experiment.runs()]
    rows = compare(found, [(video.name, run) for video in experiment.video_specs() for run in runs])
    if output is not None:
        files.write_json(output, [row.record() for row in rows])
    return rows
