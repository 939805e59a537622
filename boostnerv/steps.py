"""The steps of the workflow as functions of files: one rule = one verb = one function here.

Each reads its inputs, calls the package that does the work, and writes its outputs under their final names
when they are complete. Heavy packages are imported where they are used, so that a verb pays only for its own.
"""

from __future__ import annotations

import dataclasses
import hashlib
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from boostnerv import files, progress, provenance
from boostnerv.allocator import keep_freed_memory
from boostnerv.config import (
    Anchor,
    DatasetSpec,
    Experiment,
    ExtractJob,
    FinetuneJob,
    Finetuning,
    KeyframeJob,
    Preparation,
    Run,
    Training,
    TrainJob,
    VideoSpec,
    config_hash,
    name_of_all,
)
from boostnerv.errors import UserError, nearest
from boostnerv.recipes import MODELS_OF_MANY

if TYPE_CHECKING:
    from boostnerv.codec.bitstream import Segment
    from boostnerv.codec.decoder import VideoFile
    from boostnerv.config import PostTraining
    from boostnerv.evaluation.measure import Quality
    from boostnerv.evaluation.vmaf import VmafMeter
    from boostnerv.models.architecture import Spec, VideoModel
    from boostnerv.training.checkpoint import About
    from boostnerv.training.keyframe_files import KeyframeFile
    from boostnerv.training.run import ClipReconstruction
    from boostnerv.video.collections import OpenCollection
    from boostnerv.video.frames import Frames
    from boostnerv.video.writing import OutputVideo

SMALL_FRAME_PIXELS = 250_000
"""Frames of fewer pixels are trained on by one thread, whatever a job may have."""


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


def extract_planes(source: Path, job: ExtractJob, output: Path) -> None:
    """Decode the planes of a video, 4:2:0, into `output` (``.yuv``) and the manifest beside it (``.json``)."""
    from boostnerv.video.planes import extract_planes as extract

    with progress.shown(f"planes of {job.video.name}", job.preparation.frame_count, "frames") as show:
        extract(job.video, source, job.preparation, output, dataset=job.dataset, progress=show)


def split_patches(frames: Path, height: int, width: int, output: Path) -> None:
    """Cut frames into patches of `height` × `width`, each a video of its own in the frames file `output`."""
    from boostnerv.video.frames import open_frames
    from boostnerv.video.patches import split_patches as split

    video = open_frames(frames)
    with progress.shown(f"patches of {video.manifest.video}", None, "patches") as show:
        split(video, height, width, output, show)


def gather_videos(manifests: Sequence[Path], statistics: tuple[Any, Any] | None, output: Path) -> None:
    """Describe several videos, or their patches, as what one model is of; `statistics` are the mean and deviation of
    their pixels where they are known."""
    from boostnerv.video.collections import gather

    with progress.shown("videos", len(manifests), "videos") as show:
        gather(manifests, output, statistics, progress=show)


def code_keyframes(videos: Path, job: KeyframeJob, output: Path, *, threads: int | None) -> None:
    """Code the keyframes of all videos; `output` is the manifest of what is written."""
    from boostnerv.training.keyframe_files import code_keyframes as code
    from boostnerv.video.collections import open_collection

    with progress.shown(f"keyframes {job.codec}", None, "keyframes") as show:
        code(open_collection(videos), job, output, threads=threads, progress=show)


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
    keyframes: Path | None = None,
    scratch: str | None = None,
) -> None:
    """Fit a model to the frames of the manifest `frames`; goes on from `state` where it can.

    A model of many videos takes the description of all of them instead, and the manifest of their `keyframes` where
    it needs any; its frames are read from copies below the folder `scratch` where that is given.
    """
    from boostnerv.training.distributed import leads
    from boostnerv.training.run import choose_device, train_video

    video, shown = _trained_on(frames, job.model.name, keyframes, scratch)
    _prepare_training_cpu(threads, video)
    total = _training_steps(video, job)
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
            keyframes=shown,
        )


def in_processes(count: int, threads: int | None) -> int | None:
    """Go on as one of `count` processes that torchrun starts with this one's command line; returns the `threads` of
    each."""
    from boostnerv.training.distributed import is_started_by_torchrun, run_by_torchrun

    if not is_started_by_torchrun():
        run_by_torchrun(count, sys.argv[1:])
    return threads and max(threads // count, 1)


def _trained_on(
    frames: Path, model: str, keyframes: Path | None, scratch: str | None
) -> tuple[Frames | OpenCollection, KeyframeFile | None]:
    """What a model is trained on; where it is of many videos and `scratch` is given, their copies on that near disk."""
    from boostnerv.training.distributed import leads
    from boostnerv.video.collections import open_videos
    from boostnerv.video.staging import staged

    many = model in MODELS_OF_MANY
    if many and scratch:
        with progress.shown("copy", None, "videos") if leads() else nullcontext(progress.silent) as show:
            frames = staged(frames, scratch, show)
    video = open_videos(frames, many=many)
    return video, _shown(keyframes, video)


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
    keyframes: Path | None = None,
    scratch: str | None = None,
) -> None:
    """Fine-tune the checkpoint `trained` with consistent entropy minimisation; `frames` and `keyframes` are those of
    its training, `scratch` is as for `train`."""
    from boostnerv.training import checkpoint
    from boostnerv.training.run import choose_device, finetune_video

    about = checkpoint.read_about(trained)
    video, shown = _trained_on(frames, about.architecture, keyframes, scratch)
    _prepare_training_cpu(threads, video)
    with progress.shown("finetune", _steps(_samples(about.make_spec()), job.finetuning), "steps") as show:
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
            keyframes=shown,
        )


