"""Coding checkpoints into files, and decoding files into frames."""

from __future__ import annotations

import hashlib
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from boostnerv import files, progress
from boostnerv.config import config_hash
from boostnerv.errors import BitstreamError, UserError, nearest
from boostnerv.host.machine import Host
from boostnerv.steps.common import (
    check_slices,
    given_keyframes,
    prepare_cpu,
    threads_in_use,
    with_pixels,
    write_decoded,
)
from boostnerv.steps.job_files import CodingFiles, DecodingFiles

if TYPE_CHECKING:
    from boostnerv.codec.container.bitstream import Segment
    from boostnerv.codec.decoder import VideoFile
    from boostnerv.codec.keyframes.keyframe_files import KeyframeFile
    from boostnerv.config import PostTraining
    from boostnerv.models.architecture import VideoModel
    from boostnerv.training.checkpoint import About
    from boostnerv.training.setting import TrainingData
    from boostnerv.video.videos import Videos
    from boostnerv.video.writing import OutputVideo


def encode(job_files: CodingFiles, *, threads: int | None, entropy_model: str | None = None) -> dict[str, Any]:
    """Code a fine-tuned checkpoint into a file; returns the report, of what the encoder measured.

    `entropy_model` is that of the fine-tuning where it is not given. The PSNR after quantisation is taken from the
    file's own codes by the decoder's own functions.
    """
    from boostnerv.codec.encoder import payload_bytes
    from boostnerv.models.architecture import architecture
    from boostnerv.training.checkpoint import restore_quantized
    from boostnerv.training.segment_coding import coded_segment

    _check_files(job_files)
    prepare_cpu(threads)
    started = time.monotonic()
    about, model = restore_quantized(job_files.model)
    data = _data(job_files, many=architecture(about.architecture).multi_video)
    segment, snapped = coded_segment(about, model, entropy_model)
    coded = _file_of(segment, about, data, job_files)
    measured = {
        "encode_s": time.monotonic() - started,
        "command": "boostnerv encode",
        "estimated_bytes": snapped.estimated_bits / 8,
        **{_payload_column(name): size for name, size in payload_bytes(snapped).items()},
    }
    return _write(coded, measured, about, data, job_files)


def repack(file: Path, output: Path | None = None) -> dict[str, Any]:
    """Write the smallest file of the same codes to `output`, or in place of `file`; returns both sizes in bytes.

    Raises `UserError` if the file cannot be read, `BitstreamError` if it is damaged.
    """
    from boostnerv.codec.decoder import VideoFile
    from boostnerv.codec.repacking import repack as repacked

    if output is not None:
        files.check_distinct([output], [file])
    target = output or file.resolve()
    files.check_writable(target)
    video = VideoFile(file)
    data = repacked(video)
    if output is not None or len(data) < video.file_bytes:
        files.write_bytes(target, data)
    return {"file": str(output or file), "file_bytes": len(data), "bytes_before": video.file_bytes}


def encode_after_training(job_files: CodingFiles, job: PostTraining, *, threads: int | None) -> dict[str, Any]:
    """Code a trained checkpoint into a file by post-training quantization: quantisers of least and largest values,
    Huffman codes. Returns the report: what `encode` reports, and the bits as the published pipeline counts them."""
    from boostnerv.codec.container.bitstream import check_storable
    from boostnerv.training import checkpoint
    from boostnerv.training.provenance_checks import check_keyframes, trained_on

    _check_files(job_files)
    prepare_cpu(threads)
    started = time.monotonic()
    described, model = checkpoint.restore_any(job_files.model)
    check_storable(model.architecture, model.spec)
    data = _data(job_files, many=model.spec.multi_video)
    check_keyframes(model.spec, data.keyframes, data.videos)
    about = trained_on(described, data.videos, job_files.model, data.keyframes)
    segment, counted = POST_TRAINING[job.quantizer](model, data, job)
    coded = _file_of(segment, about, data, job_files)
    measured = {"encode_s": time.monotonic() - started, "command": "boostnerv encode-after-training", **counted}
    return _write(coded, measured, about, data, job_files)


def _check_files(job_files: CodingFiles) -> None:
    inputs = [*with_pixels(job_files.frames), job_files.model, job_files.keyframes]
    files.check_distinct([job_files.output, job_files.report], inputs)


