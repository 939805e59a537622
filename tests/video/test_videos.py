"""One video and a collection answer the same questions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from boostnerv.errors import UserError
from boostnerv.video.collections import gather, open_videos
from boostnerv.video.frames import write_frames
from boostnerv.video.patches import split_patches
from boostnerv.video.videos import MemberVideo, Videos
from tests.video.conftest import Pixels, noise


def written(folder: Path) -> dict[str, Pixels]:
    """Frames files ``a`` of five frames and ``b`` of three, and their manifests."""
    pixels = {"a": noise(5, 8, 12), "b": noise(3, 8, 12, seed=1)}
    for name, frames in pixels.items():
        write_frames(frames, folder / f"{name}.npy", dataset="set", video=name, fps=10.0 + len(frames))
    return pixels


def test_one_video(tmp_path: Path) -> None:
    pixels = written(tmp_path)["a"]
    video: Videos = open_videos(tmp_path / "a.json", many=False)
    assert (video.members, video.lengths, video.grid, video.is_cut, video.statistics) == ((), (5,), (1, 1), False, None)
    for frames in (video.pixels[:], video.array(), video.patch(0, 0)):
        np.testing.assert_array_equal(frames, pixels)
    assert isinstance(video.array(), np.memmap)
    for number in ((1, 0), (0, 1)):
        with pytest.raises(IndexError, match="is one video in one patch"):
            video.patch(*number)


@pytest.mark.parametrize("cut", [False, True])
def test_a_collection(cut: bool, tmp_path: Path) -> None:
    pixels, manifests = written(tmp_path), [tmp_path / "a.json", tmp_path / "b.json"]
    if cut:
        for name in pixels:
            video = open_videos(tmp_path / f"{name}.json", many=False)
            split_patches(video, 4, 6, tmp_path / f"{name}-cut.npy")  # type: ignore[arg-type]
        manifests = [tmp_path / f"{name}-cut.json" for name in pixels]
    described = gather(manifests, tmp_path / "set.json")
    videos: Videos = open_videos(tmp_path / "set.json", many=True)
    hashes = [member.whole_sha256 for member in described.videos]
    assert videos.members == (
        MemberVideo("a", range(5), 15.0, hashes[0]),
        MemberVideo("b", range(5, 8), 13.0, hashes[1]),
    )
    assert (videos.lengths, videos.grid, videos.is_cut) == ((5, 3), (2, 2) if cut else (1, 1), cut)
    assert videos.statistics == (described.mean, described.std)
    whole = np.concatenate([pixels["a"], pixels["b"]])
    np.testing.assert_array_equal(videos.pixels[:], whole)
    np.testing.assert_array_equal(videos.array(), whole)
    corner = pixels["b"][:, 4:, 6:] if cut else pixels["b"]
    np.testing.assert_array_equal(videos.patch(1, 3 if cut else 0), corner)
    manifest = videos.manifest
    assert (manifest.frames, manifest.height, manifest.width, manifest.fps) == (8, 8, 12, 15.0)
    assert (manifest.timestamps_s, manifest.source, manifest.source_sha256, manifest.preparation) == (None,) * 4


def test_the_other_kind_is_refused(tmp_path: Path) -> None:
    written(tmp_path)
    gather([tmp_path / "a.json"], tmp_path / "set.json")
    with pytest.raises(UserError, match="describes many videos, and one is needed here"):
        open_videos(tmp_path / "set.json", many=False)
    with pytest.raises(UserError, match="describes one video, and many are needed here"):
        open_videos(tmp_path / "a.json", many=True)
