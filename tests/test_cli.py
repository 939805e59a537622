"""The command line: the chain verb by verb, and what each mistake gets: one sentence, exit code 2, no file."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

import boostnerv
from boostnerv import cli
from boostnerv.codec.container.bitstream import VERSION, Display
from tests.conftest import Outcome

# One worker makes what the tests share.
pytestmark = pytest.mark.xdist_group("cli")

MODEL = {"name": "hnerv-boost", "strides": [2, 2], "total_m": 0.06}
TRAINING = {"epochs": 1, "loss": {"l1": 1}}
TRAIN = {"model": MODEL, "training": TRAINING}
FINETUNE = {"finetuning": {"epochs": 1, "loss": {"l1": 1}}}
IDENTITY = {"experiment": "x", "run": "r", "codec": "hnerv-boost", "size_label": "0.06M", "seed": 1}


def command(*arguments: object) -> None:
    """Run it in this process, where nothing is told of it."""
    with pytest.MonkeyPatch.context() as patch, pytest.raises(SystemExit) as ended:
        patch.setattr(sys, "argv", ["boostnerv", *map(str, arguments)])
        cli.main()
    assert not ended.value.code


def images(folder: Path, seed: int = 1) -> Path:
    folder.mkdir(parents=True)
    noise = np.random.default_rng(seed).integers(0, 256, (4, 24, 40, 3), dtype=np.uint8)
    for index, frame in enumerate(noise):
        Image.fromarray(frame).save(folder / f"{index}.png")
    return folder


def extract_settings(path: object, **source: object) -> str:
    video = {"name": "clip", "source": {"kind": "path", "path": str(path), **source}}
    return json.dumps({"dataset": "own", "video": video})


def extract(folder: Path, seed: int = 1) -> None:
    clip = images(folder / "clip", seed)
    command("extract-frames", clip, "--settings", extract_settings(clip), "-o", folder / "frames.npy")


def train_arguments(folder: Path, **changes: object) -> list[object]:
    settings = json.dumps({**TRAIN, **changes})
    return [
        *("train", "--frames", folder / "frames.json", "--settings", settings, "--state", folder / "state"),
        *("--log", folder / "train.jsonl", "-o", folder / "model.safetensors"),
    ]


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The whole chain by hand; what decodes is a process of its own."""
    folder = tmp_path_factory.mktemp("made")
    frames, tuned = folder / "frames.json", folder / "finetuned.safetensors"
    extract(folder)
    command(*train_arguments(folder))
    command(
        *("finetune", "--frames", frames, "--model", folder / "model.safetensors", "-o", tuned),
        *("--settings", json.dumps(FINETUNE), "--log", folder / "finetune.jsonl", "--state", folder / "state"),
    )
    command("encode", "--frames", frames, "--model", tuned, "-o", folder / "x.bnv", "--report", folder / "encode.json")
    # With nothing but the file: a folder of its own, without frames or checkpoints.
    alone = folder / "alone"
    alone.mkdir()
    (alone / "x.bnv").write_bytes((folder / "x.bnv").read_bytes())
    decode = ["decode", "x.bnv", "-o", "decoded.npy", "--report", "decode.json"]
    subprocess.run([sys.executable, "-m", "boostnerv", *decode], check=True, cwd=alone, capture_output=True)
    command(
        *("evaluate", "--frames", frames, "--file", folder / "x.bnv", "--decoded", alone / "decoded.npy"),
        *("--encode-report", folder / "encode.json", "--decode-report", alone / "decode.json"),
        *("--train-log", folder / "train.jsonl", "--finetune-log", folder / "finetune.jsonl"),
        *("--identity", json.dumps(IDENTITY), "-o", folder / "quality.json", "--frames-csv", folder / "frames.csv"),
        "--vmaf",
    )
    return folder


def refused(outcome: Outcome, sentence: str) -> None:
    assert outcome.code == 2, outcome
    assert re.fullmatch(r"boostnerv: [^\n]+\n", outcome.err), outcome.err
    assert re.search(sentence, outcome.err), outcome.err
    assert outcome.out == ""


