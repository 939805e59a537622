"""What is no video is called what it is, in one sentence, and nothing that it names is opened."""

from __future__ import annotations

import os
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from boostnerv.codec.container.bitstream import MAGIC
from boostnerv.config import RawVideo
from boostnerv.errors import UserError
from boostnerv.video.source import probe

from .conftest import Extract, ffmpeg, noise, synthetic, write_images


def refused(path: Path, words: str) -> None:
    with pytest.raises(UserError, match=words) as caught:
        probe(path)
    sentence = str(caught.value)
    assert str(path) in sentence
    assert "\n" not in sentence
    assert len(sentence) < 400 + len(str(path))


def test_missing_files_are_called_missing_whatever_their_suffix(tmp_path: Path) -> None:
    for name in ("a.mp4", "a.xyz", "a", "a.png", "folder/a.mp4"):
        refused(tmp_path / name, r"there is no video file .*; check the path$")


@pytest.mark.parametrize(
    ("present", "asked", "meant"),
    [
        ("holiday.mp4", "holidy.mp4", True),
        ("holiday.mp4", "holidayy.mp4", True),
        ("holiday.mp4", "holiday.mpp", True),
        ("holiday.mp4", "holidayXX.mp4", False),
        ("holiday.mp4", "holiday.mov", False),
        ("holiday.mp4", "other.mp4", False),
    ],
)
def test_a_name_is_guessed_at_one_letters_distance(present: str, asked: str, meant: bool, tmp_path: Path) -> None:
    (tmp_path / present).touch()
    refused(tmp_path / asked, rf"did you mean '{present}'\?$" if meant else "check the path$")


@pytest.mark.parametrize(
    "name", ["a.png", "a.jpg", "a.tif", "a.bmp", "a.webp", "a.gif", "a.avif", "a.ppm", "a.mkv", "a"]
)
def test_a_still_image_is_no_video(name: str, tmp_path: Path) -> None:
    kind = {".mkv": "PNG", "": "JPEG"}.get(Path(name).suffix)
    Image.fromarray(noise(1, 16, 24)[0]).save(tmp_path / name, format=kind)
    refused(tmp_path / name, "is a single image; give the folder that holds the frames")


@pytest.mark.parametrize("name", ["views.jpg", "views"])
def test_views_of_one_picture_are_no_video(name: str, tmp_path: Path) -> None:
    """ffmpeg takes them for a film of JPEGs."""
    one, other = (Image.fromarray(noise(1, 48, 64, seed)[0]) for seed in (1, 2))
    one.save(tmp_path / name, format="MPO", save_all=True, append_images=[other])
    refused(tmp_path / name, "is a single image")


def test_a_video_of_one_frame_is_a_video(tmp_path: Path, extract: Extract) -> None:
    assert extract(synthetic(tmp_path / "a.mp4", frames=1)).manifest.frames == 1


def test_an_animated_image_under_a_name_that_is_a_pattern(tmp_path: Path) -> None:
    path = synthetic(tmp_path / "a.png", "-f", "apng", frames=3)
    refused(path.rename(tmp_path / "*.png"), r"image of 3 pictures \(PNG\), which ffmpeg .* rename it")


def test_files_of_our_own_are_named(tmp_path: Path) -> None:
    coded = tmp_path / "a.bnv"
    coded.write_bytes(MAGIC + bytes(100))
    refused(coded, "is coded already: decode it with `boostnerv decode`")
    np.save(tmp_path / "a.npy", noise(2, 8, 8))
    refused(tmp_path / "a.npy", "is an array, not a video")


TEXTS = {
    "a.txt": "hello world\n" * 300,
    "a.nfo": "hello world\n" * 300,
    "a.ans": "\033[1;31mhello\033[0m\n" * 9,
    "a.srt": "1\n00:00:01,000 --> 00:00:02,000\nhi\n",
    "a.avs": 'FFmpegSource2("clip.mkv")\n',
    "a.ffconcat": "ffconcat version 1.0\nfile 'clip.mkv'\n",
    "list.mp4": "ffconcat version 1.0\nfile 'clip.mkv'\n",
    "a.m3u8": "#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:2,\nclip.mkv\n#EXT-X-ENDLIST\n",
    "a.sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\n",
    "a.py": "import this\n",
    "a.json": '{"frames": 3}\n',
}


@pytest.mark.parametrize("name", TEXTS)
def test_texts_are_no_videos_and_what_they_name_is_not_opened(name: str, tmp_path: Path) -> None:
    synthetic(tmp_path / "clip.mkv", "-c:v", "ffv1")
    (tmp_path / name).write_text(TEXTS[name], encoding="utf-8")
    refused(tmp_path / name, r"cannot be read as video \(")


def test_a_playlist_asks_no_server(tmp_path: Path) -> None:
    asked = []

    class Server(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_error(404)

    server = HTTPServer(("127.0.0.1", 0), Server)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        address = f"http://127.0.0.1:{server.server_port}/a.ts"
        playlist = tmp_path / "a.m3u8"
        playlist.write_text(f"#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:2,\n{address}\n#EXT-X-ENDLIST\n")
        refused(playlist, "a list of other files")
    finally:
        server.shutdown()
        server.server_close()
    assert asked == []


def test_pixels_without_a_header_need_their_layout(tmp_path: Path, extract: Extract) -> None:
    pixels = noise(3, 16, 24)
    layout = RawVideo(width=24, height=16, pixel_format="rgb24", fps=10)
    for name in ("a.rgb", "a.raw", "a.yuv", "a"):
        path = tmp_path / name
        path.write_bytes(pixels.tobytes())
        refused(path, r"has no header: give its layout|cannot be read as video .*its layout where it has no header")
        np.testing.assert_array_equal(extract(path, raw=layout).pixels, pixels)


def test_empty_files_pipes_and_devices(tmp_path: Path) -> None:
    (tmp_path / "empty.mp4").touch()
    refused(tmp_path / "empty.mp4", r"cannot be read as video \(it is empty\)")
    os.mkfifo(tmp_path / "pipe.mp4")
    refused(tmp_path / "pipe.mp4", "is not a file on a disk")
    refused(Path("/dev/zero"), "is not a file on a disk")


def test_a_cover_and_sound_are_no_video(tmp_path: Path) -> None:
    cover = synthetic(tmp_path / "c.png", frames=1)
    for name in ("a.m4a", "a.mp3"):
        path = tmp_path / name
        ffmpeg(
            *("-i", cover, "-f", "lavfi", "-i", "sine=duration=1", "-map", "0", "-map", "1"),
            *("-c:v", "copy", "-disposition:v:0", "attached_pic", path),
        )
        refused(path, "it has no video stream")


def test_a_folder_is_a_source(tmp_path: Path) -> None:
    folder = write_images(tmp_path / "frames", noise(2, 8, 8))
    assert probe(folder).codec == "png"
    assert probe(folder).width == 8


def test_a_link_to_a_video_is_a_video(tmp_path: Path, extract: Extract) -> None:
    path = synthetic(tmp_path / "a.mp4")
    (tmp_path / "link").symlink_to(path)
    assert extract(tmp_path / "link").manifest.frames == 6
    (tmp_path / "dangling.mp4").symlink_to(tmp_path / "absent.mp4")
    refused(tmp_path / "dangling.mp4", "there is no video file")
