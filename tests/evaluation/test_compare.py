"""Files against their reference: the same values as of arrays, whatever the container, and clear refusals."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Generator
from pathlib import Path

import numpy as np
import pytest
import torch

from boostnerv import steps
from boostnerv.codec.container.bitstream import Bitstream, write
from boostnerv.codec.container.bitstream import Video as HeaderVideo
from boostnerv.codec.decoder import VideoFile
from boostnerv.codec.encoder import Quantized, encode_segment, snap
from boostnerv.config import ExtractJob, PathSource, Preparation, VideoSpec
from boostnerv.errors import BitstreamError, UserError
from boostnerv.evaluation.compare import (
    AS_THEY_ARE,
    Video,
    asked_colour,
    check_fit,
    colour_of,
    compare,
    open_video,
    rows_text,
    short_names,
    write_frame_values,
    write_rows,
)
from boostnerv.evaluation.measure import measure
from boostnerv.evaluation.metrics import Frames
from boostnerv.evaluation.vmaf import VmafMeter
from boostnerv.host.machine import Host
from boostnerv.video.frames import extract_frames, write_frames
from tests.conftest import Outcome
from tests.evaluation.videos import counting, moving
from tests.golden.streams import paths
from tests.models.tiny import tiny_model
from tests.video.conftest import LOSSLESS, ffmpeg, reference, synthetic, write_clip, write_images

BNV, _ = paths("hnerv-boost", version=0)
LOSSY = ("-c:v", "libx264", "-crf", "35", "-pix_fmt", "yuv420p")

HOST = Host("cpu", threads=1)


@pytest.fixture(scope="module")
def pixels() -> Frames:
    return moving(6, 162, 176)


@pytest.fixture(scope="module")
def bnv_frames(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Frames of BNV as this machine decodes them: those of another may differ by a level."""
    path = tmp_path_factory.mktemp("decoded") / "hnerv-boost.npy"
    np.save(path, np.stack(list(VideoFile(BNV).frames())))
    return path


