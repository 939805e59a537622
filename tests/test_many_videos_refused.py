"""What cannot be done with many videos is refused: one sentence, exit code 2, and no file."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests import many
from tests.conftest import Outcome
from tests.many import CLIP, PATCH, Chain
from tests.models.tiny import OPTIONS
from tests.test_cli import all_files, refused

Boost = Callable[..., Outcome]


@pytest.fixture(scope="session")
def done(tmp_path_factory: pytest.TempPathFactory) -> Chain:
    """A chain that is right, and nothing may change."""
    chain = many.made(tmp_path_factory.mktemp("done"), "d-nerv", "finetuned", PATCH)
    many.code_keyframes(chain.videos, chain.folder / "worse.json", quality=10)
    return chain


@pytest.fixture
def refuse(boost: Boost, tmp_path: Path) -> Callable[..., None]:
    """Run a command that must end in a sentence and leave no file behind."""

    def run(sentence: str, *arguments: object) -> None:
        before = {path: path.read_bytes() for path in all_files(tmp_path)}
        outcome = boost(*arguments)
        # What was done before may have been counted.
        refused(dataclasses.replace(outcome, err=outcome.err.splitlines(keepends=True)[-1]), sentence)
        assert "Traceback" not in outcome.err
        assert {path: path.read_bytes() for path in all_files(tmp_path)} == before

    return run


def train(folder: Path, videos: Path, keyframes: Path | None, **changes: Any) -> list[object]:
    job = {**many.train_job(changes.pop("name", "d-nerv"), **changes)}
    given = [] if keyframes is None else ["--keyframes", keyframes]
    return [
        *("train", "--frames", videos, *given, "--settings", json.dumps(job), "--state", folder / "state"),
        *("--log", folder / "train.jsonl", "-o", folder / "model.safetensors", "--device", "cpu"),
    ]


def finetune(folder: Path, chain: Chain, **changes: Path) -> list[object]:
    given = {"frames": chain.videos, "keyframes": chain.keyframes, "model": chain.folder / "model.safetensors"}
    named = [part for key, value in {**given, **changes}.items() for part in (f"--{key}", value)]
    return [
        *("finetune", *named, "--settings", json.dumps(many.FINETUNE), "--state", folder / "state"),
        *("--log", folder / "finetune.jsonl", "-o", folder / "tuned.safetensors", "--device", "cpu"),
    ]


def encode(folder: Path, chain: Chain, verb: str = "encode", **changes: Path | None) -> list[object]:
    model = chain.folder / ("finetuned.safetensors" if verb == "encode" else "model.safetensors")
    given: dict[str, Path | None] = {"frames": chain.videos, "keyframes": chain.keyframes, "model": model}
    named = [part for key, value in {**given, **changes}.items() if value for part in (f"--{key}", value)]
    return [verb, *named, "-o", folder / "x.bnv", "--report", folder / "x.json"]


def evaluate_model(folder: Path, chain: Chain, keyframes: Path | None, videos: Path | None = None) -> list[object]:
    given = [] if keyframes is None else ["--keyframes", keyframes]
    return [
        *("evaluate-model", "--frames", videos or chain.videos, "--model", chain.folder / "model.safetensors"),
        *("--train-log", chain.folder / "train.jsonl", "--identity", json.dumps(chain.identity), *given),
        *("-o", folder / "quality.json", "--frames-csv", folder / "frames.csv", "--device", "cpu"),
    ]


def keyframes_of(videos: Path, output: Path, **settings: object) -> list[object]:
    return ["code-keyframes", "--videos", videos, "--settings", json.dumps(settings), "-o", output]


# --- patches, and videos that do not go together --------------------------------------------------------------


def test_patches_that_do_not_divide_the_frame(tmp_path: Path, refuse: Callable[..., None]) -> None:
    many.write_videos(tmp_path, {"v": 3}, (12, 16))
    split = ("split-patches", "--frames", tmp_path / "v.json", "-o", tmp_path / "out" / "p.npy")
    refuse(
        r"patches of 5×8 cannot fill a frame of 12×16: 5 does not divide its height 12 \(the nearest that do are 4 and "
        r"6\); choose such a size, or crop",
        *(*split, "--height", 5, "--width", 8),
    )
    refuse("24 does not divide its height 12 .* and 7 does not divide its width 16", *split, "--height=24", "--width=7")


def test_frames_of_several_sizes(tmp_path: Path, refuse: Callable[..., None]) -> None:
    many.write_videos(tmp_path, {"small": 3}, (12, 16))
    many.write_videos(tmp_path, {"large": 3}, (12, 18))
    manifests = (tmp_path / "small.json", tmp_path / "large.json")
    sentence = (
        "video 'large' has frames of 12×18, but 'small' has 12×16; one model has videos of one size: crop or resize"
    )
    refuse(sentence, "gather-videos", *manifests, "-o", tmp_path / "set.json")
    many.gather(tmp_path, ["small"])
    refuse(sentence, "gather-videos", tmp_path / "small-patches.json", manifests[1], "-o", tmp_path / "set.json")
    refuse("stands twice", "gather-videos", manifests[0], manifests[0], "-o", tmp_path / "set.json")
    refuse("is cut into", "gather-videos", manifests[0], tmp_path / "small-patches.json", "-o", tmp_path / "other.json")
    half = ("--mean", "0.1,0.1,0.1", "-o", tmp_path / "other.json")
    refuse("--mean and --std go together", "gather-videos", manifests[0], *half)
    refuse("give either manifests or --list", "gather-videos", "-o", tmp_path / "other.json")
    refuse("list .* cannot be read", "gather-videos", "--list", tmp_path / "no.list", "-o", tmp_path / "other.json")


def test_a_clip_longer_than_a_video(tmp_path: Path, boost: Boost, refuse: Callable[..., None]) -> None:
    many.write_videos(tmp_path, {"long": 5, "short": 3})
    videos = many.gather(tmp_path, ["long", "short"])
    keyframes = many.code_keyframes(videos, tmp_path / "keyframes.json")
    refuse(
        "a clip of 4 frames is longer than video 'short', which has 3; leave the video out, lower clips.frames, or set "
        "clips.short_videos: pad",
        *train(tmp_path, videos, keyframes),
    )
    assert boost(*train(tmp_path, videos, keyframes, epochs=1, short_videos="pad")).code == 0


def test_an_experiment_says_so_before_anything_runs(tmp_path: Path, refuse: Callable[..., None]) -> None:
    def check(changes: dict[str, object], sentence: str) -> None:
        model = {"name": "d-nerv", "fc_dim": {"S": 8}}
        settings = {"name": "x", "dataset": "clips", "videos": ["bikes-a", "bikes-b"], "models": [model], **changes}
        (tmp_path / "x.yaml").write_text(json.dumps({"strides": [4, 2, 2], **settings}))
        refuse(sentence, "check", tmp_path / "x.yaml", "-o", tmp_path / "plan.json")

    check({"clips": {"patches": {"height": 100, "width": 320}}}, "patches of 100×320 cannot fill a frame of 272×640")
    check({"videos": ["bikes-a", "bunny"]}, "video bunny has frames of 720×1280, others of 272×640.*; set preparation")
    short = {"fit": "source", "first_frame": 110, "frame_count": 3}
    check({"preparation": short}, "a clip of 8 frames is longer than video 'bikes-a', which has 3")
    check({"clips": {"keyframes": {"codec": "x265-intra", "quality": 60}}}, "quality 60 is outside 0 to 51")
    check({"clips": {"keyframes": {"codec": "jpeg"}}}, "'clips.keyframes.codec'.*'x265-intra'")
    check({"clips": {"keyframes": {"quality": 10, "bpp": 1}}}, "give either quality or bpp")
    small, plain = {"fit": "resize", "height": 128, "width": 160}, {"epochs": 1, "loss": "d-nerv/fusion6"}
    # The loss of fine-tuning, and not that of training, needs five scales.
    check(
        {"preparation": small, "training": plain}, "ms_ssim needs frames with sides over 160 pixels, these have 128×160"
    )
    large = {"fit": "resize", "height": 9000, "width": 9000}
    check({"preparation": large}, "keyframes of 9000×9000 are too large for codec 'avif'.*; crop or resize the frames")
    slices = {"post_training": {"quantizer": "slices"}}
    hnerv = {"name": "hnerv", "total_m": [3], **slices}
    check({"models": [hnerv]}, "hnerv has embeddings, which the quantiser slices does not know; set post_training")
    slices["post_training"]["weight_bits"] = 15  # type: ignore[assignment]
    many_bits = {"name": "d-nerv", "fc_dim": {"S": 8}, **slices}
    check({"models": [many_bits]}, "the quantiser slices has at most 14 weight_bits")
    check({"training": {"epochs": 1, "task": "interpolation"}, "finetuning": None}, "is trained for regression only")


# --- keyframes ------------------------------------------------------------------------------------------------


def test_keyframes_that_are_missing(done: Chain, tmp_path: Path, refuse: Callable[..., None]) -> None:
    needed = "this model needs keyframes: run `boostnerv code-keyframes`, and give its manifest"
    refuse(needed, *train(tmp_path, done.videos, None))
    other = "trained with other keyframes; give those of its training"
    refuse(other, *evaluate_model(tmp_path, done, None))
    refuse(other, *encode(tmp_path, done, keyframes=None))
    refuse("no.json does not exist", *train(tmp_path, done.videos, tmp_path / "no.json"))


@pytest.mark.parametrize("damage", ["missing", "cut off", "another shape", "another type", "empty"])
def test_decoded_keyframes_that_are_damaged(
    done: Chain, tmp_path: Path, refuse: Callable[..., None], damage: str
) -> None:
    here = tmp_path / "here"
    here.mkdir()
    for suffix in (".json", ".bin", ".npy"):
        shutil.copy(done.folder / f"keyframes{suffix}", here)
    pixels = here / "keyframes.npy"
    if damage == "missing":
        pixels.unlink()
    elif damage == "cut off":
        pixels.write_bytes(pixels.read_bytes()[:-1])
    elif damage == "empty":
        pixels.write_bytes(b"")
    else:
        stored = np.load(pixels)
        np.save(pixels, stored[:, :, :, :7] if damage == "another shape" else stored.astype(np.int16))
    words = "keyframes .*keyframes.npy are (missing or cut off|not those that keyframes.json describes); run their step"
    refuse(words, *train(tmp_path, done.videos, here / "keyframes.json"))


def test_coded_keyframes_that_are_damaged(done: Chain, tmp_path: Path, refuse: Callable[..., None]) -> None:
    here = tmp_path / "here"
    here.mkdir()
    for suffix in (".json", ".bin", ".npy"):
        shutil.copy(done.folder / f"keyframes{suffix}", here)
    coded = here / "keyframes.bin"
    data = bytearray(coded.read_bytes())
    data[-1] ^= 1
    coded.write_bytes(data)
    words = "keyframes.bin are not those of keyframes.json; run their step again"
    refuse(words, *encode(tmp_path, done, keyframes=here / "keyframes.json"))
    coded.unlink()
    refuse("keyframes.bin cannot be read: No such file", *encode(tmp_path, done, keyframes=here / "keyframes.json"))
    (here / "keyframes.json").write_text("{}")
    refuse("keyframes manifest .*'job' is missing", *encode(tmp_path, done, keyframes=here / "keyframes.json"))


def test_keyframes_of_something_else(done: Chain, tmp_path: Path, refuse: Callable[..., None]) -> None:
    long = many.code_keyframes(done.videos, tmp_path / "long.json", clip_frames=CLIP + 2)
    refuse("of clips of 6 frames, not of 4; run `boostnerv code-keyframes` on", *train(tmp_path, done.videos, long))
    many.write_videos(tmp_path, seed=2)
    videos = many.gather(tmp_path)
    refuse("are of other videos or", *train(tmp_path, videos, done.keyframes))
    refuse("was trained on other frames than .*set.json", *finetune(tmp_path, done, frames=videos))
    refuse("was trained on other frames than .*set.json", *encode(tmp_path, done, frames=videos))
    refuse("was trained on other frames than .*set.json", *evaluate_model(tmp_path, done, done.keyframes, videos))


def test_other_keyframes_than_those_of_the_training(done: Chain, tmp_path: Path, refuse: Callable[..., None]) -> None:
    worse = done.folder / "worse.json"
    words = r"checkpoint .*safetensors was trained with other keyframes; give those of its training"
    refuse(words, *finetune(tmp_path, done, keyframes=worse))
    refuse(words, *encode(tmp_path, done, keyframes=worse))
    refuse(words, *encode(tmp_path, done, "encode-after-training", keyframes=worse))
    refuse(words, *evaluate_model(tmp_path, done, worse))


def test_keyframes_for_a_model_that_needs_none(done: Chain, tmp_path: Path, refuse: Callable[..., None]) -> None:
    arguments = train(tmp_path, done.videos, done.keyframes, name="d-nerv-baseline")
    refuse("this model needs no keyframes; leave them out", *arguments)
    model = {"name": "nerv", "strides": [2, 2], "fc_dim": 3, "options": OPTIONS["nerv"]}
    arguments = train(tmp_path, done.folder / "six.json", done.keyframes, model=model)
    refuse("a model of one video needs no keyframes; leave them out", *arguments)


def test_keyframe_codecs_and_qualities(
    done: Chain, tmp_path: Path, refuse: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    from PIL import features

    output = tmp_path / "k.json"
    refuse("quality 80 is outside 0 to 51", *keyframes_of(done.videos, output, codec="x265-intra", quality=80))
    refuse(r"'quality'.*less than or equal to 100", *keyframes_of(done.videos, output, quality=101))
    refuse("'codec'.*avif", *keyframes_of(done.videos, output, codec="jpeg"))
    refuse(
        r"keyframes by webp have \d+ bytes at least, 0 were asked for; raise keyframes.bpp, or choose another codec",
        *keyframes_of(done.videos, output, codec="webp", bpp=0.001, clip_frames=CLIP),
    )
    monkeypatch.setattr(features, "check", lambda feature: feature != "avif")
    missing = r"Pillow [\d.]+ has no AVIF here; install a Pillow wheel of version 11.3 or later"
    refuse(f"keyframe codec 'avif' cannot be used: {missing}.*choose another codec", *keyframes_of(done.videos, output))
    refuse(f"keyframes are coded with 'avif': {missing}", "decode", done.file, "-o", tmp_path / "x.npy")


def test_an_ffmpeg_without_the_encoder(
    done: Chain, tmp_path: Path, refuse: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    from boostnerv.video import ffmpeg

    monkeypatch.setattr(ffmpeg, "list_encoders", lambda: frozenset({"libx264"}))
    words = "keyframe codec 'x265-intra' cannot be used: this ffmpeg .* has no encoder libx265; set FFMPEG_BINARY"
    refuse(words, *keyframes_of(done.videos, tmp_path / "k.json", codec="x265-intra", quality=30))


# --- one where many are needed, and the other way round --------------------------------------------------------


def test_one_video_where_many_are_needed(done: Chain, tmp_path: Path, refuse: Callable[..., None]) -> None:
    one = done.folder / "six.json"
    words = "six.json describes one video, and many are needed here; give what `boostnerv gather-videos` wrote"
    refuse(words, *train(tmp_path, one, done.keyframes))
    refuse(words, *finetune(tmp_path, done, frames=one))
    refuse(words, *encode(tmp_path, done, frames=one))
    refuse(words, *encode(tmp_path, done, "encode-after-training", frames=one))
    refuse(words, *evaluate_model(tmp_path, done, done.keyframes, one))
    refuse(words, *keyframes_of(one, tmp_path / "k.json"))


def test_many_videos_where_one_is_needed(done: Chain, tmp_path: Path, refuse: Callable[..., None]) -> None:
    words = "set.json describes many videos, and one is needed here; give the manifest of its frames"
    model = {"name": "nerv-boost", "strides": [2, 2], "total_m": 0.06}
    job = {"model": model, "training": {"epochs": 1, "loss": {"l1": 1}}}
    arguments = train(tmp_path, done.videos, None)
    arguments[arguments.index("--settings") + 1] = json.dumps(job)
    refuse(words, *arguments)
    split = ("split-patches", "--frames", done.videos, "--height", 6, "--width", 8, "-o", tmp_path / "p.npy")
    refuse(words, *split)
    refuse(words, "gather-videos", done.videos, "-o", tmp_path / "other.json")
    refuse(words, "compare", done.videos, done.file)
    refuse(
        words,
        *("encode-anchor", "--frames", done.videos, "--settings", '{"codec": "x264", "qualities": [30]}'),
        *("--quality", 30, "--experiment", "x", "--stream", tmp_path / "x.264", "-o", tmp_path / "x.json"),
    )


def test_a_model_of_many_does_not_compress_one(done: Chain, tmp_path: Path, refuse: Callable[..., None]) -> None:
    for name in ("d-nerv", "d-nerv-baseline"):
        refuse(
            f"{name} is a model of many videos, and compress makes one of each; .*an experiment",
            *("compress", done.folder / "six.npy", tmp_path / "x.bnv", "--bpp", 1, "--model", name),
        )


# --- decoding --------------------------------------------------------------------------------------------------


def test_videos_that_are_not_in_the_file(done: Chain, tmp_path: Path, refuse: Callable[..., None]) -> None:
    decode = ("decode", done.file, "-o", tmp_path / "x.npy", "--video")
    refuse(r"x\.bnv has no video 'nin': did you mean 'nine'\?", *decode, "nin")
    refuse(r"x\.bnv has no video 'zzzzzzzz': valid: four, nine, six", *decode, "zzzzzzzz")
    refuse("has frames 0 to 5, none of which is asked for", *decode, "six", "--frames", "6:9")
    for output in ("x.mp4", "x.mkv", "x.y4m", "folder"):
        refuse("holds 3 videos; say which with --video", "decode", done.file, "-o", tmp_path / output)


def test_a_file_of_one_video_has_no_names(tmp_path: Path, refuse: Callable[..., None]) -> None:
    from tests.make_file import main

    main(tmp_path / "one.bnv", tmp_path / "one.npy")
    words = r"one\.bnv has no video 'six': it is of one video; leave --video out"
    refuse(words, "decode", tmp_path / "one.bnv", "--video", "six", "-o", tmp_path / "x.npy")


def test_damaged_files_of_many(done: Chain, tmp_path: Path, refuse: Callable[..., None]) -> None:
    good, path = done.file.read_bytes(), tmp_path / "x.bnv"
    inside = good.index((done.folder / "keyframes.bin").read_bytes())
    for data in (good[:-1], good[: inside + 9], good[: inside + 40] + b"\x00\xff" + good[inside + 42 :]):
        path.write_bytes(data)
        for arguments in (("decode", path, "--video", "six", "-o", tmp_path / "x.npy"), ("info", path)):
            refuse("damaged|truncated|ends", *arguments)


def test_frames_of_one_video_are_not_those_of_the_file(
    done: Chain, tmp_path: Path, refuse: Callable[..., None]
) -> None:
    report = done.folder / "encode.json"
    refuse(
        "the two videos differ in size: the reference has 19 frames of 12x16, the test has 6 frames",
        *("evaluate", "--frames", done.videos, "--file", done.file, "--decoded", done.folder / "six.npy"),
        *("--encode-report", report, "--decode-report", report, "--train-log", done.folder / "train.jsonl"),
        *("--identity", json.dumps(done.identity), "-o", tmp_path / "q.json", "--frames-csv", tmp_path / "f.csv"),
    )