def all_files(folder: Path) -> set[Path]:
    return {path for path in folder.rglob("*") if path.is_file() and path.suffix != ".png"}


# --- the chain ------------------------------------------------------------------------------------------------


def test_what_the_encoder_measured_is_what_the_file_decodes_to(made: Path) -> None:
    quality = json.loads((made / "quality.json").read_text())
    assert quality["psnr_quantized_db"] == pytest.approx(quality["psnr_db"], abs=1e-9)
    assert quality["frames_match_encoder"] is True
    assert quality["file_bytes"] == (made / "x.bnv").stat().st_size
    decoded = np.load(made / "alone" / "decoded.npy")
    assert decoded.shape == (4, 24, 40, 3)
    assert decoded.dtype == np.uint8
    video = boostnerv.open(made / "x.bnv")
    assert all(np.array_equal(video[k], decoded[k]) for k in (3, 0, 2, 1))


def test_the_entropy_model_can_be_chosen(made: Path, tmp_path: Path, boost: Callable[..., Outcome]) -> None:
    given = ("--frames", made / "frames.json", "--model", made / "finetuned.safetensors", "-o", tmp_path / "x.bnv")
    found = {}
    for name in ("auto", "gaussian", "gaussian-channel", "laplace"):
        outcome = boost("encode", *given, "--report", tmp_path / "encode.json", "--entropy-model", name)
        assert outcome.code == 0, outcome
        found[name] = json.loads(outcome.out)
        assert found[name] == json.loads((tmp_path / "encode.json").read_text())
        assert found[name]["file_bytes"] == (tmp_path / "x.bnv").stat().st_size >= found["auto"]["file_bytes"]
        assert name in ("auto", found[name]["entropy_models"])
    # The same codes, in other words.
    assert len({report["decoded_sha256"] for report in found.values()}) == 1
    before = all_files(tmp_path)
    options = ("--report", tmp_path / "other.json", "--entropy-model", "laplacian")
    refused(boost("encode", *given, *options), "laplacian.*laplace")
    assert all_files(tmp_path) == before


def test_what_was_kept_of_the_source_is_remarked(made: Path, tmp_path: Path, boost: Callable[..., Outcome]) -> None:
    manifest = json.loads((made / "frames.json").read_text())
    manifest["source"]["sample_aspect"], manifest["preparation"]["sample_aspect"] = "4:3", "keep"
    (tmp_path / "frames.json").write_text(json.dumps(manifest))
    (tmp_path / "frames.npy").symlink_to(made / "frames.npy")
    for verb, checkpoint, plain in (
        ("encode", "finetuned.safetensors", made / "x.bnv"),
        ("encode-after-training", "model.safetensors", tmp_path / "plain.bnv"),
    ):
        arguments = (verb, "--model", made / checkpoint, "--report", tmp_path / "encode.json")
        if not plain.exists():
            assert boost(*arguments, "--frames", made / "frames.json", "-o", plain).code == 0
        outcome = boost(*arguments, "--frames", tmp_path / "frames.json", "-o", tmp_path / "x.bnv")
        assert outcome.code == 0, outcome
        assert f"{tmp_path / 'x.bnv'}: the pixel aspect is 4:3, but decoded videos claim square pixels" in outcome.err
        report, video = json.loads((tmp_path / "encode.json").read_text()), boostnerv.open(tmp_path / "x.bnv")
        assert json.loads(outcome.out) == report
        assert video.stream.video.display == Display(sample_aspect="4:3")
        # It is a part of the rate, and no frame depends on it.
        assert report["file_bytes"] == (tmp_path / "x.bnv").stat().st_size == plain.stat().st_size + 20
        assert np.array_equal(video[3], boostnerv.open(plain)[3])


