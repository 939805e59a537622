from __future__ import annotations

from pathlib import Path

from boostnerv.report.previews import SOURCE, Preview, choose, nearest


def preview(folder: Path, name: str, kind: str, size: float | None, file_bytes: int, video: str = "a") -> Preview:
    path = folder / f"{video}-{name}.mp4"
    path.write_bytes(bytes(file_bytes))
    return Preview(video, name, kind, size, path)


def test_sources_and_matched_sizes_come_first(tmp_path: Path) -> None:
    far = preview(tmp_path, "far", "anchor", 900.0, 30)
    near = preview(tmp_path, "near", "anchor", 110.0, 30)
    model = preview(tmp_path, "model", "model", 100.0, 30)
    source = preview(tmp_path, SOURCE, SOURCE, None, 30)
    assert far.embedded_bytes == len(far.text()) == 40
    assert choose([far, near, model, source], 120) == ([near, model, source], [far])
    assert choose([far, near, model, source], 1000) == ([far, near, model, source], [])
    assert choose([], 100) == ([], [])


def test_videos_take_turns(tmp_path: Path) -> None:
    previews = [
        preview(tmp_path, name, kind, 100.0, 30, video)
        for video in ("a", "b")
        for name, kind in ((SOURCE, SOURCE), ("model", "model"), ("other", "model"))
    ]
    kept, _ = choose(previews, 160)
    assert [(each.video, each.name) for each in kept] == [("a", SOURCE), ("a", "model"), ("b", SOURCE), ("b", "model")]


def test_the_nearest_is_of_the_other_kind_and_in_proportion(tmp_path: Path) -> None:
    model, alike = (preview(tmp_path, name, "model", 100.0, 3) for name in ("model", "alike"))
    half, thrice = (preview(tmp_path, name, "anchor", size, 3) for name, size in (("half", 50.0), ("thrice", 300.0)))
    assert nearest(model, [alike, thrice, half]) is half
    assert nearest(model, [alike]) is None
    assert nearest(model, [preview(tmp_path, "none", "anchor", None, 3)]) is None
