"""The two training steps: what they leave, that nothing but their settings decides it, and what they refuse."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from boostnerv import steps
from boostnerv.codec.container import limits
from boostnerv.config import config_hash
from boostnerv.errors import UserError
from boostnerv.host.devices import choose_device
from boostnerv.host.machine import Host
from boostnerv.training import checkpoint
from boostnerv.training.log import last_record
from boostnerv.training.loop import epoch_order
from boostnerv.training.schedules import learning_rate
from tests.models.tiny import ALL
from tests.training.conftest import Train, finetune_job, train_job, write_clip


@pytest.mark.parametrize("name", ALL)
def test_the_chain_leaves_checkpoints_and_logs(name: str, train: Train, finetune: Train) -> None:
    job = train_job(name)
    trained = train(job)
    finetuned = finetune(trained.checkpoint)
    assert trained.is_kept()
    assert finetuned.is_kept()

    lines = trained.lines()
    assert [line["epoch"] for line in lines[:-1]] == [1, 2, 3]
    assert [line["step"] for line in lines[:-1]] == [4, 8, 12]
    assert [("psnr_db" in line) for line in lines[:-1]] == [False, True, True]  # every second, and the last
    assert [line["lr"] for line in lines[:-1]] == [
        pytest.approx(learning_rate(job.training.lr, step / 12)) for step in (3, 7, 11)
    ]
    last = lines[-1]
    assert last["finished"] is True
    assert last["psnr_db"] == lines[-2]["psnr_db"]
    assert last["config_sha256"] == config_hash(job)
    assert (last["deterministic"], last["threads"]) == (True, 1)
    assert last_record(finetuned.log)["estimated_weights_bits"] > 0
    assert ("estimated_embedding_bits" in last_record(finetuned.log)) is name.startswith("hnerv")

    about, values = checkpoint.restore_quantized(finetuned.checkpoint)
    assert (about.kind, about.architecture, about.fps) == ("finetuned", name, 12.5)
    assert (about.train, about.finetune) == (job, finetune_job())
    assert about.make_spec() == checkpoint.load(trained.checkpoint)[0].make_spec()
    assert len(values.steps) == len(values.weights)
    assert all(step > 0 for step in values.steps)


def test_the_last_psnr_is_that_of_the_checkpoint(train: Train, clip: Path) -> None:
    from boostnerv.training.loop import mean_psnr_db
    from boostnerv.training.tasks import Regression, ResidentVideo
    from boostnerv.video.frames import open_frames

    result = train()
    _, model = checkpoint.restore(result.checkpoint)
    video = ResidentVideo(open_frames(clip).pixels, torch.device("cpu"))
    psnr = mean_psnr_db(Regression(model, video, {"l1": 1.0}), torch.device("cpu"))["psnr_db"]
    assert psnr == pytest.approx(last_record(result.log)["psnr_db"], abs=1e-4)


def test_training_helps(train: Train) -> None:
    lines = train(train_job(epochs=30)).lines()
    assert lines[-2]["loss"] < lines[0]["loss"]
    assert lines[-2]["psnr_db"] > lines[0]["train_psnr_db"]


@pytest.mark.parametrize("name", ALL)
def test_the_seed_decides_every_byte(name: str, train: Train, finetune: Train, tmp_path: Path) -> None:
    def bytes_of(seed: int, folder: str) -> tuple[bytes, bytes]:
        trained = train(train_job(name, seed=seed), folder=tmp_path / folder)
        finetuned = finetune(trained.checkpoint, finetune_job(seed=seed), folder=tmp_path / folder)
        return trained.checkpoint.read_bytes(), finetuned.checkpoint.read_bytes()

    first, again, other = bytes_of(1, "a"), bytes_of(1, "b"), bytes_of(2, "c")
    assert first == again
    assert first[0] != other[0]
    assert first[1] != other[1]


def test_the_seed_of_fine_tuning_decides_too(train: Train, finetune: Train, tmp_path: Path) -> None:
    trained = train().checkpoint
    results = [finetune(trained, finetune_job(seed=seed), folder=tmp_path / str(seed)) for seed in (1, 2)]
    values = [checkpoint.load(result.checkpoint)[1] for result in results]
    assert any(not torch.equal(values[0][key], values[1][key]) for key in values[0])


def test_a_batch_larger_than_what_is_left(train: Train) -> None:
    lines = train(train_job(batch_size=3)).lines()
    assert [line["step"] for line in lines[:-1]] == [2, 4, 6]


def test_every_epoch_has_every_frame_once_in_an_order_of_its_own() -> None:
    orders = [epoch_order(50, seed, epoch).tolist() for seed in (1, 2) for epoch in range(3)]
    assert all(sorted(order) == list(range(50)) for order in orders)
    assert len(set(map(tuple, orders))) == 6
    assert epoch_order(50, 1, 2).tolist() == orders[2]


def test_clamping_quantisers_go_through_the_chain(train: Train, finetune: Train, clip: Path, tmp_path: Path) -> None:
    kinds = {"weight_quantizer": "lsq", "embedding_quantizer": "lsqv2", "weight_bits": 3, "embedding_bits": 2}
    job = finetune_job(**kinds, rate_control="published")
    finetuned = finetune(train().checkpoint, job)
    _, values = checkpoint.restore_quantized(finetuned.checkpoint)
    for weight, step in zip(values.weights.values(), values.steps, strict=True):
        assert float((weight / step).abs().max()) <= 4.0 + 1e-4
    assert values.embeddings is not None
    codes = (values.embeddings - values.embedding_offset) / values.embedding_step
    assert float(codes.min()) >= -1e-4
    assert float(codes.max()) <= 3.0 + 1e-4

    report = steps.encode(
        steps.CodingFiles(
            frames=clip, model=finetuned.checkpoint, output=tmp_path / "x.bnv", report=tmp_path / "x.json"
        ),
        threads=1,
    )
    # The file's steps lie on a coarse grid; the training's do not.
    assert report["psnr_quantized_db"] == pytest.approx(last_record(finetuned.log)["psnr_db"], abs=0.05)


# --- what is refused ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("step", ["train", "finetune"])
def test_a_training_that_diverges(step: str, train: Train, finetune: Train) -> None:
    rate = {"peak": 1e30, "warmup": 0.0}
    sentence = r"the loss is not finite in epoch \d, after 3 returns .*; run it again with a lower {}\.lr\.peak"
    if step == "train":
        with pytest.raises(UserError, match=sentence.format("training")):
            train(train_job(lr=rate))
    else:
        trained = train().checkpoint
        with pytest.raises(UserError, match=sentence.format("finetuning")):
            finetune(trained, finetune_job(lr=rate))


def test_a_loss_that_the_frames_are_too_small_for(train: Train, finetune: Train) -> None:
    with pytest.raises(UserError, match="ms_ssim needs frames with sides over 160 pixels, these have 7×9"):
        train(train_job(loss="boosting-nerv/fusion10_freq"))
    trained = train().checkpoint
    with pytest.raises(UserError, match="ms_ssim needs frames"):
        finetune(trained, finetune_job(loss="boosting-nerv/fusion10_freq"))


def test_a_checkpoint_of_other_frames(train: Train, finetune: Train, tmp_path: Path) -> None:
    trained = train()
    other = write_clip(tmp_path, seed=1)
    with pytest.raises(UserError, match=r"was trained on other frames than .*clip\.npy; train on these frames"):
        finetune(trained.checkpoint, frames=other)
    finetuned = finetune(trained.checkpoint)
    with pytest.raises(UserError, match="was trained on other frames than"):
        steps.encode(
            steps.CodingFiles(
                frames=other, model=finetuned.checkpoint, output=tmp_path / "x.bnv", report=tmp_path / "x.json"
            ),
            threads=1,
        )
    assert not (tmp_path / "x.bnv").exists()


def test_steps_in_the_wrong_order(train: Train, finetune: Train, clip: Path, tmp_path: Path) -> None:
    trained = train()
    with pytest.raises(UserError, match="is not fine-tuned; run `boostnerv finetune` on it first"):
        steps.encode(
            steps.CodingFiles(
                frames=clip, model=trained.checkpoint, output=tmp_path / "x.bnv", report=tmp_path / "x.json"
            ),
            threads=1,
        )
    finetuned = finetune(trained.checkpoint)
    with pytest.raises(UserError, match="is fine-tuned already; give the one that `boostnerv train` wrote"):
        finetune(finetuned.checkpoint)


def test_encoding_measures_the_file_it_wrote(train: Train, finetune: Train, clip: Path, tmp_path: Path) -> None:
    finetuned = finetune(train(train_job(epochs=20)).checkpoint, finetune_job(epochs=5, target_bits=20.0))
    report = steps.encode(
        steps.CodingFiles(
            frames=clip, model=finetuned.checkpoint, output=tmp_path / "x.bnv", report=tmp_path / "x.json"
        ),
        threads=1,
    )
    decoded = steps.decode(
        steps.DecodingFiles(file=tmp_path / "x.bnv", output=tmp_path / "x.npy"),
        steps.DecodingChoice(),
        Host("cpu", threads=1),
    )
    assert report["decoded_sha256"] == decoded["decoded_sha256"]
    assert report["file_bytes"] == (tmp_path / "x.bnv").stat().st_size
    parts = ("header_bytes", "side_bytes", "weights_bytes", "embedding_bytes")
    assert sum(report[part] for part in parts) == report["file_bytes"]
    # Fine-tuning saw what the file shows, up to the grid on which steps are stored.
    assert report["psnr_quantized_db"] == pytest.approx(last_record(finetuned.log)["psnr_db"], abs=0.1)
    assert report["estimated_bytes"] == pytest.approx(report["weights_bytes"] + report["embedding_bytes"], rel=0.05)


def test_what_does_not_decode_gets_no_name(
    train: Train, finetune: Train, clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    finetuned = finetune(train().checkpoint)
    folder = tmp_path / "coded"
    folder.mkdir()
    output = folder / "x.bnv"
    output.write_bytes(b"older")
    monkeypatch.setattr(limits, "ANY_SEGMENT_S", 0.0)
    monkeypatch.setattr(limits, "S_PER_BYTE", 0.0)
    reason = r"\(section model: its first frame needs [^;()]+\)"
    with pytest.raises(UserError, match=rf"what was coded for .*x\.bnv cannot be decoded {reason}: train it again"):
        steps.encode(
            steps.CodingFiles(frames=clip, model=finetuned.checkpoint, output=output, report=folder / "x.json"),
            threads=1,
        )
    assert [(path.name, path.read_bytes()) for path in folder.iterdir()] == [("x.bnv", b"older")]


def test_devices() -> None:
    assert choose_device("cpu") == torch.device("cpu")
    assert choose_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
    with pytest.raises(UserError, match=r"device 'cdua' is not available here: did you mean 'cuda'\?"):
        choose_device("cdua")
    with pytest.raises(UserError, match=r"device 'xpu' is not available here; give --device auto, cpu or cuda"):
        choose_device("xpu")


@pytest.mark.parametrize("name", ["cuda", "cuda:7"])
@pytest.mark.parametrize(("built_for", "reason"), [(None, "is a build without CUDA"), ("13.0", "sees no GPU")])
def test_a_gpu_where_there_is_none(
    monkeypatch: pytest.MonkeyPatch, name: str, built_for: str | None, reason: str
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.version, "cuda", built_for)
    with pytest.raises(UserError) as caught:
        choose_device(name)
    assert str(caught.value) == (
        f"device '{name}' is not available here: PyTorch {torch.__version__} {reason}; "
        "give --device cpu or auto, or see what `boostnerv doctor` reports about the GPU"
    )


@pytest.mark.parametrize(
    ("count", "named"), [(1, "'cuda:0' is the only GPU"), (2, "the GPUs are 'cuda:0' to 'cuda:1'")]
)
def test_a_gpu_behind_the_last_one(monkeypatch: pytest.MonkeyPatch, count: int, named: str) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    with pytest.raises(UserError) as caught:
        choose_device("cuda:9")
    assert str(caught.value) == (f"device 'cuda:9' is not available here: {named}; give one of these, or --device auto")


@pytest.mark.parametrize("text", ["", "no json", '{"epoch": 1}\n'])
def test_logs_of_unfinished_trainings(tmp_path: Path, text: str) -> None:
    log = tmp_path / "train.jsonl"
    with pytest.raises(UserError, match="cannot be read; run the training step again"):
        last_record(log)
    log.write_text(text)
    with pytest.raises(UserError, match="run the training step again"):
        last_record(log)


def test_a_finished_log_has_only_finite_numbers(train: Train) -> None:
    for line in train().lines():
        assert all(math.isfinite(value) for value in line.values() if isinstance(value, float))