def test_the_older_pipeline_codes_the_model_as_trained(
    made: Path, tmp_path: Path, boost: Callable[..., Outcome]
) -> None:
    def encode(model: str, settings: object, frames: Path = made) -> Outcome:
        return boost(
            *("encode-after-training", "--frames", frames / "frames.json", "--model", made / model),
            *("-o", tmp_path / "x.bnv", "--report", tmp_path / "x.json", "--settings", json.dumps(settings)),
        )

    refused(encode("finetuned.safetensors", {}), "is fine-tuned already; give the one that `boostnerv train` wrote")
    refused(encode("model.safetensors", {"weight_bits": 40}), "'weight_bits'")
    assert all_files(tmp_path) == set()
    coarse = json.loads(encode("model.safetensors", {"weight_bits": 4}).out)
    fine = json.loads(encode("model.safetensors", {}).out)
    assert coarse["file_bytes"] < fine["file_bytes"] == (tmp_path / "x.bnv").stat().st_size
    assert 0 < fine["published_bytes"] < fine["file_bytes"]
    outcome = boost("decode", tmp_path / "x.bnv", "-o", tmp_path / "x.npy")
    assert json.loads(outcome.out)["decoded_sha256"] == fine["decoded_sha256"]
    (tmp_path / "x.npy").unlink()
    extract(tmp_path, seed=2)
    refused(encode("model.safetensors", {}, tmp_path), "was trained on other frames than")


def test_info_adds_up(made: Path, boost: Callable[..., Outcome]) -> None:
    found = json.loads(boost("info", "--json", made / "x.bnv").out)
    assert sum(found["sections"].values()) == found["file_bytes"] == (made / "x.bnv").stat().st_size
    text = boost("info", made / "x.bnv").out
    assert "hnerv-boost" in text
    assert "4 frames" in text
    assert f"{found['file_bytes']:,}" in text


def test_every_step_has_a_verb_with_help(boost: Callable[..., Outcome]) -> None:
    from boostnerv.versions import STEP_VERSIONS

    listed = boost("--help").out
    for step in STEP_VERSIONS:
        verb = step.replace("_", "-")
        assert re.search(rf"^\s+{verb}\s+\S", listed, re.MULTILINE), listed
        assert re.match(rf"Usage: .* {verb} ", boost(verb, "--help").out.strip())


def test_check_prints_the_plan(tmp_path: Path, boost: Callable[..., Outcome]) -> None:
    model = {"name": "hnerv-boost", "total_m": [3.0]}
    settings = {"name": "x", "dataset": "bunny", "models": [model], "strides": [7, 7, 4, 2]}
    (tmp_path / "x.yaml").write_text(yaml.safe_dump(settings))
    outcome = boost("check", tmp_path / "x.yaml")
    assert outcome.code == 0, outcome
    # The strides make multiples of 392.
    assert re.search(
        r"bunny hnerv-boost-3M: [\d,]+ parameters, .* 132 frames of 720×1280 \(padded to 784×1568\)", outcome.out
    )
    assert json.loads(boost("check", "--json", tmp_path / "x.yaml").out)[0]["padded_height"] == 784


def test_check_lists_what_the_older_pipeline_codes(tmp_path: Path, boost: Callable[..., Outcome]) -> None:
    model = {"name": "hnerv", "total_m": [3.0], "post_training": {}}
    settings = {"name": "x", "dataset": "bunny", "models": [model], "strides": [5, 2, 2, 2, 2]}
    (tmp_path / "x.yaml").write_text(yaml.safe_dump(settings))
    first, second = json.loads(boost("check", "--json", tmp_path / "x.yaml").out)
    assert (first["run"], second["run"]) == ("hnerv-3M", "hnerv-3M-post-training")
    assert {**second, "run": ""} == {**first, "run": ""}


# --- comparing files --------------------------------------------------------------------------------------------


