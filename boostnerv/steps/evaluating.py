"""Measurements at full resolution of files, trained models and classical codecs."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from boostnerv import files, progress, provenance
from boostnerv.config import Anchor, Training, config_hash
from boostnerv.errors import UserError
from boostnerv.host.machine import Host
from boostnerv.steps.common import given_keyframes, prepare_cpu, vmaf_meter, with_pixels
from boostnerv.steps.job_files import AnchorFiles, EvaluationFiles, ModelEvaluationFiles

if TYPE_CHECKING:
    from boostnerv.codec.container.bitstream import Segment
    from boostnerv.codec.keyframes.keyframe_files import KeyframeFile
    from boostnerv.evaluation.measure import Quality
    from boostnerv.models.architecture import VideoModel
    from boostnerv.training.reconstruction import ClipReconstruction
    from boostnerv.video.videos import Videos


_OF_DECODING = (
    "decode_s",
    "decode_fps",
    "decode_warm_fps",
    "decode_compute_fps",
    "decode_device",
    "decode_threads",
)


def evaluate(
    job_files: EvaluationFiles, identity: dict[str, Any], *, threads: int | None, vmaf: bool = False
) -> dict[str, Any]:
    """Measure decoded frames against the source at full resolution, by VMAF too where `vmaf`; the rate is the size of
    the file. `identity` names the run (experiment, run, codec, size_label, seed)."""
    import numpy as np

    from boostnerv.codec.decoder import VideoFile
    from boostnerv.evaluation.measure import measure
    from boostnerv.training.log import last_record
    from boostnerv.video.collections import open_videos
    from boostnerv.video.preview import previewed

    reports = [job_files.encode_report, job_files.decode_report]
    logs = [job_files.train_log, job_files.finetune_log]
    inputs = [*with_pixels(job_files.frames), job_files.file, job_files.decoded, *reports, *logs, job_files.planes]
    files.check_distinct([job_files.output, job_files.frames_csv, job_files.preview], inputs)
    prepare_cpu(threads)
    segment = VideoFile(job_files.file).stream.segments[0]
    video = open_videos(job_files.frames, many=segment.spec.multi_video)
    encoding, decoding = (files.read_json(path, "report") for path in reports)
    training, finetuning = (last_record(path) if path else {} for path in logs)
    decoded = np.load(job_files.decoded, mmap_mode="r")
    with (
        progress.track("evaluate", video.manifest.frames, "frames") as show,
        previewed(decoded, job_files.preview, video.manifest.fps) as test,
        vmaf_meter(vmaf, threads, video) as meter,
    ):
        quality = measure(video.pixels, test, vmaf=meter, progress=show)
    if job_files.planes is not None:
        quality = _with_yuv(quality, job_files.planes, video, decoded)
    point = {
        **identity,
        **_of_run(video.manifest, video.manifest.frames, training, finetuning),
        **_of_file(job_files.file, video, segment, encoding, decoding),
        # Of a model of patches, the log has the PSNR of these.
        "psnr_float_db": None if video.is_cut else training.get("psnr_db"),
        "finetune_s": finetuning.get("wall_s", 0),
    }
    return _write_quality(quality, video, decoded, point, job_files)


def _of_file(
    file: Path, video: Videos, segment: Segment, encoding: dict[str, Any], decoding: dict[str, Any]
) -> dict[str, Any]:
    """Rate, size and speed of a file, from its reports; raises `UserError` where they describe another file."""
    from boostnerv.evaluation.measure import bits_per_pixel
    from boostnerv.models.work import kmac_per_pixel

    manifest, file_bytes = video.manifest, file.stat().st_size
    if file_bytes != encoding["file_bytes"]:
        raise UserError(f"{file} has {file_bytes} bytes, its report says {encoding['file_bytes']}; encode again")
    return {
        **{key: value for key, value in encoding.items() if key != "decoded_sha256"},
        "bpp": bits_per_pixel(file_bytes, manifest.frames, manifest.height, manifest.width),
        "params_total": encoding["params_decoder"] + encoding["params_embedding"],
        "kmac_per_pixel": kmac_per_pixel(segment.architecture, segment.spec),
        **{key: decoding.get(key) for key in _OF_DECODING},
        "frames_match_encoder": encoding["decoded_sha256"] == decoding["decoded_sha256"],
    }


def evaluate_model(
    job_files: ModelEvaluationFiles, identity: dict[str, Any], host: Host, *, vmaf: bool = False
) -> dict[str, Any]:
    """Measure a model as it was trained, nothing coded: on every frame, and apart on those that its task withheld.

    Frames are rounded to 8 bits before they are compared, as decoded ones are; `psnr_float_db` is the papers' figure,
    of frames that are not rounded. An imported model has no log, and nothing is said of its training.
    """
    from boostnerv.evaluation.measure import measure, split_summary
    from boostnerv.host.devices import choose_device
    from boostnerv.training import checkpoint
    from boostnerv.training.log import last_record
    from boostnerv.training.provenance_checks import check_trained_with, trained_on
    from boostnerv.video.collections import open_videos
    from boostnerv.video.masks import hidden_pixels
    from boostnerv.video.preview import previewed

    inputs = [*with_pixels(job_files.frames), job_files.model, job_files.train_log, job_files.keyframes]
    files.check_distinct([job_files.output, job_files.frames_csv, job_files.preview], inputs)
    prepare_cpu(host.threads)
    training = last_record(job_files.train_log) if job_files.train_log else {}
    described, model = checkpoint.restore_any(job_files.model)
    video = open_videos(job_files.frames, many=model.spec.multi_video)
    keyframes = given_keyframes(job_files.keyframes, video)
    about, manifest = trained_on(described, video, job_files.model, keyframes), video.manifest
    recipe, spec = about.train.training if about.train else Training(epochs=1), model.spec
    check_trained_with(about, keyframes, job_files.model)
    frames, unseen = _reconstructed(model, video, keyframes, recipe, (choose_device(host.device), job_files.output))
    hidden = None if recipe.mask is None else hidden_pixels(recipe.mask, spec.height, spec.width)
    with (
        progress.track("evaluate", spec.frames, "frames") as show,
        previewed(frames, job_files.preview, manifest.fps) as test,
        vmaf_meter(vmaf, host.threads, video) as meter,
    ):
        # Interpolation leaves the last of an even number of frames out.
        reference = video.pixels if spec.frames == manifest.frames else video.pixels[: spec.frames]
        quality = measure(reference, test, hidden=hidden, vmaf=meter, progress=show)
    point = {
        **identity,
        "task": recipe.task_label,
        **_of_run(manifest, spec.frames, training),
        "psnr_float_db": None if video.is_cut else training.get("psnr_db"),
        **_of_model(model, recipe),
        "config_sha256": config_hash(about.train or about),
        "command": "boostnerv train" if job_files.train_log else "boostnerv import",
        **split_summary(quality, unseen),
    }
    return _write_quality(quality, video, frames, point, job_files)


def _of_model(model: VideoModel, recipe: Training) -> dict[str, Any]:
    """Size and work of a model."""
    from boostnerv.models.budget import decoder_parameters, stored_embeddings
    from boostnerv.models.work import kmac_per_pixel

    decoder = decoder_parameters(model.architecture, model.spec)
    embeddings = stored_embeddings(recipe.task, model.spec)
    return {
        "params_total": decoder + embeddings,
        "params_decoder": decoder,
        "params_embedding": embeddings,
        "kmac_per_pixel": kmac_per_pixel(model.architecture, model.spec),
    }


def _reconstructed(
    model: VideoModel, video: Videos, keyframes: KeyframeFile | None, recipe: Training, where: tuple[Any, Path]
) -> tuple[Any, tuple[int, ...]]:
    """The frames of a model, and the numbers of those that training did not see; `where` has the device, and the output
    beside which frames of many videos are kept."""
    from boostnerv.training.reconstruction import ClipReconstruction, Reconstruction

    device, output = where
    if model.spec.multi_video:
        return _rendered(ClipReconstruction(model, video, keyframes, device), output), ()
    frames = Reconstruction(model, video.array(), recipe, device)
    return frames, frames.unseen_frames


def encode_anchor(
    job_files: AnchorFiles, anchor: Anchor, quality: int, experiment: str, *, threads: int | None, vmaf: bool = False
) -> None:
    """Code frames with a classical codec, decode the file and measure it, by VMAF too where `vmaf`.

    With planes of the source Y, U and V are measured too; an anchor of source yuv420 codes these.
    """
    from boostnerv.evaluation.anchors import AnchorJob, AnchorMeasures, write_anchor
    from boostnerv.evaluation.anchors import encode_anchor as encode_with
    from boostnerv.evaluation.measure import write_frames
    from boostnerv.evaluation.round_trip import round_trip
    from boostnerv.evaluation.yuv import check_planes
    from boostnerv.video.frames import open_frames
    from boostnerv.video.planes import open_planes

    written = [job_files.stream, job_files.output, job_files.frames_csv, job_files.preview]
    files.check_distinct(written, [*with_pixels(job_files.frames), job_files.planes])
    prepare_cpu(threads)
    video = open_frames(job_files.frames)
    manifest = video.manifest
    planes = None if job_files.planes is None else open_planes(job_files.planes)
    if planes is not None:
        check_planes(planes.manifest, manifest)
    job = AnchorJob(anchor, quality, manifest.fps, threads or 1, round_trip(manifest))
    with progress.track(f"{anchor.codec} {quality}", manifest.frames, "frames") as show:
        measures = AnchorMeasures(vmaf=vmaf, planes=planes, preview=job_files.preview, progress=show)
        point = encode_with(video.pixels, job, job_files.stream, measures)
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
        "colour": manifest.colour,
    }
    if job_files.frames_csv is not None:
        write_frames(point.measured, job_files.frames_csv)
    write_anchor(point, job_files.output, identity)


def collect(results: Iterable[Path], output: Path) -> None:
    """Gather the results of an experiment into ``points.csv``."""
    from boostnerv.evaluation.points import collect as collect_points
    from boostnerv.evaluation.points import write_points

    files.check_distinct([output], results)
    write_points(collect_points(results), output)


def _of_run(
    manifest: Any, frames: int, training: dict[str, Any], finetuning: dict[str, Any] | None = None
) -> dict[str, Any]:
    """Columns common to all results of a model: its video, and its training by the last records of its logs."""
    records = [record for record in (training, finetuning) if record]
    return {
        "dataset": manifest.dataset,
        "video": manifest.video,
        "kind": "model",
        "frames": frames,
        "height": manifest.height,
        "width": manifest.width,
        "fps": manifest.fps,
        "colour": manifest.colour,
        "frames_sha256": manifest.pixels_sha256,
        "train_s": training.get("wall_s"),
        "device": training.get("device"),
        "threads": training.get("threads"),
        "computing": _each_once(records, "computing"),
        "training_memory": _each_once(records, "memory"),
        "peak_memory_mib": max((record["peak_memory_mib"] for record in records), default=None),
        "returns": sum(record["returns"] for record in records) if records else None,
        "deterministic": all(record["deterministic"] for record in records) if records else None,
        "version": provenance.package_version(),
        "commit": provenance.commit(),
    }


def _each_once(records: Sequence[dict[str, Any]], key: str) -> str | None:
    """The values of `key` in the logs of a run's trainings, joined; equal ones once."""
    return "; ".join(dict.fromkeys(str(record[key]) for record in records if record.get(key))) or None