def _data(job_files: CodingFiles, *, many: bool) -> TrainingData:
    from boostnerv.training.setting import TrainingData
    from boostnerv.video.collections import open_videos

    videos = open_videos(job_files.frames, many=many)
    return TrainingData(videos, given_keyframes(job_files.keyframes, videos))


def _min_max_segment(model: VideoModel, data: TrainingData, job: PostTraining) -> tuple[Segment, dict[str, float]]:
    """PTQ as HNeRV publishes it, and the size that its own count gives."""
    import torch

    from boostnerv.codec.encoder import encode_after_training as encode_with
    from boostnerv.training.entropy_minimisation import all_embeddings
    from boostnerv.training.tasks import FrameObjective, ResidentVideo

    embeddings = None
    if model.encoder is not None:
        embeddings = all_embeddings(FrameObjective(model, ResidentVideo(data.videos.array(), torch.device("cpu"))))
    weights = dict(model.decoder.named_parameters())
    bits = {"weight_bits": job.weight_bits, "embedding_bits": job.embedding_bits}
    segment, published_bits = encode_with(model.architecture, model.spec, weights, embeddings, **bits)
    return segment, {"published_bytes": published_bits / 8 + _image_bytes(data.keyframes)}


def _slices_segment(model: VideoModel, data: TrainingData, job: PostTraining) -> tuple[Segment, dict[str, float]]:
    """PTQ as D-NeRV publishes it, and the size that its own count gives."""
    from boostnerv.codec.encoder import encode_slices_after_training
    from boostnerv.codec.quantizers.slices import published_bits

    check_slices(model.architecture.name, has_embeddings=model.encoder is not None)
    weights = dict(model.decoder.named_parameters())
    segment, efficiency = encode_slices_after_training(model.architecture, model.spec, weights, bits=job.weight_bits)
    count = sum(tensor.numel() for tensor in weights.values())
    bits = published_bits(count, efficiency, 8 * _image_bytes(data.keyframes), job.weight_bits)
    return segment, {"published_bytes": bits / 8, "entropy_efficiency": efficiency}


# By the names of the catalogue.
POST_TRAINING = {"min-max": _min_max_segment, "slices": _slices_segment}


def _image_bytes(keyframes: KeyframeFile | None) -> int:
    """Bytes of the keyframes before deflating."""
    return keyframes.manifest.image_bytes if keyframes else 0


def _file_of(segment: Segment, about: About, data: TrainingData, job_files: CodingFiles) -> bytes:
    """The bytes of a file of one segment; raises `UserError` where its model is of other frames or keyframes."""
    from boostnerv.codec.assembly import new_file
    from boostnerv.codec.container.bitstream import write
    from boostnerv.training.provenance_checks import check_trained_with

    if about.frames_sha256 != data.videos.manifest.pixels_sha256:
        raise UserError(
            f"checkpoint {job_files.model} was trained on other frames than {job_files.frames}; give those frames"
        )
    check_trained_with(about, data.keyframes, job_files.model)
    payload = data.keyframes.payload() if data.keyframes else b""
    return write(new_file(data.videos, [segment], fps=about.fps, colour=about.colour, keyframes=payload))


def _write(
    coded: bytes, measured: dict[str, Any], about: About, data: TrainingData, job_files: CodingFiles
) -> dict[str, Any]:
    """Write the file and its report: what an encoder has `measured`, and what is measured of every decoded file.

    Raises `UserError` where it does not decode; then there is no file.
    """
    from boostnerv.codec.decoder import VideoFile

    output = job_files.output
    with files.final(output) as temporary:
        temporary.write_bytes(coded)
        try:
            written = VideoFile(temporary)
            checked = _checked_file(written, data.videos)
        except BitstreamError as error:
            reason = str(error).removeprefix(f"{temporary}: ").partition(";")[0]
            raise UserError(
                f"what was coded for {output} cannot be decoded ({reason}): train it again with a lower learning rate "
                "where that is what diverged, or with more parameters for frames of this size"
            ) from error
    result = {
        **checked,
        **measured,
        "psnr_keyframes_db": data.keyframes and data.keyframes.manifest.psnr_db,
        # The settings of imported weights are not known; those of their fine-tuning are.
        "config_sha256": config_hash(about.train or about),
    }
    files.write_json(job_files.report, result)
    _show_notes(output, written)
    return result