def test_compare_measures_what_evaluate_measured(made: Path, tmp_path: Path, boost: Callable[..., Outcome]) -> None:
    quality = json.loads((made / "quality.json").read_text())
    rows, figure, tests = tmp_path / "rows.json", tmp_path / "figure.svg", (made / "x.bnv", made / "alone" / "x.bnv")
    frames = tmp_path / "frames.csv"
    wanted = ("-o", rows, "--figure", figure, "--frames-csv", frames, "--vmaf")
    outcome = boost("compare", made / "clip", *tests, made / "clip", *wanted)
    assert outcome.code == 0, outcome
    lines = frames.read_text().splitlines()
    assert lines[0] == "file,frame,psnr_db,ms_ssim,vmaf"
    assert [line.split(",")[1] for line in lines[1:]] == [*"0123"] * 3
    assert re.search(r"made\d*/x\.bnv +bnv +hnerv-boost +4 ", outcome.out), outcome.out
    assert "compare alone/x.bnv: 4/4 frames" in outcome.err
    first, second, itself = json.loads(rows.read_text())
    assert {key: first[key] for key in ("psnr_db", "bpp", "file_bytes", "vmaf")} == {
        key: quality[key] for key in ("psnr_db", "bpp", "file_bytes", "vmaf")
    }
    assert {**second, "name": ""} == {**first, "name": ""}
    assert (itself["psnr_db"], itself["bpp"]) == (90.0, None)
    assert "alone/x.bnv" in figure.read_text()
    printed = boost("compare", "--json", "--vmaf", made / "frames.json", made / "x.bnv")
    assert json.loads(printed.out) == [{**first, "name": "x.bnv"}]


def test_compare_refuses_before_it_decodes(made: Path, tmp_path: Path, boost: Callable[..., Outcome]) -> None:
    clip, file, other = made / "clip", made / "x.bnv", images(tmp_path / "other")
    (other / "3.png").unlink()
    before = all_files(tmp_path)
    refused(boost("compare", clip, file, other), "other has 3 frames of 24x40, but .*clip has 4 frames of 24x40; give")
    refused(boost("compare", clip, tmp_path / "no.bnv"), r"cannot read .*no\.bnv")
    refused(boost("compare", tmp_path / "no.mp4", file), r"no video file .*no\.mp4; check the path")
    refused(boost("compare", clip, file, file), "given twice")
    refused(boost("compare", clip, file, "-o", tmp_path / "x.txt"), r"must end in \.csv or \.json, not '\.txt'")
    refused(boost("compare", clip, file, "--figure", tmp_path / "x.pdf"), r"must end in \.png or \.svg, not '\.pdf'")
    refused(boost("compare", clip, file, "--frames-csv", tmp_path / "x.json"), r"must end in \.csv, not '\.json'")
    assert all_files(tmp_path) == before


# --- videos that cannot be read ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "data", "sentence"),
    [
        ("missing.mp4", None, r"no video file .*missing\.mp4; check the path"),
        ("noise.mp4", bytes(range(256)) * 8, r"noise\.mp4 .*cannot be read|noise\.mp4 .*not .* video"),
        ("empty.mkv", b"", r"empty\.mkv"),
        ("clip.xyz", b"x", r"clip\.xyz cannot be read as video"),
        ("clip.yuv", bytes(100), r"clip\.yuv.*(raw|width)"),
        ("none.y4m", b"YUV4MPEG2 W16 H16 F25:1 C420jpeg\n", r"none\.y4m.*(no|zero|0) frame"),
    ],
)
def test_videos_that_cannot_be_read(
    tmp_path: Path, boost: Callable[..., Outcome], name: str, data: bytes | None, sentence: str
) -> None:
    path = tmp_path / name
    if data is not None:
        path.write_bytes(data)
    before = all_files(tmp_path)
    refused(
        boost("extract-frames", path, "--settings", extract_settings(path), "-o", tmp_path / "out" / "f.npy"), sentence
    )
    assert all_files(tmp_path) == before


def test_a_pixel_format_that_is_none(tmp_path: Path, boost: Callable[..., Outcome]) -> None:
    path = tmp_path / "clip.yuv"
    path.write_bytes(bytes(384))
    raw = {"width": 16, "height": 16, "pixel_format": "yuv420", "fps": 25}
    settings = extract_settings(path, raw=raw)
    refused(boost("extract-frames", path, "--settings", settings, "-o", tmp_path / "f.npy"), "'?yuv420'?.*yuv420p")
    assert all_files(tmp_path) == {path}


