"""Collections: what is gathered, what is refused, and that thousands of videos are read with few open files."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from boostnerv.errors import UserError
from boostnerv.evaluation.measure import measure
from boostnerv.files import sha256_of_value
from boostnerv.video.collections import OpenCollection, gather, open_collection
from boostnerv.video.frames import Pixels, open_frames, write_frames
from boostnerv.video.patches import split, split_patches

from .conftest import noise
from .many import numbered, write_many

GIVEN = ((0.4519, 0.4505, 0.4519), (0.2434, 0.2547, 0.2958))


def video(folder: Path, name: str, pixels: Pixels, dataset: str = "d") -> Path:
    write_frames(pixels, folder / f"{name}.npy", dataset=dataset, video=name, fps=30)
    return folder / f"{name}.json"


def patched(folder: Path, name: str, pixels: Pixels, height: int, width: int) -> Path:
    whole = open_frames(video(folder, name, pixels))
    output = folder / f"{name}-{height}x{width}.npy"
    split_patches(whole, height, width, output)
    return output.with_suffix(".json")


def test_what_is_gathered(tmp_path: Path) -> None:
    pixels = {"b": noise(5, 4, 6, seed=1), "a": noise(3, 4, 6, seed=2)}
    paths = [video(tmp_path / "frames", name, each) for name, each in pixels.items()]
    seen: list[int] = []
    collection = gather(paths, tmp_path / "sets" / "d.json", None, lambda done, note="": seen.append(done))
    assert seen == [1, 2]
    assert [(each.name, each.frames, each.fps) for each in collection.videos] == [("b", 5, 30), ("a", 3, 30)]
    assert [each.manifest for each in collection.videos] == ["../frames/b.json", "../frames/a.json"]
    hashes = [open_frames(path).manifest.pixels_sha256 for path in paths]
    assert [each.pixels_sha256 for each in collection.videos] == hashes
    assert [each.whole_sha256 for each in collection.videos] == hashes
    assert collection.pixels_sha256 == sha256_of_value([["b", hashes[0]], ["a", hashes[1]]])
    assert (collection.dataset, collection.height, collection.width) == ("d", 4, 6)
    assert (collection.rows, collection.columns, collection.computed) == (1, 1, True)
    every = np.concatenate([each.reshape(-1, 3) for each in pixels.values()]) / 255
    np.testing.assert_allclose(collection.mean, every.mean(0), atol=5.1e-5)
    np.testing.assert_allclose(collection.std, every.std(0), atol=5.1e-5)
    opened = open_collection(tmp_path / "sets" / "d.json")
    assert opened.manifest == collection
    assert (opened.lengths, opened.height, opened.width, opened.rows, opened.columns) == ((5, 3), 4, 6, 1, 1)
    for number, name in enumerate(pixels):
        np.testing.assert_array_equal(opened.patch(number, 0), pixels[name])
        np.testing.assert_array_equal(opened.frame(number, 2), pixels[name][2])


@settings(max_examples=30)
@given(
    lengths=st.lists(st.integers(1, 4), min_size=1, max_size=3),
    rows=st.integers(1, 3),
    columns=st.integers(1, 3),
    part=st.builds(slice, st.none() | st.integers(0, 4), st.none() | st.integers(0, 5), st.sampled_from([None, 1, 2])),
)
def test_whole_frames_are_put_together(
    tmp_path_factory: pytest.TempPathFactory, lengths: list[int], rows: int, columns: int, part: slice
) -> None:
    folder = tmp_path_factory.mktemp("c")
    pixels = [noise(length, 2 * rows, 3 * columns, seed=number) for number, length in enumerate(lengths)]
    paths = [patched(folder, f"v{number}", each, 2, 3) for number, each in enumerate(pixels)]
    collection = gather(paths, folder / "c.json", GIVEN)
    assert (collection.height, collection.width) == (2 * rows, 3 * columns)
    assert (collection.rows, collection.columns) == (rows, columns)
    opened = open_collection(folder / "c.json")
    assert opened.lengths == tuple(lengths)
    for number, whole in enumerate(pixels):
        frames = opened.frames_of(number)
        assert (frames.shape, frames.size, frames.ndim, frames.dtype) == (whole.shape, whole.size, 4, whole.dtype)
        np.testing.assert_array_equal(frames[part], whole[part])
        np.testing.assert_array_equal(opened.frame(number, len(whole) - 1), whole[-1])
        for patch, expected in enumerate(split(whole, rows, columns)):
            view = opened.patch(number, patch)
            np.testing.assert_array_equal(view, expected)
            assert not view.flags.writeable
        whole_sha256 = open_frames(folder / f"v{number}.json").manifest.pixels_sha256
        assert collection.videos[number].whole_sha256 == whole_sha256
        assert collection.videos[number].pixels_sha256 == open_frames(paths[number]).manifest.pixels_sha256


def test_whole_frames_are_measured_as_frames(tmp_path: Path) -> None:
    pixels = noise(3, 8, 12)
    gather([patched(tmp_path, "v", pixels, 4, 6)], tmp_path / "c.json", GIVEN)
    frames = open_collection(tmp_path / "c.json").frames_of(0)
    assert len(frames) == 3
    assert measure(pixels, frames).psnr_db == pytest.approx(90)


# --- statistics -------------------------------------------------------------------------------------------


def test_all_videos_have_the_name_of_the_data_set_unless_one_of_them_has(tmp_path: Path) -> None:
    frames = np.zeros((2, 4, 6, 3), np.uint8)
    for name in ("a", "d"):
        write_frames(frames, tmp_path / f"{name}.npy", dataset="d", video=name)
    found = [gather([tmp_path / f"{name}.json" for name in names], tmp_path / "set.json") for names in ("a", "ad")]
    assert [collection.video for collection in found] == ["d", "d-all"]


def test_statistics_of_patches_are_those_of_the_whole(tmp_path: Path) -> None:
    pixels = noise(4, 6, 8)
    whole = gather([video(tmp_path, "v", pixels)], tmp_path / "whole.json")
    cut = gather([patched(tmp_path, "v", pixels, 3, 2)], tmp_path / "cut.json")
    assert (whole.mean, whole.std) == (cut.mean, cut.std)
    assert whole.pixels_sha256 != cut.pixels_sha256
    assert whole.videos[0].whole_sha256 == cut.videos[0].whole_sha256


def test_statistics_that_are_given_are_kept(tmp_path: Path) -> None:
    collection = gather([video(tmp_path, "v", noise(2, 4, 4))], tmp_path / "c.json", GIVEN)
    assert (collection.mean, collection.std, collection.computed) == (*GIVEN, False)


def test_statistics_are_exact_for_large_blocks(tmp_path: Path) -> None:
    """Half of 40 MB is black, half white: read in several blocks, and no sum of them rounds."""
    pixels = np.zeros((40, 512, 700, 3), np.uint8)
    pixels[20:] = 255
    collection = gather([video(tmp_path, "v", pixels)], tmp_path / "c.json")
    assert (collection.mean, collection.std) == ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


def test_flat_videos_have_a_deviation_to_divide_by(tmp_path: Path) -> None:
    collection = gather([video(tmp_path, "v", np.full((2, 4, 4, 3), 51, np.uint8))], tmp_path / "c.json")
    assert (collection.mean, collection.std) == ((0.2, 0.2, 0.2), (1e-4, 1e-4, 1e-4))


# --- what does not fit ------------------------------------------------------------------------------------


def test_videos_that_do_not_fit_together(tmp_path: Path) -> None:
    first = video(tmp_path, "first", noise(2, 4, 6))
    output = tmp_path / "c.json"
    for paths, words in (
        ([], "a collection needs one video or more"),
        ([first, video(tmp_path, "tall", noise(2, 8, 6))], "'tall' has frames of 8×6, but 'first' has 4×6; one model"),
        (
            [first, patched(tmp_path, "cut", noise(2, 4, 6), 2, 2)],
            "'cut' is cut into 2×3 patches, but 'first' into 1×1",
        ),
        ([first, video(tmp_path, "far", noise(2, 4, 6), "e")], "'far' is of data set 'e', but 'first' is of 'd'"),
        ([first, video(tmp_path, "other", noise(2, 4, 6)), first], "video 'first' stands twice"),
        ([first, tmp_path / "missing.json"], "missing.json does not exist"),
        ([first, video(tmp_path, "c", noise(2, 4, 6))], "c.json is also the manifest of one of its videos"),
    ):
        with pytest.raises(UserError, match=words):
            gather(paths, output)
        assert not output.exists() or open_frames(output).manifest.video == "c"


def test_files_that_changed_are_noticed_when_they_are_opened(tmp_path: Path) -> None:
    paths = [video(tmp_path, name, noise(2, 4, 6, seed)) for seed, name in enumerate("abc")]
    gather(paths, tmp_path / "set.json", GIVEN)
    video(tmp_path, "a", noise(2, 4, 6, seed=9))
    (tmp_path / "b.npy").unlink()
    opened = open_collection(tmp_path / "set.json")
    with pytest.raises(UserError, match=r"video 'a' in .*a.json has changed since collection .*set.json was gathered"):
        opened.patch(0, 0)
    with pytest.raises(UserError, match=r"b.npy are missing"):
        opened.frame(1, 0)
    np.testing.assert_array_equal(opened.frame(2, 1), noise(2, 4, 6, seed=2)[1])
    # The same bytes in another shape are another video.
    before = open_frames(paths[2]).manifest.pixels_sha256
    video(tmp_path, "c", noise(2, 4, 6, seed=2).reshape(2, 6, 4, 3))
    assert open_frames(paths[2]).manifest.pixels_sha256 == before
    with pytest.raises(UserError, match="video 'c' in .* has changed"):
        open_collection(tmp_path / "set.json").frame(2, 0)


def test_damaged_collections(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"collection .*c.json does not exist"):
        open_collection(tmp_path / "c.json")
    (tmp_path / "c.json").write_text('{"dataset": "d", "videos": []}')
    with pytest.raises(UserError, match=r"collection .*c.json: 'videos'.*'height' is missing"):
        open_collection(tmp_path / "c.json")


# --- many videos ------------------------------------------------------------------------------------------


READ_ALL = """
import os, resource, sys
from pathlib import Path
import numpy as np
from boostnerv.video.collections import gather, open_collection
from tests.video.many import numbered, write_many