def encode(
    frames: Path,
    finetuned: Path,
    output: Path,
    report: Path,
    *,
    threads: int | None,
    entropy_model: str | None = None,
    keyframes: Path | None = None,
) -> dict[str, Any]:
    """Code a fine-tuned checkpoint into the file `output`; `report` (JSON) has what the encoder measured.

    `entropy_model` is that of the fine-tuning where it is not given. The PSNR after quantisation is taken from the
    file's own codes by the decoder's own functions.
    """
    from boostnerv.codec.encoder import encode_segment, payload_bytes, snap
    from boostnerv.models.architecture import architecture
    from boostnerv.training.checkpoint import restore_quantized
    from boostnerv.video.collections import open_videos

    prepare_cpu(threads)
    started = time.monotonic()
    about, model = restore_quantized(finetuned)
    video = open_videos(frames, many=about.architecture in MODELS_OF_MANY)
    shown = _shown(keyframes, video)
    assert about.finetune is not None, "only fine-tuned checkpoints have quantisers"
    choice = entropy_model or about.finetune.finetuning.entropy_model
    snapped = snap(model)
    segment = encode_segment(architecture(about.architecture), about.make_spec(), snapped, entropy_model=choice)
    data = _file_of(segment, about, video, (finetuned, frames), shown)
    encode_s = time.monotonic() - started
    files.write_bytes(output, data)
    result = {
        **_checked_file(output, video),
        "estimated_bytes": snapped.estimated_bits / 8,
        "psnr_keyframes_db": shown and shown.manifest.psnr_db,
        "encode_s": encode_s,
        "command": "boostnerv encode",
        # The settings of imported weights are not known; those of their fine-tuning are.
        "config_sha256": config_hash(about.train or about),
        **{_payload_column(name): size for name, size in payload_bytes(snapped).items()},
    }
    files.write_json(report, result)
    return result


def encode_after_training(
    frames: Path,
    trained: Path,
    job: PostTraining,
    output: Path,
    report: Path,
    *,
    threads: int | None,
    keyframes: Path | None = None,
) -> dict[str, Any]:
    """Code a trained checkpoint without fine-tuning into the file `output`: quantisers of least and largest values,
    Huffman codes. Keyframes are those of the training.

    `report` (JSON) has what `encode` reports, and the bits as the published pipeline counts them.
    """
    from boostnerv.training import checkpoint
    from boostnerv.training.run import check_keyframes, trained_on
    from boostnerv.video.collections import open_videos

    prepare_cpu(threads)
    started = time.monotonic()
    found, model = checkpoint.restore_any(trained)
    video = open_videos(frames, many=found.architecture in MODELS_OF_MANY)
    shown = _shown(keyframes, video)
    check_keyframes(model.spec, shown, video)
    about = trained_on(found, video, trained, shown)
    coded = _slices_segment if job.quantizer == "slices" else _min_max_segment
    segment, counted = coded(model, video, job, shown)
    data = _file_of(segment, about, video, (trained, frames), shown)
    encode_s = time.monotonic() - started
    files.write_bytes(output, data)
    result = {
        **_checked_file(output, video),
        **counted,
        "psnr_keyframes_db": shown and shown.manifest.psnr_db,
        "encode_s": encode_s,
        "command": "boostnerv encode-after-training",
        "config_sha256": config_hash(about.train or about),
    }
    files.write_json(report, result)
    return result


def _min_max_segment(
    model: VideoModel, video: Frames | OpenCollection, job: PostTraining, keyframes: KeyframeFile | None
) -> tuple[Segment, dict[str, float]]:
    """The pipeline of HNeRV, and what it counts for itself."""
    import torch

    from boostnerv.codec.encoder import encode_after_training as encode_with
    from boostnerv.training.tasks import FrameObjective, ResidentVideo, all_embeddings
    from boostnerv.video.frames import Frames

    embeddings = None
    if model.encoder is not None and isinstance(video, Frames):
        embeddings = all_embeddings(FrameObjective(model, ResidentVideo(video.pixels, torch.device("cpu"))))
    weights = dict(model.decoder.named_parameters())
    bits = {"weight_bits": job.weight_bits, "embedding_bits": job.embedding_bits}
    segment, published_bits = encode_with(model.architecture, model.spec, weights, embeddings, **bits)
    return segment, {"published_bytes": published_bits / 8 + _image_bytes(keyframes)}


def _slices_segment(
    model: VideoModel, video: Frames | OpenCollection, job: PostTraining, keyframes: KeyframeFile | None
) -> tuple[Segment, dict[str, float]]:
    """The pipeline of D-NeRV, and what it counts for itself."""
    from boostnerv.codec.encoder import encode_slices_after_training
    from boostnerv.codec.slices import published_bits

    name, weights = model.architecture.name, dict(model.decoder.named_parameters())
    if model.encoder is not None:
        raise UserError(_no_slices(name))
    segment, efficiency = encode_slices_after_training(model.architecture, model.spec, weights, bits=job.weight_bits)
    count = sum(tensor.numel() for tensor in weights.values())
    bits = published_bits(count, efficiency, 8 * _image_bytes(keyframes), job.weight_bits)
    return segment, {"published_bytes": bits / 8, "entropy_efficiency": efficiency}


def _shown(keyframes: Path | None, video: Frames | OpenCollection) -> KeyframeFile | None:
    """The keyframes that are given for these videos; raises `UserError` where there is one only."""
    from boostnerv.training.keyframe_files import open_keyframes
    from boostnerv.video.collections import OpenCollection

    if keyframes is not None and not isinstance(video, OpenCollection):
        raise UserError("a model of one video needs no keyframes; leave them out")
    return None if keyframes is None else open_keyframes(keyframes)


def _no_slices(name: str) -> str:
    return f"{name} has embeddings, which the quantiser slices does not know; set post_training.quantizer: min-max"


def _image_bytes(keyframes: KeyframeFile | None) -> int:
    """Bytes of keyframes as their codec made them."""
    return keyframes.manifest.image_bytes if keyframes else 0


