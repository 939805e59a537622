"""Experiments on own videos, checked before anything of them runs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from boostnerv import files
from boostnerv.config import Experiment, parse
from boostnerv.errors import UserError
from boostnerv.steps import check, is_checked, planned
from tests.conftest import Outcome
from tests.video.conftest import LOSSLESS, ffmpeg, noise, synthetic, write_clip, write_images

PIXELS = noise(12, 24, 40)


def experiment(*own_videos: Path, total_m: float = 0.06, **settings: Any) -> Experiment:
    values = {
        "name": "x",
        "own_videos": [{"path": str(path)} for path in own_videos],
        "strides": [2, 2],
        "models": [{"name": "hnerv-boost", "total_m": [total_m]}],
        "training": {"epochs": 2, "loss": {"l1": 1.0}},
        "finetuning": None,
        **settings,
    }
    return parse(Experiment, values, "experiment x")


def test_own_videos_are_planned_as_their_sources_are(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.mkv", PIXELS, *LOSSLESS)
    folder = write_images(tmp_path / "images", PIXELS)
    rows = check(experiment(clip, folder), None)
    assert [(row["frames"], row["height"], row["width"]) for row in rows] == [(12, 24, 40)] * 2
    assert [row["frames_estimated"] for row in rows] == [True, False]
    first = check(experiment(clip, preparation={"first_frame": 2, "frame_count": 5}), None)[0]
    assert (first["frames"], first["frames_estimated"]) == (5, False)


@pytest.mark.parametrize("total_m", [0.001, 0.0001])
def test_too_few_parameters_name_the_video(total_m: float, tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.mkv", PIXELS, *LOSSLESS)
    sentence = r"video clip-\w{6}: .* M parameters are too few .* on 12 frames of 24×40.*choose a larger size"
    with pytest.raises(UserError, match=sentence):
        check(experiment(clip, total_m=total_m), None)


def test_an_estimate_refuses_nothing_that_fits(tmp_path: Path) -> None:
    """Its sound is 50 times as long as its pictures: so many embeddings would leave nothing for the decoder."""
    path = tmp_path / "long.mkv"
    picture = ("-f", "lavfi", "-i", "testsrc2=size=40x24:rate=10:duration=1.2")
    ffmpeg(*picture, "-f", "lavfi", "-i", "sine=duration=60", "-c:v", "libx264", "-c:a", "flac", path)
    (row,) = check(experiment(path), None)
    assert (row["frames"], row["frames_estimated"]) == (12, False)
    (row,) = check(experiment(path, total_m=3), None)
    assert (row["frames"], row["frames_estimated"]) == (600, True)


def test_more_frames_than_there_are(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.mkv", PIXELS, *LOSSLESS)
    with pytest.raises(UserError, match=r"clip\.mkv has 12 frames, but 13 frames from frame 0 on are asked for"):
        check(experiment(clip, preparation={"frame_count": 13}), None)
    with pytest.raises(UserError, match=r"clip\.mkv has 10 frames per second, fewer than the 12 that are asked for"):
        check(experiment(clip, preparation={"fps": 12}), None)


def test_planes_that_a_source_has_not(tmp_path: Path) -> None:
    wanted: dict[str, Any] = {"evaluation": {"yuv420": True}}
    with pytest.raises(UserError, match=r"clip\.mkv is gbrp, not YUV 4:2:0"):
        check(experiment(write_clip(tmp_path / "clip.mkv", PIXELS, *LOSSLESS), **wanted), None)
    good = synthetic(tmp_path / "good.mkv", "-c:v", "libx264", "-pix_fmt", "yuv420p")
    assert len(check(experiment(good, **wanted), None)) == 1


def test_missing_videos_are_said_at_once_or_left_out(
    tmp_path: Path, boost: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    clip = write_clip(tmp_path / "clip.mkv", PIXELS, *LOSSLESS)
    monkeypatch.chdir(tmp_path)
    one = experiment(Path("a.mp4"), Path("b"), clip)
    sentence = (
        rf"there is no file or folder a\.mp4, b in {tmp_path}, the source of video a-\w+, b-\w+; correct its path"
    )
    with pytest.raises(UserError, match=sentence):
        check(one, None)
    found = planned(one, None, allow_missing=True)
    assert [row["video"] for row in found.rows] == [one.video_specs()[2].name]
    assert found.unknown == [video.name for video in one.video_specs()[:2]]
    Path("x.yaml").write_text(yaml.safe_dump(one.model_dump(mode="json", exclude_unset=True)))
    outcome = boost("check", "x.yaml", "-o", "plan.json")
    assert (outcome.code, outcome.err.count("\n")) == (2, 1)
    assert outcome.err.startswith("boostnerv: there is no file or folder a.mp4")
    assert not Path("plan.json").exists()
    outcome = boost("check", "x.yaml", "--allow-missing")
    assert outcome.code == 0
    assert "about 12 frames of 24×40" in outcome.out
    assert "not checked: a-" in outcome.out


def test_a_plan_holds_until_a_source_changes(tmp_path: Path) -> None:
    clip, plan = write_clip(tmp_path / "clip.mkv", PIXELS, *LOSSLESS), tmp_path / "plan.json"
    one = experiment(clip)

    def holds(other: Experiment = one) -> bool:
        return is_checked(other, other.video_specs(), "own", plan)

    assert not holds()
    rows = check(one, plan)
    assert files.read_json(plan)["runs"] == rows
    assert holds()
    assert not holds(experiment(clip, total_m=0.07))
    write_clip(clip, PIXELS[:6], *LOSSLESS)
    assert not holds()
    check(one, plan)
    clip.unlink()
    assert not holds()