# --- settings -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"trainning": {}}, "unknown key 'trainning': did you mean 'training'?"),
        ({"model": {**MODEL, "name": "hnerv-bost"}}, "unknown model 'hnerv-bost': did you mean 'hnerv-boost'?"),
        ({"model": {**MODEL, "total_m": 0.0001}}, "choose a larger size"),
        ({"model": {**MODEL, "options": {"width": 3}}}, "width"),
        ({"seed": -1}, "'seed'"),
    ],
)
def test_settings_that_cannot_be(
    made: Path, tmp_path: Path, boost: Callable[..., Outcome], changes: dict[str, object], sentence: str
) -> None:
    arguments = train_arguments(tmp_path, **changes)
    arguments[2] = made / "frames.json"
    refused(boost(*arguments), re.escape(sentence))
    assert all_files(tmp_path) == set()


def test_settings_that_are_no_json(made: Path, tmp_path: Path, boost: Callable[..., Outcome]) -> None:
    arguments = train_arguments(tmp_path)
    arguments[4] = "{"
    refused(boost(*arguments), "--settings is not valid JSON")
    arguments[4] = tmp_path / "nowhere.yaml"
    refused(boost(*arguments), r"nowhere\.yaml does not exist")


def test_experiments_that_are_none(tmp_path: Path, boost: Callable[..., Outcome]) -> None:
    refused(boost("check", tmp_path / "nowhere.yaml"), r"nowhere\.yaml does not exist; check the path")
    (tmp_path / "x.yaml").write_text("name: x\ndataset: bunnny\nmodels: [{name: nerv-boost, total_m: [1]}]\n")
    refused(boost("check", tmp_path / "x.yaml", "-o", tmp_path / "plan.json"), "did you mean 'bunny'?")
    assert not (tmp_path / "plan.json").exists()


def test_a_device_that_is_none(made: Path, tmp_path: Path, boost: Callable[..., Outcome]) -> None:
    refused(boost("decode", made / "x.bnv", "-o", tmp_path / "x.npy", "--device", "cuda:7"), "cuda:7")
    assert all_files(tmp_path) == set()


# --- checkpoints and states of something else -----------------------------------------------------------------------


def test_a_state_of_another_configuration(made: Path, tmp_path: Path, boost: Callable[..., Outcome]) -> None:
    arguments = train_arguments(tmp_path, training={**TRAINING, "epochs": 2})
    arguments[2] = made / "frames.json"
    # A finished training keeps no state: stop one after its first epoch, as a time limit would.
    stopped = boost_stopped(arguments, tmp_path / "state")
    assert stopped.returncode == 128 + 15, stopped.stderr
    other = train_arguments(tmp_path, training={**TRAINING, "epochs": 3})
    other[2] = made / "frames.json"
    before = all_files(tmp_path)
    refused(boost(*other), "other settings|another configuration")
    assert all_files(tmp_path) == before
    assert not (tmp_path / "model.safetensors").exists()


def test_checkpoints_of_something_else(made: Path, tmp_path: Path, boost: Callable[..., Outcome]) -> None:
    extract(tmp_path, seed=2)
    log, report = tmp_path / "log.jsonl", tmp_path / "encode.json"
    finetune = ["finetune", "--settings", json.dumps(FINETUNE), "--log", log, "--state", tmp_path / "state"]
    encode = ["encode", "-o", tmp_path / "x.bnv", "--report", report]
    other = ["--frames", tmp_path / "frames.json"]
    same = ["--frames", made / "frames.json"]
    before = all_files(tmp_path)
    trained, tuned, output = made / "model.safetensors", made / "finetuned.safetensors", tmp_path / "out.safetensors"
    refused(boost(*finetune, *other, "--model", trained, "-o", output), "other frames")
    refused(boost(*encode, *other, "--model", tuned), "other frames")
    refused(boost(*encode, *same, "--model", trained), "fine-?tun")
    refused(boost(*finetune, *same, "--model", tmp_path / "no.safetensors", "-o", output), "does not exist")
    broken = tmp_path / "broken.safetensors"
    broken.write_bytes(trained.read_bytes()[:1000])
    refused(boost(*finetune, *same, "--model", broken, "-o", output), r"broken\.safetensors")
    broken.unlink()
    assert all_files(tmp_path) == before