def _file_of(
    segment: Segment,
    about: About,
    video: Frames | OpenCollection,
    given: tuple[Path, Path],
    keyframes: KeyframeFile | None = None,
) -> bytes:
    """The bytes of a file of one segment; raises `UserError` where its model is of other frames or keyframes."""
    from boostnerv.codec.bitstream import Bitstream, OneOfMany, Video, write
    from boostnerv.training.run import check_trained_with
    from boostnerv.video.collections import OpenCollection

    if about.frames_sha256 != video.manifest.pixels_sha256:
        raise UserError(f"checkpoint {given[0]} was trained on other frames than {given[1]}; give those frames")
    check_trained_with(about, keyframes, given[0])
    if isinstance(video, OpenCollection):
        videos = tuple(OneOfMany(each.name, each.frames, each.fps) for each in video.manifest.videos)
        segment = dataclasses.replace(segment, videos=videos, keyframes=keyframes.payload() if keyframes else b"")
    spec, timestamps_s = segment.spec, video.manifest.timestamps_s
    header = Video(spec.frames, spec.height, spec.width, about.fps, about.colour, timestamps_s=timestamps_s)
    return write(Bitstream(header, (segment,)))


def _checked_file(output: Path, video: Frames | OpenCollection) -> dict[str, Any]:
    """Sizes of a file's parts, and what it decodes to, as the decoder shows it."""
    from boostnerv.codec.decoder import VideoFile
    from boostnerv.evaluation.metrics import psnr_db
    from boostnerv.models.budget import decoder_parameters

    written = VideoFile(output)
    digest, psnr = hashlib.sha256(), []
    with progress.shown("check the file", len(written), "frames") as show:
        for index, frame in enumerate(written.frames()):
            digest.update(frame.tobytes())
            psnr.append(float(psnr_db(video.pixels[index : index + 1], frame[None])[0]))
            show(index + 1)
    segments = written.stream.segments
    return {
        **_rate_parts(written),
        "psnr_quantized_db": sum(psnr) / len(psnr),
        "decoded_sha256": digest.hexdigest(),
        "params_decoder": sum(decoder_parameters(segment.architecture, segment.spec) for segment in segments),
        "params_embedding": sum(segment.spec.embedding_parameters for segment in segments),
        "task": "regression",
    }


def _rate_parts(video: Any) -> dict[str, Any]:
    """Where the bytes of a file are: container and headers, side information, weights, embeddings and keyframes."""
    parts, weights_side_bits, embeddings_side_bits, models = video.section_bytes, 0, 0, set()
    for number in range(len(video.stream.segments)):
        segment = video.segment(number)
        weights_side_bits += segment.weights.side_bits
        models |= set(segment.weights.models)
        if segment.embeddings is not None:
            embeddings_side_bits += segment.embeddings.side_bits
            models.add(segment.embeddings.model_name)
    weights_side, embeddings_side = weights_side_bits // 8, embeddings_side_bits // 8
    weights, embeddings, keyframes = parts["weights"], parts.get("embeddings", 0), parts.get("keyframes", 0)
    return {
        "file_bytes": video.file_bytes,
        "header_bytes": video.file_bytes - weights - embeddings - keyframes,
        "side_bytes": weights_side + embeddings_side,
        "weights_bytes": weights - weights_side,
        "embedding_bytes": embeddings - embeddings_side,
        "keyframes_bytes": keyframes,
        "entropy_models": "+".join(sorted(models)),
    }


def _payload_column(name: str) -> str:
    role, _, model = name.partition(":")
    return f"{role}_{model.replace('-', '_')}_bytes"


def decode(
    bitstream: Path,
    output: Path,
    report: Path | None,
    *,
    device: str,
    threads: int | None,
    frames: range | None = None,
    exact: bool = True,
    lossless: bool = False,
    audio_from: Path | None = None,
    one: str | None = None,
) -> dict[str, Any]:
    """Decode a ``.bnv`` file, with nothing else at hand, into what the name of `output` says, e.g. ``.npy``.

    Where there is to be a `report`, some frames are computed again for it, to tell how fast that is.

    `frames` is a part of the video, whose stop may lie behind the end. Of a file of many videos, `one` is the name of
    that which is decoded; an array may hold all of them, one after the other.
    """
    from boostnerv.codec.decoder import VideoFile
    from boostnerv.training.run import choose_device, device_name
    from boostnerv.video.writing import OutputVideo, has_one_rate

    prepare_cpu(threads)
    started = time.monotonic()
    where = choose_device(device)
    video = VideoFile(bitstream, str(where), exact=exact)
    inside, fps = _one_of(video, one, output)
    part = _wanted_frames(frames, len(inside), bitstream)
    wanted = inside[part.start : part.stop]
    if audio_from is not None and len(wanted) < len(inside):
        raise UserError("--audio-from belongs to whole videos, and --frames leaves some out; give one of both")
    timestamps_s = video.timestamps_s and [video.timestamps_s[index] for index in wanted]
    described = OutputVideo(
        count=len(wanted),
        height=video.height,
        width=video.width,
        fps=fps,
        timestamps_s=tuple(time - timestamps_s[0] for time in timestamps_s) if timestamps_s else None,
    )
    if timestamps_s and has_one_rate(output):
        note = f"{output.name} shows frames at {video.fps:g} fps, as .y4m cannot hold the video's variable rate"
        print(f"{note}; .mkv, .mp4 and .mov can", file=sys.stderr)
    decoded_sha256 = _write_decoded(video.frames(wanted), described, output, lossless=lossless, audio_from=audio_from)
    decode_s = time.monotonic() - started
    result = {
        "decoded_sha256": decoded_sha256,
        "frames": described.count,
        "height": described.height,
        "width": described.width,
        "decode_s": decode_s,
        "decode_fps": described.count / decode_s,
        "decode_device": device_name(where),
        "decode_threads": threads_in_use(),
        "exact": exact,
    }
    if report is not None:
        speeds = video.speeds()
        result |= {"decode_warm_fps": speeds.warm_fps, "decode_compute_fps": speeds.compute_fps}
        files.write_json(report, result)
    return result


def _one_of(video: VideoFile, name: str | None, output: Path) -> tuple[range, float]:
    """Frame numbers and frames per second of the video called `name`, or of all that is in a file."""
    videos = video.videos
    if name is not None:
        if name not in videos:
            hint = nearest(name, videos) if videos else "it is of one video; leave --video out"
            raise UserError(f"{video.path} has no video '{name}': {hint}")
        return videos[name]
    if len(videos) > 1 and output.suffix != ".npy":
        raise UserError(
            f"{video.path} holds {len(videos)} videos; say which with --video ({', '.join([*videos][:3])} …), "
            "or decode all of them into one .npy"
        )
    return range(len(video)), video.fps