def _with_yuv(quality: Quality, planes: Path, video: Videos, test: Any) -> Quality:
    """`quality` with PSNR of Y, U and V of the RGB frames `test`; raises `UserError` for planes of other frames."""
    from boostnerv.evaluation.yuv import check_planes, measure_rgb
    from boostnerv.video.planes import open_planes

    if video.members:
        raise UserError("planes are of one video, and this model is of many; leave --planes out")
    source = open_planes(planes)
    check_planes(source.manifest, video.manifest)
    with progress.track("evaluate planes", source.manifest.frames, "frames") as show:
        return dataclasses.replace(quality, yuv=measure_rgb(source, test, show))


def _write_quality(
    quality: Quality,
    video: Videos,
    test: Any,
    point: dict[str, Any],
    job_files: EvaluationFiles | ModelEvaluationFiles,
) -> dict[str, Any]:
    """Write the quality of `test`, also of each member of a multi-video set; returns that of the whole."""
    from boostnerv.evaluation.measure import measure_patches, write_quality
    from boostnerv.video.patches import split

    if not video.members:
        write_quality(quality, job_files.output, job_files.frames_csv, point)
        return files.read_json(job_files.output)
    if video.is_cut:
        rows, columns = video.grid
        count = video.manifest.frames * rows * columns
        with progress.track("evaluate patches", count, "patches") as show:
            cut = partial(split, rows=rows, columns=columns)
            patches = measure_patches(video.pixels, test, cut, progress=show)
        point = {**point, "psnr_patches_db": patches.psnr_db, "ms_ssim_patches": patches.ms_ssim}
    shared = (
        "experiment",
        "run",
        "codec",
        "size_label",
        "seed",
        "dataset",
        "height",
        "width",
        "config_sha256",
        "version",
        "commit",
        "task",
    )
    part_records = {
        member.name: {
            **{key: point.get(key) for key in shared},
            "kind": "part",
            "video": member.name,
            "frames": len(member.frames),
            "fps": member.fps,
            "frames_sha256": member.whole_sha256,
        }
        for member in video.members
    }
    ranges = {member.name: member.frames for member in video.members}
    write_quality(quality, job_files.output, job_files.frames_csv, point, ranges, part_records)
    return files.read_json(job_files.output)[0]


def _rendered(reconstruction: ClipReconstruction, output: Path) -> Any:
    """All frames of a model of many, in a file beside `output` that goes with this process: they are read twice."""
    import numpy as np

    output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=output.parent) as file:  # the map keeps it
        frames = np.memmap(file, np.uint8, "w+", shape=reconstruction.shape)
    with progress.track("render", len(reconstruction), "frames") as show:
        for index in range(len(reconstruction)):
            frames[index] = reconstruction[index : index + 1][0]
            show(index + 1)
    return frames
