"""The bench of rate and distortion: frozen plans, real files, and guarded comparisons."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from bench import rate_distortion as bench
from bench.rd_methods import METHODS, Joint, Plan, Video, published, today
from boostnerv.errors import UserError
from boostnerv.video.frames import manifest_path, write_frames
from tests.video.conftest import noise

LONG = Video(128, 96, 160)


def bits(video: Video, bpp: float) -> float:
    return bpp * video.frames * video.height * video.width


def test_what_later_work_is_compared_with_stays() -> None:
    plan = today(LONG, bits(LONG, 0.2))
    assert (plan.parameters, plan.spec.strides, plan.spec.embedding_width) == (98_554, (5, 2), 2)
    assert plan.finetune.finetuning.target_bits == pytest.approx(0.2 * 128 * 96 * 160 / 98_554)
    training, finetuning = plan.train.training, plan.finetune.finetuning
    assert (training.epochs, training.optimizer, training.lr.peak) == (40, "soap", 1e-2)
    assert (finetuning.epochs, finetuning.optimizer, finetuning.lr.peak) == (10, "adan", 5e-4)
    assert finetuning.rate_distortion is None
    paper = published(LONG, bits(LONG, 0.2))
    assert paper.spec == plan.spec
    assert (paper.train.training.optimizer, paper.train.training.lr.peak) == ("adan", 3e-3)


@pytest.mark.parametrize("name", METHODS)
def test_every_method_plans_the_wanted_size(name: str) -> None:
    plan = METHODS[name](LONG, bits(LONG, 0.5))
    assert plan.parameters * plan.finetune.finetuning.target_bits == pytest.approx(bits(LONG, 0.5))


def test_too_few_bits_for_any_network() -> None:
    with pytest.raises(UserError, match="too few for 128 frames"):
        today(LONG, bits(LONG, 0.01))


def test_a_point_is_a_decoded_file_and_its_time_adds_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = noise(frames=3, height=24, width=32)
    write_frames(pixels, tmp_path / "clip.npy", dataset="own", video="clip", fps=12.5)
    small = Joint(epochs=4, strides=(4, 2), options={"embedding_width": 2, "condition_width": 4, "lower_width": 4})

    def plan(video: Video, wanted: float) -> Plan:
        return small(video, wanted)

    monkeypatch.setitem(METHODS, "small", plan)
    folder = tmp_path / "small-60"
    folder.mkdir()
    points = [bench.make_point("clip", manifest_path(tmp_path / "clip.npy"), "small", 60.0, folder) for _ in range(2)]
    first, second = points
    assert first.file_bytes == (folder / "video.bnv").stat().st_size == sum((first.sections or {}).values())
    assert first.bpp == pytest.approx(8 * first.file_bytes / (3 * 24 * 32))
    assert second.psnr_db == first.psnr_db  # nothing was trained again
    assert second.cpu_s >= first.cpu_s > 0
    seconds = [at for at, _ in first.curve]
    assert seconds == sorted(seconds)
    assert bench.Point(**json.loads(json.dumps(dataclasses.asdict(first)))).file_bytes == first.file_bytes


def row(method: str, bpp: float, psnr_db: float, cpu_s: float = 1.0, kmac: float | None = 10.0) -> bench.Point:
    return bench.Point("clip", method, bpp, int(bpp * 1000), bpp, psnr_db, None, cpu_s, 1000, kmac)


def test_half_the_rate_is_said_to_be_half() -> None:
    rates = (0.1, 0.2, 0.4, 0.8)
    reference = [row("today", rate, 25 + 3 * number) for number, rate in enumerate(rates)]
    half = [row("half", rate / 2, 25 + 3 * number, 2.0, 20.0) for number, rate in enumerate(rates)]
    anchors = [row("x265", rate, 25 + 3 * number, 1.0, None) for number, rate in enumerate(rates)]
    rows = {line["method"]: line for line in bench.compared([*reference, *half, *anchors], "today")}
    assert rows["half"]["bd_rate_percent"] == pytest.approx(-50)
    assert rows["half"]["cpu_ratio"] == pytest.approx(2)
    assert rows["half"]["work_ratio"] == pytest.approx(2)
    assert rows["x265"]["bd_rate_percent"] == pytest.approx(0)
    assert rows["x265"]["work_ratio"] is None
    text = "\n".join(bench.lines_of([*reference, *half], list(rows.values())))
    assert "-50.0" in text


def test_curves_apart_have_no_number_but_a_reason() -> None:
    reference = [row("today", rate, 20 + number) for number, rate in enumerate((0.1, 0.2, 0.4, 0.8))]
    better = [row("better", rate, 30 + number) for number, rate in enumerate((0.1, 0.2, 0.4, 0.8))]
    (line,) = bench.compared([*reference, *better], "today")
    assert line["bd_rate_percent"] is None
    assert line["reason"]


def test_an_unknown_clip_is_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["rate_distortion", "--out", str(tmp_path), "--clip", "vtest"])
    with pytest.raises(SystemExit) as ended:
        bench.main()
    assert ended.value.code == 2
    assert "give its file as vtest=PATH" in capsys.readouterr().err


def test_the_figure_is_a_picture(tmp_path: Path) -> None:
    trained = dataclasses.replace(row("today", 0.1, 25), curve=((1.0, 20.0), (2.0, 25.0)))
    bench.figure([trained, row("x265", 0.1, 30, 1.0, None)], tmp_path / "figure.png")
    assert (tmp_path / "figure.png").read_bytes().startswith(b"\x89PNG")