def _wanted_frames(frames: range | None, count: int, file: Path) -> range:
    wanted = range(count) if frames is None else range(frames.start, min(frames.stop, count))
    if not wanted:
        raise UserError(f"{file} has frames 0 to {count - 1}, none of which is asked for; correct --frames")
    return wanted


def evaluate(
    frames: Path,
    bitstream: Path,
    decoded: Path,
    reports: Sequence[Path],
    logs: tuple[Path | None, Path | None],
    identity: dict[str, Any],
    output: Path,
    frames_csv: Path,
    *,
    threads: int | None,
    vmaf: bool = False,
    planes: Path | None = None,
    preview: Path | None = None,
) -> dict[str, Any]:
    """Measure decoded frames against the source at full resolution; the rate is the size of the file.

    They are written as the small video `preview` too, where one is wanted. `reports` are those of encode and decode,
    `logs` those of train and of finetune, where there were any. `identity` names the run (experiment, run, codec,
    size_label, seed). With `vmaf`, VMAF is measured too; with the manifest of the source's `planes`, Y, U and V against
    these.
    """
    import numpy as np

    from boostnerv.codec.decoder import VideoFile
    from boostnerv.evaluation.measure import bits_per_pixel, measure
    from boostnerv.models.clips import ClipSpec
    from boostnerv.models.work import kmac_per_pixel
    from boostnerv.training.run import last_record
    from boostnerv.video.collections import open_videos
    from boostnerv.video.preview import previewed

    prepare_cpu(threads)
    segment = VideoFile(bitstream).stream.segments[0]
    video = open_videos(frames, many=isinstance(segment.spec, ClipSpec))
    manifest = video.manifest
    encoding, decoding = (files.read_json(path, "report") for path in reports)
    training, finetuning = (last_record(path) if path else {} for path in logs)
    records = [record for record in (training, finetuning) if record]
    test = np.load(decoded, mmap_mode="r")
    with (
        progress.shown("evaluate", manifest.frames, "frames") as show,
        previewed(test, preview, manifest.fps) as shown,
        _vmaf_meter(vmaf, threads, video) as meter,
    ):
        quality = measure(video.pixels, shown, vmaf=meter, progress=show)
    if planes is not None:
        quality = _with_yuv(quality, planes, video, test)
    file_bytes = bitstream.stat().st_size
    if file_bytes != encoding["file_bytes"]:
        raise UserError(f"{bitstream} has {file_bytes} bytes, its report says {encoding['file_bytes']}; encode again")
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
        # Of a model of patches, the log has the PSNR of these.
        "psnr_float_db": None if _cut(video) else training.get("psnr_db"),
        "params_total": encoding["params_decoder"] + encoding["params_embedding"],
        "kmac_per_pixel": kmac_per_pixel(segment.architecture, segment.spec),
        "train_s": training.get("wall_s"),
        "finetune_s": finetuning.get("wall_s", 0),
        "decode_s": decoding["decode_s"],
        "decode_fps": decoding["decode_fps"],
        "decode_warm_fps": decoding.get("decode_warm_fps"),
        "decode_compute_fps": decoding.get("decode_compute_fps"),
        "decode_device": decoding.get("decode_device"),
        "decode_threads": decoding.get("decode_threads"),
        "returns": training.get("returns", 0) + finetuning.get("returns", 0),
        "peak_memory_mib": max((record["peak_memory_mib"] for record in records), default=None),
        "device": training.get("device"),
        "computing": _each_once(records, "computing"),
        "training_memory": _each_once(records, "memory"),
        "threads": training.get("threads"),
        "frames_sha256": manifest.pixels_sha256,
        "version": provenance.package_version(),
        "commit": provenance.commit(),
        "deterministic": all(record["deterministic"] for record in records),
        "frames_match_encoder": encoding["decoded_sha256"] == decoding["decoded_sha256"],
        "colour": manifest.colour,
    }
    return _write_quality(quality, video, test, point, output, frames_csv)


def _each_once(records: Sequence[dict[str, Any]], key: str) -> str:
    """What the trainings of a run say of themselves, that which is the same once."""
    return "; ".join(dict.fromkeys(str(record[key]) for record in records if record.get(key)))


def _with_yuv(quality: Quality, planes: Path, video: Frames | OpenCollection, test: Any) -> Quality:
    """`quality` with that of Y, U and V of the RGB frames `test`; raises `UserError` where `planes` are of others."""
    from boostnerv.evaluation.yuv import check_planes, measure_rgb
    from boostnerv.video.collections import OpenCollection
    from boostnerv.video.planes import open_planes

    if isinstance(video, OpenCollection):
        raise UserError("planes are of one video, and this model is of many; leave --planes out")
    source = open_planes(planes)
    check_planes(source.manifest, video.manifest)
    with progress.shown("evaluate planes", source.manifest.frames, "frames") as show:
        return dataclasses.replace(quality, yuv=measure_rgb(source, test, show))


def _write_quality(
    quality: Quality, video: Frames | OpenCollection, test: Any, point: dict[str, Any], output: Path, frames_csv: Path
) -> dict[str, Any]:
    """Write what was measured of `test`, of each video where there are many; returns the whole's."""
    from boostnerv.evaluation.measure import measure_patches, write_quality
    from boostnerv.video.collections import OpenCollection
    from boostnerv.video.patches import split

    if not isinstance(video, OpenCollection):
        write_quality(quality, output, frames_csv, point)
        return files.read_json(output)
    if _cut(video):
        count = video.manifest.frames * video.rows * video.columns
        with progress.shown("evaluate patches", count, "patches") as show:
            cut = partial(split, rows=video.rows, columns=video.columns)
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
    of_parts = {
        each.name: {
            **{key: point.get(key) for key in shared},
            "kind": "part",
            "video": each.name,
            "frames": each.frames,
            "fps": each.fps,
            "frames_sha256": each.whole_sha256,
        }
        for each in video.manifest.videos
    }
    write_quality(quality, output, frames_csv, point, video.ranges, of_parts)
    return files.read_json(output)[0]


