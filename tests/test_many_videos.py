"""Models of many videos, step by step: the file holds all of them, and what is measured is of whole frames."""

from __future__ import annotations

import csv
import hashlib
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

import boostnerv
from boostnerv import steps
from boostnerv.codec.keyframes.keyframe_files import open_keyframes
from boostnerv.config import PostTraining, Training
from boostnerv.errors import UserError
from boostnerv.evaluation.points import read_points
from boostnerv.host.machine import Host
from boostnerv.training.checkpoint import Imported, restore, save, spec_fields
from boostnerv.training.clip_reader import ClipReader
from boostnerv.training.clip_tasks import ClipRegression
from boostnerv.training.losses import frame_losses
from boostnerv.video.collections import open_collection
from boostnerv.video.frames import Pixels
from boostnerv.video.patches import split
from tests import many
from tests.conftest import Outcome
from tests.many import CLIP, LENGTHS, PATCH, SIZE, Chain

FLOOR = 1e-9  # of a mean squared error, before its logarithm is taken
PARTS = ("header_bytes", "side_bytes", "weights_bytes", "embedding_bytes", "keyframes_bytes")
CASES = [
    ("d-nerv", "slices", PATCH),
    ("d-nerv", "finetuned", PATCH),
    ("d-nerv-baseline", "slices", PATCH),
    ("d-nerv", "slices", None),
    ("d-nerv", "finetuned", None),
    ("d-nerv-baseline", "finetuned", None),
]


def name_of(case: tuple[str, str, tuple[int, int] | None]) -> str:
    return f"{case[0]}-{case[1]}-{'patches' if case[2] else 'whole'}"