@pytest.fixture(scope="module")
def lossless(pixels: Frames, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_clip(tmp_path_factory.mktemp("lossless") / "clip.mp4", pixels, *LOSSLESS)


def test_a_lossless_file_equals_its_frames(pixels: Frames, lossless: Path, tmp_path: Path) -> None:
    row = compare(open_video(write_images(tmp_path / "frames", pixels)), open_video(lossless), "clip.mp4")
    assert (row.kind, row.codec, row.frames, row.height, row.width) == ("video", "h264", 6, 162, 176)
    assert row.file_bytes == lossless.stat().st_size
    assert row.bpp == pytest.approx(8 * row.file_bytes / (6 * 162 * 176))
    assert row.measured.frame_psnr_db == (90.0,) * 6
    assert (row.measured.psnr_db, row.measured.psnr_of_mean_mse_db, row.measured.ms_ssim) == (90.0, 90.0, 1.0)


def test_a_lossy_file_has_the_quality_of_its_decoded_frames(pixels: Frames, lossless: Path, tmp_path: Path) -> None:
    lossy = write_clip(tmp_path / "lossy.mkv", pixels, *LOSSY)
    seen: list[int] = []
    row = compare(open_video(lossless), open_video(lossy), "x", progress=lambda done, note="": seen.append(done))
    assert row.measured == measure(pixels, reference(lossy, tmp_path / "png"))
    assert 20 < row.measured.psnr_db < 50
    assert seen == [4, 6]


@pytest.mark.parametrize("name", ["hnerv-boost", "nerv-boost"])
def test_a_coded_network_equals_its_own_frames(name: str, tmp_path: Path) -> None:
    file, _ = paths(name, version=0)
    frames = np.stack(list(VideoFile(file).frames()))
    row = compare(open_video(write_images(tmp_path / "frames", frames)), open_video(file), file.name)
    assert (row.kind, row.codec, row.file_bytes) == ("bnv", name, file.stat().st_size)
    assert row.measured.frame_psnr_db == (90.0,) * 4
    assert row.measured.ms_ssim is None
    assert row.record()["ms_ssim_missing"] == row.measured.ms_ssim_missing
    assert "15x22" in str(row.measured.ms_ssim_missing)


def test_frames_are_the_same_in_every_form(pixels: Frames, lossless: Path, tmp_path: Path) -> None:
    write_frames(pixels, tmp_path / "x.npy", dataset="d", video="v")
    images = write_images(tmp_path / "images", pixels)
    test = open_video(write_clip(tmp_path / "lossy.mp4", pixels, *LOSSY))
    forms = [tmp_path / "x.json", tmp_path / "x.npy", images, lossless]
    assert len({compare(open_video(form), test, "lossy.mp4") for form in forms}) == 1


def test_frames_without_a_file_have_no_rate(pixels: Frames, lossless: Path, tmp_path: Path) -> None:
    changed = pixels.copy()
    changed[2] ^= 1
    np.save(tmp_path / "x.npy", changed)
    for path, kind, codec in (
        (write_images(tmp_path / "images", changed), "folder", "png"),
        (tmp_path / "x.npy", "frames", "none"),
    ):
        row = compare(open_video(lossless), open_video(path), "x")
        assert (row.kind, row.codec, row.file_bytes, row.bpp) == (kind, codec, None, None)
        assert row.measured == measure(pixels, changed)


def test_no_more_than_a_few_frames_are_read_ahead() -> None:
    alive: dict[str, int] = {"left": 0, "right": 0}
    apart: list[int] = []

    def video(name: str) -> Video:
        def frames() -> Generator[Frames]:
            for frame in counting(11, 8, 8):
                alive[name] += 1
                apart.append(abs(alive["left"] - alive["right"]))
                yield frame

        return Video(Path(name), "video", "h264", 8, 8, None, 100, frames)

    row = compare(video("left"), video("right"), "x")
    assert (row.frames, max(apart)) == (11, 4)


@pytest.fixture(scope="module")
def own_profile(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A 4:2:0 clip, its frames by a float profile, and a network that was coded from these."""
    folder = tmp_path_factory.mktemp("profile")
    clip = write_clip(folder / "clip.mp4", moving(4, 32, 48), "-c:v", "libx264", "-crf", "10", "-pix_fmt", "yuv420p")
    spec = VideoSpec(name="clip", source=PathSource(path=str(clip)))
    extract_frames(
        clip,
        ExtractJob(dataset="own", video=spec, preparation=Preparation(colour="bt709-float")),
        folder / "frames.npy",
    )
    model = tiny_model("hnerv", frames=4, height=32, width=48)
    assert model.spec.embedding_shape is not None
    embeddings = torch.zeros(4, *model.spec.embedding_shape)
    quantized = snap(Quantized.after_training(dict(model.decoder.named_parameters()), embeddings, 6))
    segment = encode_segment(model.architecture, model.spec, quantized)
    coded = write(Bitstream(HeaderVideo(4, 32, 48, 25.0, "bt709-float"), (segment,)))
    (folder / "coded.bnv").write_bytes(coded)
    return {"clip": clip, "frames": folder / "frames.json", "coded": folder / "coded.bnv"}


def test_the_profile_that_one_file_names_is_that_of_all(own_profile: dict[str, Path]) -> None:
    clip, frames, coded = own_profile.values()
    assert colour_of([clip, coded]) == colour_of([clip, frames]) == colour_of([coded, clip]) == "bt709-float"
    assert (colour_of([clip]), colour_of([clip], "bt601-float")) == ("ffmpeg-default", "bt601-float")
    prepared = Preparation.model_validate({"colour": colour_of([frames, clip])})
    row = compare(open_video(frames, preparation=prepared), open_video(clip, preparation=prepared), "clip")
    assert (row.measured.psnr_db, row.colour) == (90.0, "bt709-float")
    assert compare(open_video(frames), open_video(clip), "clip").measured.psnr_db < 60


def test_the_verb_decodes_the_reference_by_the_profile_of_the_file(own_profile: dict[str, Path]) -> None:
    by_clip, by_frames = (
        steps.compare(
            own_profile[name], [own_profile["coded"]], steps.ComparisonFiles(), steps.ComparisonChoice(), HOST
        )
        for name in ("clip", "frames")
    )
    assert by_clip == by_frames
    assert by_clip[0].record()["colour"] == "bt709-float"


def test_a_mix_of_profiles_is_refused(own_profile: dict[str, Path]) -> None:
    frames = own_profile["frames"]
    with pytest.raises(UserError, match=r"frames.json has frames by .*bt709-float, .*bnv by ffmpeg-default; compare"):
        colour_of([frames, BNV])
    with pytest.raises(UserError, match="by colour profile bt709-float, not bt601-float; ask for no other colour"):
        colour_of([frames, own_profile["clip"]], "bt601-float")


def test_the_colour_that_is_asked_for() -> None:
    assert asked_colour(None, AS_THEY_ARE) is None
    assert asked_colour("bt601-float", AS_THEY_ARE) == "bt601-float"
    prepared = Preparation(colour="bt709-float")
    assert asked_colour(None, prepared) == asked_colour("bt709-float", prepared) == "bt709-float"
    with pytest.raises(UserError, match="--colour bt601-float contradicts --prepare colour=bt709-float; give one of"):
        asked_colour("bt601-float", prepared)
    for preparation in (AS_THEY_ARE, prepared):
        with pytest.raises(UserError, match="--colour: .*bt709"):
            asked_colour("bt709", preparation)


# --- how videos become frames ---------------------------------------------------------------------------------

UNUSUAL = {
    "interlaced": ("-vf", "tinterlace=interleave_top", "-c:v", "libx264", "-flags", "+ildct+ilme"),
    "sample_aspect": ("-vf", "setsar=128/117", "-c:v", "ffv1"),
    "hdr": ("-vf", "setparams=color_trc=smpte2084", "-c:v", "libx264"),
}


@pytest.mark.parametrize("key", UNUSUAL)
def test_pixels_are_kept_as_they_are(key: str, tmp_path: Path) -> None:
    clip = synthetic(tmp_path / "a.mkv", *UNUSUAL[key])
    decoded = reference(clip, tmp_path / "png")
    np.save(tmp_path / "decoded.npy", decoded)
    (row,) = steps.compare(clip, [tmp_path / "decoded.npy"], steps.ComparisonFiles(), steps.ComparisonChoice(), HOST)
    assert (row.height, row.width) == (48, 64)
    assert set(row.measured.frame_psnr_db) == {90.0}
    assert len(row.measured.frame_psnr_db) == len(decoded) > 1


def test_a_preparation_is_of_videos_and_images(pixels: Frames, tmp_path: Path, boost: Callable[..., Outcome]) -> None:
    clip = write_clip(tmp_path / "a.mkv", pixels, "-vf", "setsar=2", *LOSSLESS)
    images = write_images(tmp_path / "images", pixels)
    np.save(tmp_path / "two.npy", pixels[1:3])
    part = ("--prepare", "first_frame=1", "--prepare", "frame_count=2", "--json")
    outcome = boost("compare", clip, images, tmp_path / "two.npy", *part)
    assert outcome.code == 0, outcome.err
    rows = json.loads(outcome.out)
    assert [(row["name"], row["frames"], row["psnr_db"]) for row in rows] == [("images", 2, 90.0), ("two.npy", 2, 90.0)]
    outcome = boost("compare", clip, images, "--prepare", "sample_aspect=square")
    assert outcome.code == 2
    assert outcome.err.endswith(
        "has frames of 162x352; give the frames that it was made from, or make them with --prepare\n"
    )
    outcome = boost("compare", clip, clip, "--prepare", "sample_aspect=refuse")
    assert (outcome.code, "a.mkv has pixels of aspect 2:1" in outcome.err) == (2, True)
    assert "add --prepare sample_aspect=square (scales the width) or --prepare sample_aspect=keep" in outcome.err
    for options, sentence in (
        (("--prepare", "frames=2"), "boostnerv: --prepare: unknown key 'frames'"),
        (("--prepare", "colour=bt709-float", "--colour", "bt601-float"), "--colour bt601-float contradicts --prepare"),
        (("--raw", "64x48"), "--raw 64x48 is not a layout; write it as WIDTHxHEIGHT,PIXEL_FORMAT,FPS"),
        (("--raw", "64x48,gray,25"), "--raw is the layout of headerless .yuv files, and none is given; leave it out"),
    ):
        outcome = boost("compare", clip, images, *options)
        assert outcome.code == 2
        assert sentence in outcome.err


def test_headerless_videos_have_the_layout_that_is_given(tmp_path: Path, boost: Callable[..., Outcome]) -> None:
    kinds = ("-c:v", "ffv1", "-pix_fmt", "yuv420p")
    clip, raw = synthetic(tmp_path / "a.mkv", *kinds), tmp_path / "a.yuv"
    ffmpeg("-i", clip, "-f", "rawvideo", raw)
    raw.with_name("b.YUV").write_bytes(raw.read_bytes())
    outcome = boost("compare", clip, raw, raw.with_name("b.YUV"), "--raw", "64x48,yuv420p,10", "--json")
    assert outcome.code == 0, outcome.err
    rows = json.loads(outcome.out)
    assert [(row["psnr_db"], row["frames"], row["file_bytes"]) for row in rows] == [(90.0, 6, raw.stat().st_size)] * 2
    outcome = boost("compare", raw, clip)
    assert outcome.code == 2
    assert "a.yuv has no header; give its layout with --raw WIDTHxHEIGHT,PIXEL_FORMAT,FPS" in outcome.err


# --- what does not fit ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("first", "second"), [(9, 6), (6, 9), (8, 4), (1, 4)])
def test_other_lengths_are_named_where_only_reading_tells(first: int, second: int, tmp_path: Path) -> None:
    longer = counting(9, 16, 16)
    one = open_video(write_clip(tmp_path / "one.mp4", longer[:first], *LOSSLESS))
    other = open_video(write_clip(tmp_path / "other.mp4", longer[:second], *LOSSLESS))
    assert one.expected is other.expected is None
    frames = {1: "1 frame", **{count: f"{count} frames" for count in range(2, 10)}}
    sentence = (
        rf"other.mp4 has {frames[second]} of 16x16, but the reference .*one.mp4 has {frames[first]} of 16x16; give"
    )
    with pytest.raises(UserError, match=sentence):
        compare(one, other, "x")


def test_what_does_not_fit_is_known_before_a_frame_is_decoded(lossless: Path, bnv_frames: Path) -> None:
    def never() -> Generator[Frames]:
        raise AssertionError("nothing is to be decoded")
        yield

    six, four = (Video(Path(str(n)), "bnv", "nerv", 8, 8, n, 9, never) for n in (6, 4))
    with pytest.raises(UserError, match="4 has 4 frames of 8x8, but the reference 6 has 6 frames of 8x8; give"):
        compare(six, four, "x")
    with pytest.raises(UserError, match=r"hnerv-boost.bnv has 4 frames of 15x22, but .*mp4 has frames of 162x176"):
        check_fit(open_video(lossless), open_video(BNV))
    check_fit(open_video(bnv_frames), open_video(BNV))


def test_files_that_cannot_be_opened(bnv_frames: Path, tmp_path: Path) -> None:
    damaged = bytearray(BNV.read_bytes())
    damaged[-10] ^= 4
    (tmp_path / "damaged.bnv").write_bytes(damaged)
    with pytest.raises(BitstreamError, match="damaged"):
        open_video(tmp_path / "damaged.bnv")
    np.save(tmp_path / "grey.npy", np.zeros((2, 4, 4), np.uint8))
    (tmp_path / "cut.npy").write_bytes(bnv_frames.read_bytes()[:200])
    (tmp_path / "empty").mkdir()
    for name, sentence in {
        "none.bnv": "cannot read .*none.bnv",
        "none.mp4": "no video file .*none.mp4",
        "none.npy": "no frames .*none.npy; check the path",
        "none.json": "none.json does not exist",
        "grey.npy": r"grey.npy holds uint8 \[2, 4, 4\], not frames",
        "cut.npy": "cut.npy cannot be opened",
        "empty": "empty holds no image",
        "x.txt": r"there is no video file .*x\.txt; check the path",
    }.items():
        with pytest.raises(UserError, match=sentence):
            open_video(tmp_path / name)


# --- rows -----------------------------------------------------------------------------------------------------


def test_names_tell_files_apart() -> None:
    assert short_names([Path("a/video.bnv"), Path("b/video.bnv"), Path("b/x.mp4")]) == (
        "a/video.bnv",
        "b/video.bnv",
        "x.mp4",
    )
    assert short_names([Path("video.bnv"), Path("/video.bnv")])[1] == "/video.bnv"
    assert short_names([Path("a/1/v"), Path("b/1/v"), Path("b/2/v")]) == ("a/1/v", "b/1/v", "2/v")
    with pytest.raises(UserError, match=r"a/\.\./x.mp4 is given twice"):
        short_names([Path("x.mp4"), Path("y.mp4"), Path("a/../x.mp4")])


def test_rows_are_written_for_programs_and_people(bnv_frames: Path, tmp_path: Path) -> None:
    frames = open_video(bnv_frames)
    rows = [compare(frames, open_video(BNV), "v.bnv"), compare(frames, frames, "frames, as they are")]
    write_rows(rows, tmp_path / "rows.json")
    write_rows(rows, tmp_path / "rows.csv")
    records = json.loads((tmp_path / "rows.json").read_text())
    assert records == [row.record() for row in rows]
    assert records[0]["file_bytes"] == BNV.stat().st_size
    with open(tmp_path / "rows.csv", newline="") as file:
        lines = list(csv.DictReader(file))
    assert [list(line) for line in lines] == [list(rows[0].record())] * 2
    for line, record in zip(lines, records, strict=True):
        assert line == {name: "" if value is None else str(value) for name, value in record.items()}
    text = rows_text(rows, "the reference").splitlines()
    assert text[0] == "the reference: 4 frames of 15×22, colours by ffmpeg-default"
    assert text[1].split("  ")[0] == "file"
    assert text[2].split() == [
        *("v.bnv", "bnv", "hnerv-boost", "4", f"{BNV.stat().st_size:,}", f"{rows[0].bpp:.4f}", "90.00", "90.00", "–")
    ]
    assert text[3].split()[-6:] == ["4", "–", "–", "90.00", "90.00", "–"]
    assert len({len(line) for line in text[2:4]}) == 1
    assert text[4].startswith("MS-SSIM needs 161 pixels")
    assert text[4].endswith("15x22.")


def test_every_frame_of_every_file_has_a_line(pixels: Frames, lossless: Path, tmp_path: Path) -> None:
    lossy = open_video(write_clip(tmp_path / "lossy.mp4", pixels, *LOSSY))
    rows = []
    for name, test in (("lossless", open_video(lossless)), ("lossy", lossy)):
        with VmafMeter() as meter:
            rows.append(compare(open_video(lossless), test, name, vmaf=meter))
    write_frame_values(rows, tmp_path / "frames.csv")
    with open(tmp_path / "frames.csv", newline="") as file:
        lines = list(csv.DictReader(file))
    assert [*lines[0]] == ["file", "frame", "psnr_db", "ms_ssim", "vmaf"]
    assert [(line["file"], int(line["frame"])) for line in lines] == [
        (name, index) for name in ("lossless", "lossy") for index in range(6)
    ]
    for row, part in zip(rows, (lines[:6], lines[6:]), strict=True):
        assert tuple(float(line["psnr_db"]) for line in part) == row.measured.frame_psnr_db
        assert tuple(float(line["vmaf"]) for line in part) == row.measured.frame_vmaf
    assert rows[0].record()["vmaf"] > rows[1].record()["vmaf"]
    text = rows_text(rows, "x").splitlines()
    assert text[1].endswith("VMAF")
    assert text[3].endswith(f"{rows[1].measured.vmaf:.2f}")


def test_frames_without_ms_ssim_have_an_empty_cell(bnv_frames: Path, tmp_path: Path) -> None:
    write_frame_values([compare(open_video(bnv_frames), open_video(BNV), "v.bnv")], tmp_path / "frames.csv")
    lines = (tmp_path / "frames.csv").read_text().splitlines()
    assert lines == ["file,frame,psnr_db,ms_ssim", *(f"v.bnv,{index},90.0," for index in range(4))]


@pytest.mark.parametrize("count", [3, 6])
def test_a_known_length_and_one_that_only_reading_tells(count: int, tmp_path: Path) -> None:
    # The coded network says that it has 4 frames, the video does not.
    clip = write_clip(tmp_path / "clip.mp4", moving(count, 15, 22), *LOSSLESS)
    known, unknown = open_video(BNV), open_video(clip)
    assert (known.expected, unknown.expected) == (4, None)
    with pytest.raises(UserError, match=rf"bnv has 4 frames of 15x22, but .*mp4 has {count} frames of 15x22; give"):
        compare(unknown, known, "x")
    with pytest.raises(UserError, match=rf"mp4 has {count} frames of 15x22, but .*bnv has 4 frames of 15x22; give"):
        compare(known, unknown, "x")