def _rendered(made: ClipReconstruction, output: Path) -> Any:
    """All frames of a model of many, in a file beside `output` that goes with this process: they are read twice."""
    import numpy as np

    output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=output.parent) as file:  # the map keeps it
        frames = np.memmap(file, np.uint8, "w+", shape=made.shape)
    with progress.shown("render", len(made), "frames") as show:
        for index in range(len(made)):
            frames[index] = made[index : index + 1][0]
            show(index + 1)
    return frames


def _cut(video: Frames | OpenCollection) -> bool:
    """Whether the frames are cut into patches."""
    from boostnerv.video.collections import OpenCollection

    return isinstance(video, OpenCollection) and video.rows * video.columns > 1


def _vmaf_meter(
    wanted: bool, threads: int | None, video: Frames | OpenCollection | None = None
) -> AbstractContextManager[VmafMeter | None]:
    """What measures VMAF, of each of the videos in `video` by itself; nothing where it is not wanted."""
    from boostnerv.evaluation.vmaf import VmafMeter
    from boostnerv.video.collections import OpenCollection

    if not wanted:
        return nullcontext()
    parts = video.ranges.values() if isinstance(video, OpenCollection) else ()
    return VmafMeter(threads or 1, [frames.start for frames in parts])


def evaluate_model(
    frames: Path,
    model: Path,
    log: Path | None,
    identity: dict[str, Any],
    output: Path,
    frames_csv: Path,
    *,
    device: str,
    threads: int | None,
    keyframes: Path | None = None,
    vmaf: bool = False,
    preview: Path | None = None,
) -> dict[str, Any]:
    """Measure a model as it was trained, nothing coded: of every frame, and apart of those its task withheld.

    They are written as the small video `preview` too, where one is wanted. Frames are rounded to 8 bits before they are
    compared, as decoded ones are; `psnr_float_db` is the papers' figure, of frames that are not rounded. An imported
    model has no `log`, and nothing is said of its training.
    """
    from boostnerv.evaluation.measure import measure, split_summary
    from boostnerv.models.budget import decoder_parameters
    from boostnerv.models.work import kmac_per_pixel
    from boostnerv.training import checkpoint
    from boostnerv.training.run import (
        ClipReconstruction,
        Reconstruction,
        check_trained_with,
        choose_device,
        last_record,
        trained_on,
    )
    from boostnerv.video.collections import OpenCollection, open_videos
    from boostnerv.video.masks import hidden_pixels
    from boostnerv.video.preview import previewed

    prepare_cpu(threads)
    training = last_record(log) if log else {}
    found, trained = checkpoint.restore_any(model)
    video = open_videos(frames, many=found.architecture in MODELS_OF_MANY)
    shown = _shown(keyframes, video)
    about, manifest = trained_on(found, video, model, shown), video.manifest
    recipe, spec = about.train.training if about.train else Training(epochs=1), trained.spec
    check_trained_with(about, shown, model)
    made: Any = None
    if isinstance(video, OpenCollection):
        made = _rendered(ClipReconstruction(trained, video, shown, choose_device(device)), output)
        unseen: tuple[int, ...] = ()
    else:
        made = Reconstruction(trained, video.pixels, recipe, choose_device(device))
        unseen = made.unseen_frames
    hidden = None if recipe.mask is None else hidden_pixels(recipe.mask, spec.height, spec.width)
    with (
        progress.shown("evaluate", spec.frames, "frames") as show,
        previewed(made, preview, manifest.fps) as test,
        _vmaf_meter(vmaf, threads, video) as meter,
    ):
        reference = video.pixels if isinstance(video, OpenCollection) else video.pixels[: spec.frames]
        quality = measure(reference, test, hidden=hidden, vmaf=meter, progress=show)
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
        "psnr_float_db": None if _cut(video) else training.get("psnr_db"),
        "params_total": decoder + embeddings,
        "params_decoder": decoder,
        "params_embedding": embeddings,
        "kmac_per_pixel": kmac_per_pixel(trained.architecture, spec),
        "train_s": training.get("wall_s"),
        "returns": training.get("returns"),
        "peak_memory_mib": training.get("peak_memory_mib"),
        "device": training.get("device"),
        "computing": training.get("computing"),
        "training_memory": training.get("memory"),
        "threads": training.get("threads"),
        "config_sha256": config_hash(about.train or about),
        "frames_sha256": manifest.pixels_sha256,
        "version": provenance.package_version(),
        "commit": provenance.commit(),
        "deterministic": training.get("deterministic"),
        "command": "boostnerv train" if log else "boostnerv import",
        "colour": manifest.colour,
        **split_summary(quality, unseen),
    }
    return _write_quality(quality, video, made, point, output, frames_csv)


def encode_anchor(
    frames: Path,
    anchor: Anchor,
    quality: int,
    experiment: str,
    stream: Path,
    output: Path,
    frames_csv: Path | None = None,
    *,
    threads: int | None,
    vmaf: bool = False,
    planes: Path | None = None,
    preview: Path | None = None,
) -> None:
    """Code the frames with a classical codec, decode the file and measure it, with `vmaf` by VMAF too.

    With the manifest of the source's `planes` Y, U and V are measured too; an anchor of source yuv420 codes these.
    Values of each frame are written as `frames_csv`, and what is measured as the small video `preview`, where these are
    wanted.
    """
    from boostnerv.evaluation.anchors import encode_anchor as encode_with
    from boostnerv.evaluation.anchors import write_anchor
    from boostnerv.evaluation.measure import write_frames
    from boostnerv.evaluation.round_trip import round_trip
    from boostnerv.evaluation.yuv import check_planes
    from boostnerv.video.frames import open_frames
    from boostnerv.video.planes import open_planes

    prepare_cpu(threads)
    video = open_frames(frames)
    manifest = video.manifest
    source = None if planes is None else open_planes(planes)
    if source is not None:
        check_planes(source.manifest, manifest)
    with progress.shown(f"{anchor.codec} {quality}", manifest.frames, "frames") as show:
        point = encode_with(
            video.pixels,
            manifest.fps,
            anchor,
            quality,
            stream,
            threads=threads or 1,
            way=round_trip(manifest),
            vmaf=vmaf,
            planes=source,
            progress=show,
            preview=preview,
        )
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
    if frames_csv is not None:
        write_frames(point.measured, frames_csv)
    write_anchor(point, output, identity)