@pytest.fixture(scope="module", params=CASES, ids=name_of)
def chain(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Chain:
    """Up to ``quality.json``; the file is decoded by a process that has nothing else."""
    done = many.made(tmp_path_factory.mktemp("many"), *request.param)
    alone = done.folder / "alone"
    alone.mkdir()
    (alone / "x.bnv").write_bytes(done.file.read_bytes())
    decode = ["decode", "x.bnv", "-o", "decoded.npy", "--report", "decode.json"]
    subprocess.run([sys.executable, "-m", "boostnerv", *decode], check=True, cwd=alone, capture_output=True)
    finetune_log = done.folder / "finetune.jsonl"
    job_files = steps.EvaluationFiles(
        frames=done.videos,
        file=done.file,
        decoded=alone / "decoded.npy",
        encode_report=done.folder / "encode.json",
        decode_report=alone / "decode.json",
        train_log=done.folder / "train.jsonl",
        finetune_log=finetune_log if finetune_log.exists() else None,
        output=done.folder / "quality.json",
        frames_csv=done.folder / "frames.csv",
    )
    steps.evaluate(job_files, done.identity, threads=1)
    return done


def decoded(chain: Chain) -> Pixels:
    frames: Pixels = np.load(chain.folder / "alone" / "decoded.npy")
    return frames


def rows(chain: Chain) -> list[dict[str, object]]:
    """What quality.json says of the whole, then of each video."""
    found: list[dict[str, object]] = json.loads((chain.folder / "quality.json").read_text())
    return found


def psnr_db(left: Pixels, right: Pixels) -> np.ndarray:
    """Of each frame ``[T]``."""
    errors = np.square(left.astype(np.float64) - right).mean(axis=(1, 2, 3)) / 255**2
    return -10 * np.log10(errors + FLOOR)


# --- the file -----------------------------------------------------------------------------------------------


def test_a_fresh_process_decodes_what_the_encoder_reported(chain: Chain) -> None:
    frames = decoded(chain)
    assert frames.shape == (sum(LENGTHS.values()), *SIZE, 3)
    digest = hashlib.sha256(frames.tobytes()).hexdigest()
    assert digest == chain.report("encode")["decoded_sha256"] == chain.report("alone/decode")["decoded_sha256"]
    assert rows(chain)[0]["frames_match_encoder"] is True
    file = boostnerv.open(chain.file)
    assert all(np.array_equal(file[number], frames[number]) for number in (18, 8, 9, 0, 14, 15))


def test_each_video_is_decoded_by_its_name(chain: Chain, tmp_path: Path, boost: Callable[..., Outcome]) -> None:
    everything, start = decoded(chain), 0
    for number, (name, count) in enumerate(LENGTHS.items()):
        own = everything[start : start + count]
        outcome = boost("decode", chain.file, "--video", name, "-o", tmp_path / f"{name}.npy")
        assert outcome.code == 0, outcome
        assert np.array_equal(np.load(tmp_path / f"{name}.npy"), own)
        assert json.loads(outcome.out)["frames"] == count
        # Frames are counted from the beginning of the video.
        boost("decode", chain.file, "--video", name, "--frames", "1:3", "-o", tmp_path / "some.npy")
        assert np.array_equal(np.load(tmp_path / "some.npy"), own[1:3])
        boost("decode", chain.file, "--video", name, "-o", tmp_path / f"{name}.y4m")
        assert f" F{10 + number}:1 ".encode() in (tmp_path / f"{name}.y4m").read_bytes()[:80]
        start += count


def test_a_video_player_gets_one_video(chain: Chain, tmp_path: Path, boost: Callable[..., Outcome]) -> None:
    outcome = boost("decode", chain.file, "-o", tmp_path / "x.mp4")
    assert outcome.code == 2
    assert "holds 3 videos; say which with --video (nine, six, four …), or decode all" in outcome.err
    assert not list(tmp_path.iterdir())
    assert boost("decode", chain.file, "--video", "six", "-o", tmp_path / "x.mp4").code == 0
    assert boost("decode", chain.file, "-o", tmp_path / "x.npy").code == 0


def test_info_names_the_videos(chain: Chain, boost: Callable[..., Outcome]) -> None:
    found = json.loads(boost("info", "--json", chain.file).out)
    assert sum(found["sections"].values()) == found["file_bytes"] == chain.file.stat().st_size
    assert "six" in json.dumps(found) or "3 videos" in boost("info", chain.file).out


# --- what is measured ----------------------------------------------------------------------------------------


def test_quality_is_of_whole_frames_and_its_mean_counts_frames(chain: Chain) -> None:
    whole, *parts = rows(chain)
    psnr = psnr_db(np.concatenate(list(chain.pixels.values())), decoded(chain))
    assert whole["psnr_db"] == pytest.approx(psnr.mean(), abs=1e-9)
    assert whole["psnr_quantized_db"] == pytest.approx(psnr.mean(), abs=1e-9)
    assert whole["psnr_of_mean_mse_db"] == pytest.approx(-10 * np.log10((10 ** (psnr / -10)).mean()), abs=1e-9)
    assert (whole["frames"], whole["height"], whole["width"], whole["video"]) == (19, *SIZE, "set")
    assert [(part["video"], part["frames"], part["kind"]) for part in parts] == [
        (name, count, "part") for name, count in LENGTHS.items()
    ]
    start = 0
    for part, count in zip(parts, LENGTHS.values(), strict=True):
        assert part["psnr_db"] == pytest.approx(psnr[start : start + count].mean(), abs=1e-9)
        assert part["ms_ssim"] is None
        assert not {"file_bytes", "bpp", "params_total", "train_s"} & part.keys()
        start += count
    by_frames = sum(part["frames"] * part["psnr_db"] for part in parts) / 19  # type: ignore[operator, misc]
    assert whole["psnr_db"] == pytest.approx(by_frames, abs=1e-9)
    with open(chain.folder / "frames.csv", encoding="utf-8", newline="") as file:
        frames = list(csv.DictReader(file))
    assert [(row["video"], int(row["frame"])) for row in frames] == [
        (name, frame) for name, count in LENGTHS.items() for frame in range(count)
    ]
    assert [float(row["psnr_db"]) for row in frames] == pytest.approx(psnr, abs=1e-9)


def test_patches_are_measured_beside_the_frames(chain: Chain) -> None:
    whole, *parts = rows(chain)
    if chain.patch is None:
        assert "psnr_patches_db" not in whole
        assert whole["psnr_float_db"] == chain.last("train")["psnr_db"]
        return
    source = np.concatenate(list(chain.pixels.values()))
    patches = psnr_db(*(np.concatenate(split(frames, 2, 2)) for frames in (source, decoded(chain))))
    assert len(patches) == 4 * 19
    assert whole["psnr_patches_db"] == pytest.approx(patches.mean(), abs=1e-9)
    # The mean of logarithms over patches is no less than that over frames.
    assert whole["psnr_patches_db"] > whole["psnr_db"]  # type: ignore[operator]
    assert whole["psnr_float_db"] is None
    assert not any("psnr_patches_db" in part for part in parts)


def test_the_bytes_of_the_file_add_up(chain: Chain) -> None:
    whole = rows(chain)[0]
    assert sum(whole[part] for part in PARTS) == whole["file_bytes"] == chain.file.stat().st_size  # type: ignore[misc]
    assert whole["bpp"] == pytest.approx(8 * chain.file.stat().st_size / (19 * SIZE[0] * SIZE[1]), rel=1e-12)
    if chain.keyframes is None:
        assert (whole["keyframes_bytes"], whole["psnr_keyframes_db"]) == (0, None)
        return
    described = chain.report("keyframes")
    # 0, 4, 8; 0, 4, 5; 0, 3.
    assert described["count"] == 8
    assert described["coded_bytes"] == (chain.folder / "keyframes.bin").stat().st_size
    # Kind, length and checksum of the section.
    assert whole["keyframes_bytes"] == described["coded_bytes"] + 9
    assert whole["psnr_keyframes_db"] == described["psnr_db"]
    assert chain.folder.joinpath("keyframes.bin").read_bytes() in chain.file.read_bytes()


def test_the_older_pipeline_counts_its_own_bits(chain: Chain) -> None:
    whole = rows(chain)[0]
    if chain.pipeline == "finetuned":
        assert "published_bytes" not in whole
        return
    images = 0 if chain.keyframes is None else chain.report("keyframes")["image_bytes"]
    count, efficiency = whole["params_total"], whole["entropy_efficiency"]
    assert isinstance(count, int)
    assert isinstance(efficiency, float)
    _, model = restore(chain.folder / "model.safetensors")
    assert count == sum(tensor.numel() for tensor in model.decoder.parameters())
    assert 0.1 < efficiency < 1.5
    assert whole["published_bytes"] == pytest.approx(count * efficiency + images, rel=1e-12)


def test_tables_have_the_model_and_apart_its_videos(chain: Chain, tmp_path: Path) -> None:
    steps.collect([chain.folder / "quality.json"], tmp_path / "points.csv")
    tables = steps.TableFiles(markdown=tmp_path / "points.md", csv=tmp_path / "table.csv")
    steps.tabulate(tmp_path / "points.csv", tables)
    points = read_points(tmp_path / "points.csv")
    whole, parts = rows(chain)[0], {str(row["video"]): row for row in rows(chain)[1:]}
    assert {str(point["video"]): point["psnr_db"] for point in points} == {
        "set": whole["psnr_db"],
        **{name: part["psnr_db"] for name, part in parts.items()},
    }
    text = (tmp_path / "points.md").read_text()
    table, apart = text.split("## Each video of a model of many")
    assert "## set" in table
    assert f"| {whole['file_bytes']:,} |" in table
    assert "mean of" not in table
    for name, part in parts.items():
        assert f"| {name} | {chain.identity['codec']} | S | {part['psnr_db']:.2f} | – |" in apart
    with open(tmp_path / "table.csv", encoding="utf-8", newline="") as file:
        assert [row["video"] for row in csv.DictReader(file)] == ["set", *sorted(LENGTHS)]


def test_the_model_as_trained_is_measured_alike(chain: Chain, tmp_path: Path) -> None:
    job_files = steps.ModelEvaluationFiles(
        frames=chain.videos,
        keyframes=chain.keyframes,
        model=chain.folder / "model.safetensors",
        train_log=chain.folder / "train.jsonl",
        output=tmp_path / "quality.json",
        frames_csv=tmp_path / "frames.csv",
    )
    steps.evaluate_model(job_files, chain.identity, Host("cpu", threads=1))
    whole, *parts = json.loads((tmp_path / "quality.json").read_text())
    by_frames = sum(part["frames"] * part["psnr_db"] for part in parts) / 19
    assert whole["psnr_db"] == pytest.approx(by_frames, abs=1e-9)
    # What training measured is of every patch of every frame once, and of no frame behind the end of a video.
    measured = whole["psnr_db"] if chain.patch is None else whole["psnr_patches_db"]
    assert measured == pytest.approx(chain.last("train")["psnr_rounded_db"], abs=2e-3)
    assert "file_bytes" not in whole


# --- frames behind the end of a video ------------------------------------------------------------------------


def test_frames_that_fill_a_clip_count_for_nothing(chain: Chain) -> None:
    about, model = restore(chain.folder / "model.safetensors")
    assert about.train is not None
    videos = open_collection(chain.videos)
    pixels = None if chain.keyframes is None else open_keyframes(chain.keyframes).pixels
    terms = Training(epochs=1, loss={"l1": 1.0, "l2": 0.5}).loss
    objective = ClipRegression(model, ClipReader(videos, model.spec, pixels), torch.device("cpu"), terms)  # type: ignore[arg-type]
    patches = 1 if chain.patch is None else 4
    last_of_each = [patches * clip for clip in (2, 4, 5)]  # clips of one, two and four frames
    units = torch.tensor(last_of_each)
    fit = objective.fit(units, torch.Generator())
    assert len(fit.prediction) == len(fit.target) == 1 + 2 + CLIP
    rows, columns = (slice(None), slice(None)) if chain.patch is None else (slice(6), slice(8))
    shown = [chain.pixels["nine"][8:], chain.pixels["six"][4:], chain.pixels["four"]]
    source = torch.from_numpy(np.concatenate(shown)[:, rows, columns]).permute(0, 3, 1, 2) / 255
    assert torch.equal(fit.target, source)
    expected = frame_losses(terms, fit.prediction, source).mean()
    assert float(fit.loss.detach()) == pytest.approx(float(expected.detach()), rel=1e-6)
    # On several GPUs each part of a batch counts by its frames.
    assert float(objective.share(units[:2], units)) == pytest.approx(3 / 7)
    assert len(objective.evaluated_samples) == 6 * patches


# --- imported models -----------------------------------------------------------------------------------------


def test_an_imported_model_is_measured_with_and_without_its_quantiser(tmp_path: Path) -> None:
    """As the same model of ours is, but for what is known of its training."""
    chain = many.made(tmp_path, "d-nerv", "slices", many.PATCH)
    _, model = restore(tmp_path / "model.safetensors")
    about = Imported(architecture="d-nerv", spec=spec_fields(model.spec), source_sha256="0" * 64)
    imported = tmp_path / "imported.safetensors"
    save(imported, about, model)
    host = Host("cpu", threads=1)
    trained_log, measured = tmp_path / "train.jsonl", {}
    for name, weights, log in (("ours", tmp_path / "model.safetensors", trained_log), ("theirs", imported, None)):
        job_files = steps.ModelEvaluationFiles(
            frames=chain.videos,
            keyframes=chain.keyframes,
            model=weights,
            train_log=log,
            output=tmp_path / f"{name}.json",
            frames_csv=tmp_path / f"{name}.csv",
        )
        measured[name] = steps.evaluate_model(job_files, chain.identity, host)
    assert measured["theirs"]["psnr_db"] == measured["ours"]["psnr_db"]
    assert measured["theirs"]["train_s"] is None
    assert measured["theirs"]["command"] == "boostnerv import"
    file = tmp_path / "imported.bnv"
    coding = chain.coding_files(imported, "imported-encode", file)
    steps.encode_after_training(coding, PostTraining(quantizer="slices"), threads=1)
    assert file.read_bytes() == chain.file.read_bytes()
    decoded_path, decode_report = tmp_path / "imported.npy", tmp_path / "imported-decode.json"
    decoding = steps.DecodingFiles(file=file, output=decoded_path, report=decode_report)
    steps.decode(decoding, steps.DecodingChoice(), host)
    evaluation = steps.EvaluationFiles(
        frames=chain.videos,
        file=file,
        decoded=decoded_path,
        encode_report=coding.report,
        decode_report=decode_report,
        output=tmp_path / "imported-quality.json",
        frames_csv=tmp_path / "imported-frames.csv",
    )
    point = steps.evaluate(evaluation, chain.identity, threads=1)
    assert point["frames_match_encoder"]
    assert min(point["decode_warm_fps"], point["decode_compute_fps"]) > 0
    assert point["psnr_db"] == pytest.approx(measured["theirs"]["psnr_db"], abs=0.5)
    assert point["train_s"] is None
    other = Imported(**about.model_dump() | {"spec": {**about.spec, "lengths": [6, 9, 4]}})
    save(imported, other, model)
    with pytest.raises(UserError, match=r"is of 3 videos, 2×2 patches; .* has other lengths or patches"):
        steps.encode_after_training(coding, PostTraining(quantizer="slices"), threads=1)