# --- files that do not decode -----------------------------------------------------------------------------------------


def test_files_that_do_not_decode(made: Path, tmp_path: Path, boost: Callable[..., Outcome]) -> None:
    good = (made / "x.bnv").read_bytes()
    flipped = bytearray(good)
    flipped[-10] ^= 4
    newer = good[:3] + bytes([VERSION + 1]) + good[4:]
    for data, sentence in [
        (good[:-1], "ends early|truncated"),
        (good[: len(good) // 2], "ends early|truncated"),
        (bytes(flipped), "damaged"),
        (b"\x00" * 100, r"not a \.bnv file"),
        (b"", r"not a \.bnv file"),
        (newer, "version"),
    ]:
        path = tmp_path / "x.bnv"
        path.write_bytes(data)
        refused(boost("decode", path, "-o", tmp_path / "x.npy"), sentence)
        refused(boost("info", path), sentence)
        assert all_files(tmp_path) == {path}
    refused(boost("decode", tmp_path / "no.bnv", "-o", tmp_path / "x.npy"), r"cannot read .*no\.bnv: No such file")
    refused(boost("decode", tmp_path, "-o", tmp_path / "x.npy"), "folder|directory")


def boost_stopped(arguments: list[object], state: Path) -> subprocess.CompletedProcess[str]:
    """Run a training that gets SIGTERM at its first step."""
    script = (
        "import os, signal, sys\n"
        "from boostnerv import cli\n"
        "from boostnerv.training import loop\n"
        "rate = loop.learning_rate\n"
        "def stop(*arguments):\n"
        "    os.kill(os.getpid(), signal.SIGTERM)\n"
        "    return rate(*arguments)\n"
        "loop.learning_rate = stop\n"
        "cli.main()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, *map(str, arguments)], capture_output=True, text=True, check=False
    )
    assert any(state.rglob("state.pt")), done.stderr
    return done


@pytest.mark.parametrize(
    "arguments",
    [
        ("decode", "run/video.bnv", "-o", "run/video.bnv"),
        ("decode", "run/video.bnv", "-o", "new.mkv", "--audio-from", "new.mkv"),
        ("decode", "run/video.bnv", "-o", "new.npy", "--report", "new.npy"),
        ("compare", "frames/clip.json", "run/video.bnv", "-o", "run/../run/video.bnv"),
        ("compare", "run/video.bnv", "link", "--figure", "run/video.bnv"),
        ("compress", "link", "run/video.bnv", "--size", "8k"),
        ("export", "run/model.safetensors", "-o", "run/model.safetensors"),
        ("import", "run/video.bnv", "-o", "link"),
        ("extract-frames", "frames/clip.json", "--settings", "{}", "-o", "frames/clip.npy"),
        ("split-patches", "--frames", "frames/clip.json", "--height", "8", "--width", "8", "-o", "frames/clip.npy"),
        ("preview-source", "--frames", "frames/clip.json", "-o", "frames/clip.npy"),
        ("collect", "run/quality.json", "-o", "run/quality.json"),
    ],
)
def test_no_verb_writes_what_it_reads(
    arguments: tuple[str, ...], tmp_path: Path, boost: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    names = (
        "run/video.bnv",
        "run/model.safetensors",
        "run/quality.json",
        "frames/clip.json",
        "frames/clip.npy",
        "new.mkv",
    )
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    (tmp_path / "link").symlink_to("run/video.bnv")
    arguments = tuple(EXTRACT if argument == "{}" else argument for argument in arguments)
    outcome = boost(*arguments)
    assert outcome.code == 2
    reason = "(itself, or part of it, which is read|are the same file, to be written twice)"
    assert re.fullmatch(f"boostnerv: .* {reason}: choose another .*\n", outcome.err)
    assert all((tmp_path / name).read_text() == name for name in names)


EXTRACT = '{"dataset": "own", "video": {"name": "v", "source": {"kind": "path", "path": "v"}}}'