def collect(results: Iterable[Path], output: Path) -> None:
    """Gather the results of an experiment into ``points.csv``."""
    from boostnerv.evaluation.points import collect as collect_points
    from boostnerv.evaluation.points import write_points

    write_points(collect_points(results), output)


def preview_source(frames: Path, output: Path, *, many: bool) -> None:
    """Write the first seconds of the frames of a video, or of `many`, as a small video, to be looked at beside decoded
    ones."""
    from boostnerv.video.collections import open_videos
    from boostnerv.video.preview import write_preview

    video = open_videos(frames, many=many)
    write_preview(video.pixels, output, video.manifest.fps)


def tabulate(
    points: Path,
    markdown: Path,
    csv: Path,
    metrics: Path | None = None,
    bd_markdown: Path | None = None,
    bd_csv: Path | None = None,
    published: Path | None = None,
) -> None:
    """Tables of an experiment, for people and for programs; as metrics, BD-rates and beside published figures where
    these are wanted."""
    from boostnerv.evaluation.points import read_points
    from boostnerv.report import bd_table
    from boostnerv.report.metrics import write_metrics
    from boostnerv.report.tables import published_csv, write_tables

    rows = read_points(points)
    write_tables(rows, markdown, csv)
    if metrics is not None:
        write_metrics(rows, metrics)
    bd_table.write_bd_tables(rows, bd_markdown, bd_csv)
    if published is not None:
        files.write_text(published, published_csv(rows))


def page(points: Path, folder: Path, experiment: Path | None, output: Path) -> int:
    """Write all results below `folder` as one page for browsers; returns its size in bytes."""
    from boostnerv.config import load_experiment
    from boostnerv.evaluation.points import read_points
    from boostnerv.report.page import write_page

    return write_page(read_points(points), folder, None if experiment is None else load_experiment(experiment), output)


def plot(points: Path, folder: Path, logs: dict[str, Path]) -> None:
    """Figures of an experiment: rate–distortion, and the training curves of its runs."""
    from boostnerv.evaluation.points import read_points
    from boostnerv.report.plots import plot_points, plot_training

    plot_points(read_points(points), folder)
    if logs:
        plot_training(logs, folder / "training")


def plot_runs(results: Sequence[Path], frames: Path | None, folder: Path, *, threads: int | None) -> None:
    """Figures of the runs and anchor points of one video from the files that stand beside their `results`.

    These are quality.json or model-quality.json of a run, and NAME.json of an anchor. `frames` is the manifest of what
    was coded; without it no frames are shown, nor for a model of many videos.
    """
    from boostnerv.codec.shares import file_shares
    from boostnerv.evaluation.points import collect as collect_points
    from boostnerv.report.bits import Part
    from boostnerv.report.plots import plot_runs as plot
    from boostnerv.report.runs import read_frames, runs_of

    prepare_cpu(threads)
    points = [point for point in collect_points(results) if point["kind"] != "part"]
    if len({point["video"] for point in points}) != 1:
        raise UserError("these figures are of one video; give results of one, and at least one")
    beside = {str(collect_points([path])[0]["run"]): path for path in results}
    runs = runs_of(points, [read_frames(_frames_beside(beside[str(point["run"])])) for point in points])
    parts = [
        (run.name, [Part(share.kind, share.name, share.bits) for share in file_shares(_coded(beside[run.name]))])
        for run in runs
        if run.is_model and run.file_bytes
    ]
    plot(runs, parts, _crops(runs, beside, frames), str(points[0]["video"]), folder)


def _frames_beside(result: Path) -> Path:
    """The values of the frames of what a result is of."""
    names = {"quality.json": "frames.csv", "model-quality.json": "model-frames.csv"}
    return result.with_name(names.get(result.name, f"{result.stem}.csv"))


def _coded(result: Path) -> Path:
    """The file that a result is of."""
    return result.with_name("video.bnv") if result.name == "quality.json" else result.with_suffix(".stream")


def _crops(runs: Sequence[Any], beside: dict[str, Path], frames: Path | None) -> Any:
    """Frames of the best run, of the anchor nearest to it in size, and of their source."""
    from boostnerv.codec.decoder import VideoFile
    from boostnerv.evaluation.anchors import decoded_frames
    from boostnerv.evaluation.round_trip import round_trip
    from boostnerv.report.crops import Crops, Shown
    from boostnerv.report.frame_curves import run_text
    from boostnerv.report.runs import best_run, chosen_frames, nearest_anchor
    from boostnerv.video.frames import open_frames

    best = best_run(runs)
    if best is None or frames is None:
        why = "no run was coded to a file" if best is None else "frames are shown of single videos only"
        return Crops(missing=why)
    # Frames of a stream are decoded here by the colours of those that were made from RGB.
    anchor = nearest_anchor(best, [run for run in runs if run.point["source"] != "yuv420"])
    chosen = chosen_frames(best.psnr_db)
    numbers = list(chosen.values())
    source = open_frames(frames)
    ours = list(VideoFile(_coded(beside[best.name])).frames(numbers))
    others: list[Any] = [None] * len(numbers)
    if anchor is not None:
        made = files.read_json(beside[anchor.name], "anchor")
        size = (int(made["height"]), int(made["width"]))
        stream, way = _coded(beside[anchor.name]), round_trip(source.manifest)
        others = decoded_frames(stream, made["codec"], made["pixel_format"], size, numbers, way=way, threads=1)
    return Crops(
        model=run_text(best).replace(", ", "\n"),
        anchor=run_text(anchor).replace(", ", "\n") if anchor is not None else "",
        shown=tuple(
            Shown(why, number, source.pixels[number], model, other)
            for (why, number), model, other in zip(chosen.items(), ours, others, strict=True)
        ),
    )


