"""From checkpoints to files, and from files to frames."""

from __future__ import annotations

import hashlib
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from boostnerv import files, progress
from boostnerv.config import config_hash
from boostnerv.errors import BitstreamError, UserError, nearest
from boostnerv.steps.common import (
    check_slices,
    given_keyframes,
    prepare_cpu,
    threads_in_use,
    with_pixels,
    write_decoded,
)

if TYPE_CHECKING:
    from boostnerv.codec.container.bitstream import Segment
    from boostnerv.codec.decoder import VideoFile
    from boostnerv.codec.keyframes.keyframe_files import KeyframeFile
    from boostnerv.config import PostTraining
    from boostnerv.models.architecture import VideoModel
    from boostnerv.training.checkpoint import About
    from boostnerv.video.videos import Videos


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
    from boostnerv.codec.encoder import payload_bytes
    from boostnerv.models.architecture import architecture
    from boostnerv.training.checkpoint import restore_quantized
    from boostnerv.training.segment_coding import coded_segment
    from boostnerv.video.collections import open_videos

    files.check_distinct([output, report], [*with_pixels(frames), finetuned, keyframes])
    prepare_cpu(threads)
    started = time.monotonic()
    about, model = restore_quantized(finetuned)
    video = open_videos(frames, many=architecture(about.architecture).multi_video)
    shown = given_keyframes(keyframes, video)
    segment, snapped = coded_segment(about, model, entropy_model)
    data = _file_of(segment, about, video, (finetuned, frames), shown)
    told = {
        "encode_s": time.monotonic() - started,
        "command": "boostnerv encode",
        "estimated_bytes": snapped.estimated_bits / 8,
        **{_payload_column(name): size for name, size in payload_bytes(snapped).items()},
    }
    return _write(data, told, about, video, shown, output, report)


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
    from boostnerv.codec.container.bitstream import check_storable
    from boostnerv.training import checkpoint
    from boostnerv.training.provenance_checks import check_keyframes, trained_on
    from boostnerv.video.collections import open_videos

    files.check_distinct([output, report], [*with_pixels(frames), trained, keyframes])
    prepare_cpu(threads)
    started = time.monotonic()
    found, model = checkpoint.restore_any(trained)
    check_storable(model.architecture, model.spec)
    video = open_videos(frames, many=model.spec.multi_video)
    shown = given_keyframes(keyframes, video)
    check_keyframes(model.spec, shown, video)
    about = trained_on(found, video, trained, shown)
    segment, counted = POST_TRAINING[job.quantizer](model, video, job, shown)
    data = _file_of(segment, about, video, (trained, frames), shown)
    told = {"encode_s": time.monotonic() - started, "command": "boostnerv encode-after-training", **counted}
    return _write(data, told, about, video, shown, output, report)


def _min_max_segment(
    model: VideoModel, video: Videos, job: PostTraining, keyframes: KeyframeFile | None
) -> tuple[Segment, dict[str, float]]:
    """The pipeline of HNeRV, and what it counts for itself."""
    import torch

    from boostnerv.codec.encoder import encode_after_training as encode_with
    from boostnerv.training.entropy_minimisation import all_embeddings
    from boostnerv.training.tasks import FrameObjective, ResidentVideo

    embeddings = None
    if model.encoder is not None:
        embeddings = all_embeddings(FrameObjective(model, ResidentVideo(video.array(), torch.device("cpu"))))
    weights = dict(model.decoder.named_parameters())
    bits = {"weight_bits": job.weight_bits, "embedding_bits": job.embedding_bits}
    segment, published_bits = encode_with(model.architecture, model.spec, weights, embeddings, **bits)
    return segment, {"published_bytes": published_bits / 8 + _image_bytes(keyframes)}


def _slices_segment(
    model: VideoModel, video: Videos, job: PostTraining, keyframes: KeyframeFile | None
) -> tuple[Segment, dict[str, float]]:
    """The pipeline of D-NeRV, and what it counts for itself."""
    from boostnerv.codec.encoder import encode_slices_after_training
    from boostnerv.codec.quantizers.slices import published_bits

    check_slices(model.architecture.name, has_embeddings=model.encoder is not None)
    weights = dict(model.decoder.named_parameters())
    segment, efficiency = encode_slices_after_training(model.architecture, model.spec, weights, bits=job.weight_bits)
    count = sum(tensor.numel() for tensor in weights.values())
    bits = published_bits(count, efficiency, 8 * _image_bytes(keyframes), job.weight_bits)
    return segment, {"published_bytes": bits / 8, "entropy_efficiency": efficiency}


# By the names of the catalogue.
POST_TRAINING = {"min-max": _min_max_segment, "slices": _slices_segment}


def _image_bytes(keyframes: KeyframeFile | None) -> int:
    """Bytes of keyframes as their codec made them."""
    return keyframes.manifest.image_bytes if keyframes else 0


def _file_of(
    segment: Segment,
    about: About,
    video: Videos,
    given: tuple[Path, Path],
    keyframes: KeyframeFile | None = None,
) -> bytes:
    """The bytes of a file of one segment; raises `UserError` where its model is of other frames or keyframes."""
    from boostnerv.codec.assembly import new_file
    from boostnerv.codec.container.bitstream import write
    from boostnerv.training.provenance_checks import check_trained_with

    if about.frames_sha256 != video.manifest.pixels_sha256:
        raise UserError(f"checkpoint {given[0]} was trained on other frames than {given[1]}; give those frames")
    check_trained_with(about, keyframes, given[0])
    payload = keyframes.payload() if keyframes else b""
    return write(new_file(video, [segment], fps=about.fps, colour=about.colour, keyframes=payload))


def _write(
    data: bytes,
    told: dict[str, Any],
    about: About,
    video: Videos,
    keyframes: KeyframeFile | None,
    output: Path,
    report: Path,
) -> dict[str, Any]:
    """Write the file `output` and its `report`: what an encoder has `told`, and what all say of the decoded file.

    Raises `UserError` where it does not decode; then there is no file.
    """
    from boostnerv.codec.decoder import VideoFile

    with files.final(output) as temporary:
        temporary.write_bytes(data)
        try:
            written = VideoFile(temporary)
            checked = _checked_file(written, video)
        except BitstreamError as error:
            reason = str(error).removeprefix(f"{temporary}: ").partition(";")[0]
            raise UserError(
                f"what was coded for {output} cannot be decoded ({reason}): train it again with a lower learning rate "
                "where that is what diverged, or with more parameters for frames of this size"
            ) from error
    result = {
        **checked,
        **told,
        "psnr_keyframes_db": keyframes and keyframes.manifest.psnr_db,
        # The settings of imported weights are not known; those of their fine-tuning are.
        "config_sha256": config_hash(about.train or about),
    }
    files.write_json(report, result)
    _show_notes(output, written)
    return result


def _show_notes(path: Path, video: VideoFile) -> None:
    for note in video.notes:
        print(f"{path}: {note}", file=sys.stderr)


def _checked_file(written: VideoFile, video: Videos) -> dict[str, Any]:
    """Sizes of a file's parts, and what it decodes to, as the decoder shows it."""
    from boostnerv.evaluation.metrics import psnr_db
    from boostnerv.models.budget import decoder_parameters

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
    from boostnerv.host.devices import choose_device, device_name
    from boostnerv.video.writing import OutputVideo, has_one_rate, is_video

    files.check_distinct([output, report], [bitstream, audio_from])
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
    if is_video(output):
        _show_notes(bitstream, video)
    decoded_sha256 = write_decoded(video.frames(wanted), described, output, lossless=lossless, audio_from=audio_from)
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