folder, count, limit = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
paths = write_many(folder, [1 + number % 3 for number in range(count)], 2, 3)
resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
gather(paths, folder / "c.json")
opened = open_collection(folder / "c.json")
before = len(os.listdir("/proc/self/fd"))
most = 0
starts = np.cumsum([0, *opened.lengths])
for number in [*range(count), *np.random.default_rng(0).permutation(count).tolist()]:
    expected = numbered(int(starts[number]), opened.lengths[number], 2, 3)
    assert np.array_equal(opened.patch(number, 0), expected)
    assert np.array_equal(opened.frames_of(number)[:], expected)
    if number % 10 == 0:
        most = max(most, len(os.listdir("/proc/self/fd")) - before)
print(before, most)
"""


def read_all(folder: Path, count: int, limit: int) -> tuple[int, int]:
    """Read many videos with so many files that may be open; open files before, and at most more."""
    command = [sys.executable, "-c", READ_ALL, str(folder), str(count), str(limit)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    before, most = map(int, done.stdout.split())
    return before, most


def test_more_videos_than_files_may_be_open(tmp_path: Path) -> None:
    before, most = read_all(tmp_path, 300, 100)
    assert before < 20
    assert 10 < most <= 51


def test_no_more_files_are_open_than_are_worth_it(tmp_path: Path) -> None:
    _, most = read_all(tmp_path, 400, 1000)
    assert 200 < most <= 257


def test_opening_a_collection_opens_no_video(tmp_path: Path) -> None:
    paths = write_many(tmp_path, [2, 3], 2, 3)
    gather(paths, tmp_path / "c.json", GIVEN)
    for path in (*paths, *(path.with_suffix(".npy") for path in paths)):
        path.unlink()
    opened = open_collection(tmp_path / "c.json")
    assert isinstance(opened, OpenCollection)
    assert opened.lengths == (2, 3)
    assert opened.frames_of(1).shape == (3, 2, 3, 3)


def test_the_pixels_of_these_tests_are_numbered(tmp_path: Path) -> None:
    paths = write_many(tmp_path, [2, 3], 2, 3)
    for path in paths:
        open_frames(path).verify()
    np.testing.assert_array_equal(open_frames(paths[1]).pixels, numbered(2, 3, 2, 3))
    assert numbered(5, 1, 2, 3)[0, 1, 2].tolist() == [0, 0, 5 * 6 + 5]
    assert numbered(700_000, 1, 4, 5)[0, 0, 0].tolist() == list((700_000 * 20).to_bytes(3))