def compare(
    reference: Path,
    tests: Sequence[Path],
    output: Path | None,
    figure: Path | None,
    *,
    device: str,
    threads: int | None,
    frames_csv: Path | None = None,
    vmaf: bool = False,
    colour: str | None = None,
) -> list[Any]:
    """Measure `tests` against `reference` from the files alone; rows go to `output` (CSV or JSON), points to `figure`,
    the values of all frames to `frames_csv`. With `vmaf`, VMAF is measured too. Videos become RGB by the profile
    `colour` where no file names one.

    What can be told without decoding all frames is checked before the first is decoded.
    """
    from boostnerv.evaluation import compare as comparison
    from boostnerv.training.run import choose_device

    if output is not None:
        _check_suffix(output, comparison.OUTPUT_SUFFIXES, f"{output} is a table")
    if frames_csv is not None:
        _check_suffix(frames_csv, (".csv",), f"{frames_csv} is a table of frames")
    plots = None if figure is None else _plots_for(figure)
    prepare_cpu(threads)
    where = str(choose_device(device))
    names = comparison.short_names(tests)
    profile = comparison.colour_of([reference, *tests], colour)
    video = comparison.open_video(reference, where, profile)
    opened = [comparison.open_video(test, where, profile) for test in tests]
    for test in opened:
        comparison.check_fit(video, test)
    rows = []
    for name, test in zip(names, opened, strict=True):
        total = video.expected or test.expected
        with progress.shown(f"compare {name}", total, "frames") as show, _vmaf_meter(vmaf, threads) as meter:
            rows.append(comparison.compare(video, test, name, device=where, vmaf=meter, progress=show))
    if output is not None:
        comparison.write_rows(rows, output)
    if frames_csv is not None:
        comparison.write_frame_values(rows, frames_csv)
    if plots is not None and figure is not None:
        first = rows[0]
        plots.plot_comparison(rows, f"{reference.name}: {first.frames} frames of {first.height}×{first.width}", figure)
    return rows


def _plots_for(figure: Path) -> Any:
    """The module that draws; `UserError` where it cannot be had or cannot write `figure`."""
    try:
        from boostnerv.report import plots, style
    except ImportError as error:
        raise UserError("figures need matplotlib: run pip install 'boostnerv[report]'") from error
    _check_suffix(figure, style.FIGURE_SUFFIXES, f"{figure} is a figure")
    return plots


def check(experiment: Experiment, output: Path | None) -> list[dict[str, Any]]:
    """Build the spec of every run on every video and count its parameters; raises `UserError` for the first
    that cannot be. Videos whose size is not said before their extraction are left out, and with one of them a model
    of all."""
    videos = experiment.video_specs()
    rows = [
        row
        for video in videos
        for run in experiment.runs(video)
        if not run.of_many
        for row in _plan(experiment, video, run)
    ]
    rows += [row for run in experiment.runs() if run.of_many for row in _plan_of_many(experiment, videos, run)]
    for anchor in experiment.anchors:
        from boostnerv.evaluation.anchors import check_anchor

        check_anchor(anchor)
    if experiment.evaluation.vmaf:
        from boostnerv.evaluation.vmaf import check_vmaf

        check_vmaf()
    if output is not None:
        files.write_json(output, {"config_sha256": config_hash(experiment), "runs": rows})
    return rows


def _plan(experiment: Experiment, video: VideoSpec, run: Run) -> Iterable[dict[str, Any]]:
    from boostnerv.training.losses import check_frame_size
    from boostnerv.training.run import planned_spec

    shape = planned_shape(experiment.preparation, video)
    if shape is None:
        return
    spec = planned_spec(run.train, *shape)
    if run.finetune is not None:
        check_frame_size(run.finetune.finetuning.loss, *shape[1:])
    if run.post_training is not None and run.post_training.quantizer == "slices" and spec.embedding_shape is not None:
        raise UserError(_no_slices(run.train.model.name))
    yield _planned(video.name, run, spec)


def _plan_of_many(experiment: Experiment, videos: Sequence[VideoSpec], run: Run) -> Iterable[dict[str, Any]]:
    from boostnerv.codec.image_codecs import keyframe_codec
    from boostnerv.training.losses import check_frame_size
    from boostnerv.training.run import planned_clip_spec
    from boostnerv.video.patches import check_patches

    job = run.keyframes
    codec = None if job is None else keyframe_codec(job.codec)
    if job is not None and codec is not None:
        codec.check_encoder(codec.lowest_quality if job.fixed_quality is None else job.fixed_quality)
    shapes = [planned_shape(experiment.preparation, video) for video in videos]
    known = [shape for shape in shapes if shape is not None]
    for video, shape in zip(videos, shapes, strict=True):
        if shape is not None and shape[1:] != known[0][1:]:
            raise UserError(
                f"video {video.name} has frames of {shape[1]}×{shape[2]}, others of {known[0][1]}×{known[0][2]}, and a "
                f"{run.train.model.name} is of one size; set preparation.fit, height and width"
            )
    if not known or len(known) < len(shapes):
        return
    _, height, width = known[0]
    patches = experiment.clips.patches
    grid = (1, 1) if patches is None else check_patches(height, width, patches.height, patches.width)
    lengths = {video.name: frames for video, (frames, _, _) in zip(videos, known, strict=True)}
    spec = planned_clip_spec(run.train, lengths, height, width, grid)
    if run.finetune is not None:
        check_frame_size(run.finetune.finetuning.loss, *spec.decoded_size)
    if codec is not None:
        codec.check_size(height, width)
    yield _planned(f"{len(videos)} videos", run, spec)


