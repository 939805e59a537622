"""Own videos under Snakemake: what is wrong with them ends a run before its first job, and names are only names."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from boostnerv.config import OwnVideo, own_video
from tests.video.conftest import LOSSLESS, noise, synthetic, write_clip
from tests.workflow.test_checks import QUIET, ended
from tests.workflow.test_dag import experiment, jobs, make_clip, snakemake

NOTHING_TRAINED = {"models": [], "anchors": [{"codec": "x264", "qualities": [30]}]}
# Every character that means something to Snakemake, YAML, shells or ffmpeg.
ODD = "a{frame} {video}{{x}} b'\"$HOME*[1]#%d;&~!,:=é\\"


def own(folder: Path, *paths: str, **changes: object) -> None:
    videos = [{"path": path, "name": f"v{index}"} for index, path in enumerate(paths)]
    experiment(folder, own_videos=videos, **{**NOTHING_TRAINED, **changes})


def frames(video: str) -> str:
    return f"data/frames/own/{video}/source-ffmpeg.json"


def test_a_missing_video_is_in_the_plan_and_ends_a_run(tmp_path: Path) -> None:
    make_clip(tmp_path)
    own(tmp_path, "clip", "no where.mp4")
    sentence = f"there is no file or folder no where.mp4 in {tmp_path}, the source of video v1; correct its path"
    shown = snakemake(tmp_path, "--dry-run")
    assert shown.returncode == 0, shown.stderr
    assert (shown.stdout + shown.stderr).count(sentence) == 1
    assert jobs(tmp_path)["downloaded_source"] == 1
    assert sentence in ended(snakemake(tmp_path, *QUIET))
    assert not any((tmp_path / name).exists() for name in ("data", "logs", "results"))
    # What needs it not runs, and frames need no source once they are there.
    done = snakemake(tmp_path, frames("v0"))
    assert done.returncode == 0, done.stderr
    (tmp_path / "clip").rename(tmp_path / "elsewhere")
    shown = snakemake(tmp_path, "--dry-run", "results/tiny/anchors/v0/x264-q30.json")
    assert shown.returncode == 0, shown.stderr
    assert "encode_anchor" in shown.stdout + shown.stderr
    assert "extract_frames" not in shown.stdout + shown.stderr


@pytest.mark.parametrize(
    ("options", "changes", "sentence"),
    [
        (("-vf", "setfield=tff", "-flags", "+ildct+ilme"), {}, "own.mkv is interlaced"),
        (("-vf", "setsar=4/3"), {}, "own.mkv has pixels of aspect 4:3, not square"),
        ((), {"models": [{"name": "hnerv-boost", "total_m": [0.001]}]}, "video v0: 0.001 M parameters are too few"),
        ((), {"preparation": {"frame_count": 7}}, "own.mkv has 6 frames, but 7 frames from frame 0 on"),
    ],
)
def test_what_cannot_be_made_into_frames_ends_a_run_before_its_first_job(
    options: tuple[str, ...], changes: dict, sentence: str, tmp_path: Path
) -> None:
    synthetic(tmp_path / "own.mkv", *options, "-c:v", "libx264")
    own(tmp_path, "own.mkv", **changes)
    assert sentence in ended(snakemake(tmp_path, *QUIET))
    assert not (tmp_path / "data").exists()


def test_a_source_that_changed_is_checked_again(tmp_path: Path) -> None:
    write_clip(tmp_path / "own.mkv", noise(6, 24, 40), *LOSSLESS)
    own(tmp_path, "own.mkv")
    assert snakemake(tmp_path, frames("v0")).returncode == 0
    assert json.loads((tmp_path / "results/tiny/plan.json").read_text())["sources"]["v0"] is not None
    (tmp_path / "own.mkv").write_bytes(b"no video any more")
    assert "own.mkv" in ended(snakemake(tmp_path, frames("v0"), *QUIET))


@pytest.mark.parametrize(
    ("videos", "sentence"),
    [
        ([{"path": "clip"}, {"path": "clip"}], "own video 'clip' stands twice; remove one, or give each a name"),
        ([{"path": "clip"}, {"path": "./clip"}], "own video 'clip' stands twice"),
        ([{"path": "a", "name": "v"}, {"path": "b", "name": "v"}], "the name 'v' is that of 2 own videos"),
    ],
)
def test_a_video_or_a_name_twice(videos: list[dict[str, str]], sentence: str, tmp_path: Path) -> None:
    experiment(tmp_path, own_videos=videos)
    assert sentence in ended(snakemake(tmp_path, "--dry-run", *QUIET))


def test_names_with_any_character(tmp_path: Path) -> None:
    """Of files, folders and images; one that changes is noticed whatever it is called."""
    pixels = noise(3, 24, 40)
    write_clip(tmp_path / "plain.mkv", pixels, *LOSSLESS).rename(tmp_path / f"-{ODD}.mkv")
    folder = tmp_path / f"{ODD}-folder"
    folder.mkdir()
    images = [folder / f"{ODD}{index}.png" for index in range(3)]
    for path, picture in zip(images, pixels, strict=True):
        Image.fromarray(picture).save(path)
    own(tmp_path, f"-{ODD}.mkv", folder.name)
    targets = [frames("v0"), frames("v1")]
    done = snakemake(tmp_path, *targets)
    assert done.returncode == 0, done.stdout + done.stderr
    for target in targets:
        np.testing.assert_array_equal(np.load((tmp_path / target).with_suffix(".npy")), pixels)
    assert _again(tmp_path, targets) == set()
    Image.fromarray(pixels[0]).save(images[2])
    assert _again(tmp_path, targets) == {"v1"}
    os.utime(tmp_path / f"-{ODD}.mkv", (1, 1))
    assert _again(tmp_path, targets) == {"v0", "v1"}
    (tmp_path / f"-{ODD}.mkv").unlink()
    (tmp_path / frames("v0")).unlink()
    assert "the source of video v0" in ended(snakemake(tmp_path, *targets, *QUIET))


def test_images_whose_names_are_long_or_not_utf8(tmp_path: Path) -> None:
    pixels = noise(3, 24, 40)
    folder = tmp_path / "clip"
    folder.mkdir()
    for index, picture in enumerate(pixels):
        name = b"\xff" + b"n" * 240 + b"%d.png" % index
        Image.fromarray(picture).save(folder / "x.png")
        (folder / "x.png").rename(folder / os.fsdecode(name))
    long = "n" * 251
    write_clip(tmp_path / "short.mkv", pixels, *LOSSLESS).rename(tmp_path / f"{long}.mkv")
    videos = [{"path": "clip", "name": "v0"}, {"path": f"{long}.mkv"}]
    experiment(tmp_path, own_videos=videos, **NOTHING_TRAINED)
    named = own_video(OwnVideo(path=f"{long}.mkv")).name
    targets = [frames("v0"), frames(named)]
    done = snakemake(tmp_path, *targets)
    assert done.returncode == 0, done.stdout + done.stderr
    for target in targets:
        np.testing.assert_array_equal(np.load((tmp_path / target).with_suffix(".npy")), pixels)
    assert _again(tmp_path, targets) == set()


def _again(folder: Path, targets: list[str]) -> set[str]:
    """Videos whose frames would be extracted again."""
    done = snakemake(folder, "--dry-run", *targets)
    assert done.returncode == 0, done.stdout + done.stderr
    lines = (done.stdout + done.stderr).splitlines()
    return {line.split("video=")[1].split(",")[0].strip() for line in lines if "wildcards: video=" in line}