def _show_notes(path: Path, video: VideoFile) -> None:
    for note in video.notes:
        print(f"{path}: {note}", file=sys.stderr)


def _checked_file(written: VideoFile, video: Videos) -> dict[str, Any]:
    """Sizes of a file's parts, and quality and hash of its decoded frames."""
    from boostnerv.evaluation.metrics import psnr_db
    from boostnerv.models.budget import decoder_parameters

    digest, psnr = hashlib.sha256(), []
    with progress.track("check the file", len(written), "frames") as show:
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
    """Bytes of a file by part: container and headers, side information, weights, embeddings and keyframes."""
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


@dataclass(frozen=True, kw_only=True)
class DecodingChoice:
    """What is decoded of a file, and how: a range of `frames`, whose stop may lie behind the end; one `video` of many,
    by its name; `exact` pixels, or larger batches; `lossless` output where it may be either."""

    frames: range | None = None
    video: str | None = None
    exact: bool = True
    lossless: bool = False


def decode(job_files: DecodingFiles, choice: DecodingChoice, host: Host) -> dict[str, Any]:
    """Decode a ``.bnv`` file, with nothing else at hand, into what the name of the output says, e.g. ``.npy``.

    For a report some frames are computed again, to tell how fast that is. An array may hold all videos of a file, one
    after the other.
    """
    from boostnerv.codec.decoder import VideoFile
    from boostnerv.host.devices import choose_device, device_name
    from boostnerv.video.writing import is_video

    files.check_distinct([job_files.output, job_files.report], [job_files.file, job_files.audio_from])
    prepare_cpu(host.threads)
    started = time.monotonic()
    device = choose_device(host.device)
    video = VideoFile(job_files.file, str(device), exact=choice.exact)
    chosen, written = _chosen_frames(video, job_files, choice)
    if is_video(job_files.output):
        _show_notes(job_files.file, video)
    decoded_sha256 = write_decoded(
        video.frames(chosen), written, job_files.output, lossless=choice.lossless, audio_from=job_files.audio_from
    )
    decode_s = time.monotonic() - started
    result = {
        "decoded_sha256": decoded_sha256,
        "frames": written.count,
        "height": written.height,
        "width": written.width,
        "decode_s": decode_s,
        "decode_fps": written.count / decode_s,
        "decode_device": device_name(device),
        "decode_threads": threads_in_use(),
        "exact": choice.exact,
    }
    if job_files.report is not None:
        speeds = video.speeds()
        result |= {"decode_warm_fps": speeds.warm_fps, "decode_compute_fps": speeds.compute_fps}
        files.write_json(job_files.report, result)
    return result


def _chosen_frames(video: VideoFile, job_files: DecodingFiles, choice: DecodingChoice) -> tuple[range, OutputVideo]:
    """Numbers of the frames that are decoded, and the video that is written of them."""
    from boostnerv.video.writing import OutputVideo, has_one_rate

    output = job_files.output
    inside, fps = _one_of(video, choice.video, output)
    part = _wanted_frames(choice.frames, len(inside), job_files.file)
    chosen = inside[part.start : part.stop]
    if job_files.audio_from is not None and len(chosen) < len(inside):
        raise UserError("--audio-from belongs to whole videos, and --frames leaves some out; give one of both")
    timestamps_s = video.timestamps_s and [video.timestamps_s[index] for index in chosen]
    if timestamps_s and has_one_rate(output):
        note = f"{output.name} shows frames at {video.fps:g} fps, as .y4m cannot hold the video's variable rate"
        print(f"{note}; .mkv, .mp4 and .mov can", file=sys.stderr)
    written = OutputVideo(
        count=len(chosen),
        height=video.height,
        width=video.width,
        fps=fps,
        timestamps_s=tuple(time - timestamps_s[0] for time in timestamps_s) if timestamps_s else None,
    )
    return chosen, written


def _one_of(video: VideoFile, name: str | None, output: Path) -> tuple[range, float]:
    """Frame numbers and frames per second of the video `name`, or of all videos of a file."""
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