def _planned(video: str, run: Run, spec: Spec) -> dict[str, Any]:
    from boostnerv.models.architecture import architecture
    from boostnerv.models.budget import decoder_parameters
    from boostnerv.models.work import kmac_per_pixel

    entry = architecture(run.train.model.name)
    decoder = decoder_parameters(entry, spec)
    embeddings = stored_embeddings(run.train.training.task, spec)
    return {
        "video": video,
        "run": run.name,
        "frames": spec.frames,
        "height": spec.height,
        "width": spec.width,
        "decoded_height": spec.decoded_size[0],
        "decoded_width": spec.decoded_size[1],
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
    available = _available_frames(preparation, video)
    count = preparation.frame_count
    if count is None and available is not None:
        count = available - preparation.first_frame
    height = preparation.height or video.height
    width = preparation.width or video.width
    if count is None or height is None or width is None:
        return None
    if count < 1 or (available is not None and preparation.first_frame + count > available):
        rate = "" if preparation.fps is None else f" at {preparation.fps:g} frames per second"
        raise UserError(
            f"video {video.name} has {available} frames{rate}, the preparation asks for {count} from "
            f"{preparation.first_frame} on; correct preparation.first_frame or frame_count"
        )
    return count, height, width


def _available_frames(preparation: Preparation, video: VideoSpec) -> int | None:
    """How many frames a video has at the rate of the preparation, None where its registry entry does not tell."""
    if video.frames is None or preparation.fps is None:
        return video.frames
    if video.fps is None:
        return None
    from boostnerv.video.info import Timing
    from boostnerv.video.selection import kept_frames

    return len(kept_frames(video.frames, Timing(video.fps, None), preparation.fps))


def stored_embeddings(task: str, spec: Any) -> int:
    """Numbers in the embeddings that a model keeps: interpolation keeps those of every second frame."""
    kept: int = spec.embedding_parameters
    return kept * ((spec.frames + 1) // 2) // spec.frames if task == "interpolation" else kept


def _steps(samples: int, recipe: Training | Finetuning) -> int:
    return recipe.epochs * -(-samples // recipe.batch_size)


def _training_steps(video: Frames | OpenCollection, job: TrainJob) -> int:
    from boostnerv.training.run import planned_clips
    from boostnerv.video.collections import OpenCollection

    if isinstance(video, OpenCollection):
        return _steps(_samples(planned_clips(job, video)), job.training)
    count = video.manifest.frames
    return _steps((count + 1) // 2 if job.training.task == "interpolation" else count, job.training)


def _samples(spec: Spec) -> int:
    """What an epoch goes through: frames, or clips of patches."""
    from boostnerv.models.clips import ClipSpec

    return len(spec.clips) * spec.patches if isinstance(spec, ClipSpec) else spec.frames


def _write_decoded(
    frames: Iterable[Any], video: OutputVideo, output: Path, *, lossless: bool = False, audio_from: Path | None = None
) -> str:
    """Write decoded frames as `write_frames` does, with progress; returns the SHA-256 of the pixels."""
    from boostnerv.video.writing import write_frames

    with progress.shown("decode", video.count, "frames") as show:
        return write_frames(frames, output, video, lossless=lossless, audio_from=audio_from, progress=show)


def _prepare_training_cpu(threads: int | None, video: Any) -> None:
    """Threads of a training that may have `threads`: two small trainings side by side finish as soon as one after
    the other on two threads, and threads that wait for each other suffer on a busy machine."""
    small = video.manifest.height * video.manifest.width < SMALL_FRAME_PIXELS
    prepare_cpu(1 if small and threads is not None else threads)


def prepare_cpu(threads: int | None) -> None:
    """Use no more CPU threads than these in this process, and let it keep the memory that it frees."""
    keep_freed_memory()
    if threads is not None:
        import torch

        torch.set_num_threads(threads)


def threads_in_use() -> int:
    """CPU threads that this process computes on."""
    import torch

    return torch.get_num_threads()


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
    lengths: tuple[int, ...] | None = None,
    size: str | None = None,
    dataset: str | None = None,
    options: dict[str, Any] | None = None,
    threads: int | None = None,
) -> dict[str, Any]:
    """Read a file of a published implementation: a training's ``.pth`` becomes a checkpoint (``.safetensors``),
    a compressed video its decoded frames (``.npy`` uint8 ``[T, H, W, 3]``)."""
    from boostnerv.interop.arguments import Arguments
    from boostnerv.interop.files import CompressedVideo, read_file

    prepare_cpu(threads)
    flags = Arguments(
        model=model,
        strides=strides,
        height=height,
        width=width,
        frames=frames,
        fc_dim=fc_dim,
        lengths=lengths,
        size=size,
        dataset=dataset,
        options=options or {},
    )
    found = read_file(file)
    if isinstance(found, CompressedVideo):
        _check_suffix(output, (".npy",), f"{file} is a compressed video and becomes frames")
        return _import_frames(found.open(flags), output)
    _check_suffix(output, (".safetensors",), f"{file} is a checkpoint and stays one")
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
    from boostnerv.video.writing import OutputVideo

    spec = video.spec
    described = OutputVideo(spec.frames, spec.height, spec.width, DEFAULT_FPS)
    decoded_sha256 = _write_decoded(video.frames(), described, output)
    return {"model": video.architecture.name, "spec": spec_fields(spec), "decoded_sha256": decoded_sha256}


def _check_suffix(output: Path, suffixes: Sequence[str], why: str) -> None:
    if output.suffix not in suffixes:
        raise UserError(f"{why}: the output must end in {' or '.join(suffixes)}, not '{output.suffix}'")


def check_published(experiment: Experiment, points: Path, output: Path | None) -> list[Any]:
    """Set the results of a finished experiment beside published figures; they must be its own."""
    from boostnerv.evaluation.points import read_points
    from boostnerv.evaluation.published import compare

    found = read_points(points)
    for name in {str(point["experiment"]) for point in found} - {experiment.name}:
        raise UserError(f"{points} has results of experiment '{name}', not of '{experiment.name}'; give its own")
    runs = {run.name.removesuffix(f"-s{run.train.seed}"): run.of_many for run in experiment.runs()}
    videos, dataset = [video.name for video in experiment.video_specs()], experiment.dataset_spec().name
    together = [name_of_all(dataset, videos)]
    planned = [(video, run) for run, of_many in runs.items() for video in (together if of_many else videos)]
    rows = compare(found, planned)
    if output is not None:
        files.write_json(output, [row.record() for row in rows])
    return rows
