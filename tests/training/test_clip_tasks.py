"""Trainings of models of many videos: what counts, resumed and shared among processes."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from boostnerv.codec.keyframes.keyframe_files import KeyframeFile, code_keyframes, open_keyframes
from boostnerv.config import FinetuneJob, Finetuning, KeyframeJob, ModelSettings, Training, TrainJob
from boostnerv.errors import InterruptedBySignal, UserError
from boostnerv.files import canonical_json
from boostnerv.models.architecture import build_model, crop_to_video
from boostnerv.models.clips import clip_keyframes
from boostnerv.progress import Progress, silent
from boostnerv.training.clip_tasks import ClipRegression
from boostnerv.training.entropy_minimisation import EntropyMinimisation
from boostnerv.training.losses import frame_losses
from boostnerv.training.planning import planned_clips
from boostnerv.training.run import clip_objective, finetune_video, train_video
from boostnerv.training.setting import TrainingData, TrainingMachine
from boostnerv.video.collections import OpenCollection, gather, open_collection
from boostnerv.video.frames import open_frames, write_frames
from boostnerv.video.patches import split_patches
from tests.models.tiny import CLIP_OPTIONS, MANY
from tests.training.conftest import Result, place
from tests.training.test_distributed import free_port
from tests.training.test_resume import interrupted, same, signal_at

CPU = torch.device("cpu")
NO_NOISE = torch.Generator()
L1 = {"l1": 1.0}
# Two clips and one, of four patches each: six batches of two an epoch.
LENGTHS = (5, 3)


@dataclass(frozen=True)
class Data:
    """Two videos, and their keyframes."""

    videos: Path
    keyframes: Path

    def open(self, name: str) -> tuple[OpenCollection, KeyframeFile | None]:
        return open_collection(self.videos), open_keyframes(self.keyframes) if name == "d-nerv" else None


def write_data(folder: Path, *, seed: int = 0) -> Data:
    random = np.random.default_rng(seed)
    manifests = []
    for number, length in enumerate(LENGTHS):
        pixels = random.integers(0, 256, (length, 10, 12, 3), dtype=np.uint8)
        write_frames(pixels, folder / f"{number}.npy", dataset="own", video=f"v{number}", fps=25)
        split_patches(open_frames(folder / f"{number}.json"), 5, 6, folder / f"{number}-patches.npy")
        manifests.append(folder / f"{number}-patches.json")
    gather(manifests, folder / "videos.json")
    job = KeyframeJob(codec="webp", quality=80, clip_frames=3)
    code_keyframes(open_collection(folder / "videos.json"), job, folder / "keyframes.json", threads=1, progress=silent)
    return Data(folder / "videos.json", folder / "keyframes.json")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Data:
    return write_data(tmp_path_factory.mktemp("many"))


def train_job(name: str, **training: Any) -> TrainJob:
    options = {**CLIP_OPTIONS[name], "clip_frames": 3}
    return TrainJob(
        model=ModelSettings(name=name, strides=(2, 2), fc_dim=3, options=options),
        training=Training(epochs=3, **{"optimizer": "adamw", "batch_size": 2, "loss": L1, **training}),
    )


def objective(data: Data, name: str) -> ClipRegression:
    job = train_job(name)
    videos, keyframes = data.open(name)
    model = build_model(name, planned_clips(job, videos), 1)
    return clip_objective(model, TrainingData(videos, keyframes), L1, CPU)


Run = Callable[..., Result]


@pytest.fixture
def train(data: Data, tmp_path: Path) -> Run:
    def run(
        job: TrainJob, *, folder: Path = tmp_path, save_every_s: float = 1e9, progress: Progress = silent
    ) -> Result:
        result = place(folder, "train")
        opened = TrainingData(*data.open(job.model.name))
        train_video(opened, job, result.outputs, TrainingMachine(CPU, save_every_s, progress))
        return result

    return run


# --- what counts --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", MANY)
def test_samples_are_clips_of_patches(name: str, data: Data) -> None:
    task = objective(data, name)
    assert task.trained_samples == task.evaluated_samples == range(3 * 4)
    whole = task.target(torch.tensor([0, 1, 2, 3]))
    assert whole.shape == (4 * 3, 3, 5, 6)
    videos, _ = data.open(name)
    expected = torch.from_numpy(videos.frames_of(0)[0:3]) / 255
    first_row = torch.cat([whole[:3], whole[3:6]], dim=3)
    second_row = torch.cat([whole[6:9], whole[9:12]], dim=3)
    assert torch.equal(torch.cat([first_row, second_row], dim=2).permute(0, 2, 3, 1), expected)


@pytest.mark.parametrize("name", MANY)
def test_frames_behind_the_end_count_nowhere(name: str, data: Data) -> None:
    task = objective(data, name)
    # The second clip of the first video has two frames; the clip of the second has three.
    indices = torch.tensor([1 * 4 + 1, 2 * 4 + 2])
    fit = task.fit(indices, NO_NOISE)
    assert len(fit.prediction) == len(fit.target) == 2 + 3
    videos, _ = data.open(name)
    assert torch.equal(fit.target[:2].permute(0, 2, 3, 1), torch.from_numpy(np.array(videos.patch(0, 1)[3:5])) / 255)
    assert torch.equal(fit.loss, frame_losses(L1, fit.prediction, fit.target).mean())
    assert fit.loss.item() == pytest.approx(
        (2 * task.fit(indices[:1], NO_NOISE).loss.item() + 3 * task.fit(indices[1:], NO_NOISE).loss.item()) / 5
    )
    assert float(task.share(indices[:1], indices)) == pytest.approx(2 / 5)
    assert task.reconstruct(indices).shape == fit.prediction.shape


def test_a_model_sees_the_decoded_keyframes_of_its_patch(data: Data) -> None:
    task = objective(data, "d-nerv")
    videos, keyframes = data.open("d-nerv")
    assert keyframes is not None
    spec = planned_clips(train_job("d-nerv"), videos)
    clip = spec.clips[1]
    assert spec.keyframes_around(clip) == (1, 2)
    shown = clip_keyframes(spec, keyframes.pixels[[1, 2], 3][None], CPU)
    index, distance = spec.frame_indices(clip, 3)[None], spec.distances(clip)[None]
    with torch.no_grad():
        made = crop_to_video(task.model.decoder(index, shown, distance), spec)[0, :2]
    assert torch.equal(task.reconstruct(torch.tensor([1 * 4 + 3])), made)


def test_batches_that_are_read_ahead_are_the_same(data: Data) -> None:
    task = objective(data, "d-nerv")
    batches = [torch.tensor([5, 2]), torch.tensor([11]), torch.tensor([0, 7, 3])]
    expected = [task.fit(batch, NO_NOISE) for batch in batches]
    task.expect([*batches[:2], torch.tensor([], dtype=torch.int64), batches[2]])
    for batch, before in zip(batches, expected, strict=True):
        fit = task.fit(batch, NO_NOISE)
        assert torch.equal(fit.loss, before.loss)
        assert torch.equal(fit.target, before.target)
    # One that was not announced is read where it is asked for, and spoils nothing.
    task.expect(batches[:2])
    assert torch.equal(task.fit(batches[2], NO_NOISE).loss, expected[2].loss)
    assert torch.equal(task.fit(batches[0], NO_NOISE).loss, expected[0].loss)


# --- resumed, and shared ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", MANY)
@pytest.mark.parametrize("step", [1, 5, 6, 13])
def test_a_signal_at_any_step(name: str, step: int, train: Run, tmp_path: Path) -> None:
    whole = train(train_job(name), folder=tmp_path / "whole")
    assert len(whole.lines()) == 3 + 1
    with pytest.raises(InterruptedBySignal):
        train(train_job(name), progress=signal_at(step, 15))  # type: ignore[arg-type]
    interrupted(place(tmp_path, "train"))
    steps: list[int] = []
    same(train(train_job(name), progress=lambda done, note="": steps.append(done)), whole)
    assert steps[:2] == [step, step + 1]


def test_a_state_of_other_colours_is_not_gone_on_with(train: Run, data: Data, tmp_path: Path) -> None:
    job = train_job("d-nerv-baseline")
    with pytest.raises(InterruptedBySignal):
        train(job, progress=signal_at(5, 15))  # type: ignore[arg-type]
    manifests = [data.videos.parent / f"{number}-patches.json" for number in range(2)]
    gather(manifests, tmp_path / "others.json", ((0.1, 0.1, 0.1), (0.9, 0.9, 0.9)))
    found, result = open_collection(tmp_path / "others.json"), place(tmp_path, "train")
    assert found.manifest.pixels_sha256 == open_collection(data.videos).manifest.pixels_sha256
    with pytest.raises(UserError, match="belongs to another configuration, another video"):
        train_video(TrainingData(found), job, result.outputs, TrainingMachine(CPU, 1e9))


@pytest.mark.parametrize("step", [2, 7])
def test_fine_tuning_goes_on_too(step: int, train: Run, data: Data, tmp_path: Path) -> None:
    trained = train(train_job("d-nerv"))
    job = FinetuneJob(finetuning=Finetuning(epochs=2, batch_size=2, loss=L1, lambda_rate=1e-3, target_bits=6.0))

    def finetune(folder: Path, progress: Progress = silent) -> Result:
        result = place(folder, "finetune")
        machine = TrainingMachine(CPU, 1e9, progress)
        finetune_video(TrainingData(*data.open("d-nerv")), job, trained.checkpoint, result.outputs, machine)
        return result

    whole = finetune(tmp_path / "whole")
    with pytest.raises(InterruptedBySignal):
        finetune(tmp_path, signal_at(step, 15))  # type: ignore[arg-type]
    same(finetune(tmp_path), whole)


def test_two_processes_give_the_result_of_one(train: Run, data: Data, tmp_path: Path) -> None:
    # A batch of clips of two frames and of three: shares of a batch are those of its frames.
    job = train_job("d-nerv", batch_size=5)
    alone = train(job, folder=tmp_path / "alone")
    folder = tmp_path / "two"
    folder.mkdir()
    settings = canonical_json(job.model_dump(mode="json"))
    command = [
        *(sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port", str(free_port())),
        *("-m", "--", "boostnerv", "train", "--frames", str(data.videos), "--keyframes", str(data.keyframes)),
        *("--settings", settings, "--device", "cpu", "--threads", "1", "--state", str(folder / "state")),
        *("--output", str(folder / "model.safetensors"), "--log", str(folder / "train.jsonl")),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    ours, theirs = load_file(alone.checkpoint), load_file(folder / "model.safetensors")
    for name, value in ours.items():
        # AdamW turns noise in gradients near zero into steps of the learning rate.
        assert float((value - theirs[name]).abs().max()) <= 2e-4, name
    lines = [json.loads(line) for line in (folder / "train.jsonl").read_text().splitlines()]
    for ours_line, line in zip(alone.lines()[:-1], lines[:-1], strict=True):
        assert line["loss"] == pytest.approx(ours_line["loss"], rel=1e-5)


# --- entropy minimisation -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", MANY)
def test_fine_tuning_sees_quantised_weights(name: str, data: Data) -> None:
    task = objective(data, name)
    cem = EntropyMinimisation(task, Finetuning(loss=L1, weight_bits=4))
    assert cem.evaluated_samples == task.evaluated_samples
    indices = torch.tensor([1, 6])
    coarse = cem.reconstruct(indices)
    assert not torch.equal(coarse, task.reconstruct(indices))
    quantized = cem.quantized()
    with torch.no_grad():
        for parameter, step, values in zip(
            task.model.decoder.parameters(), quantized.steps, quantized.weights.values(), strict=True
        ):
            parameter.copy_(torch.round(values / step) * step)
    torch.testing.assert_close(task.reconstruct(indices), coarse)


# --- what does not fit --------------------------------------------------------------------------------------


def test_keyframes_that_are_missing_or_of_others(data: Data, tmp_path: Path) -> None:
    videos, keyframes = data.open("d-nerv")
    assert keyframes is not None
    model = build_model("d-nerv", planned_clips(train_job("d-nerv"), videos), 1)
    with pytest.raises(UserError, match="this model needs keyframes: run `boostnerv code-keyframes`"):
        clip_objective(model, TrainingData(videos), L1, CPU)
    other = write_data(tmp_path, seed=1)
    with pytest.raises(UserError, match="are of other videos or of clips of 3 frames"):
        clip_objective(model, TrainingData(videos, open_keyframes(other.keyframes)), L1, CPU)
    (tmp_path / "keyframes.bin").write_bytes(b"other")
    with pytest.raises(UserError, match="are not those of keyframes.json; run their step again"):
        open_keyframes(other.keyframes).payload()
    (tmp_path / "keyframes.npy").unlink()
    with pytest.raises(UserError, match="are missing or cut off; run their step again"):
        open_keyframes(other.keyframes)


def test_videos_shorter_than_a_clip(data: Data) -> None:
    videos, _ = data.open("d-nerv-baseline")
    options = {**CLIP_OPTIONS["d-nerv-baseline"], "clip_frames": 4}
    model = ModelSettings(name="d-nerv-baseline", strides=(2, 2), fc_dim=3, options=options)
    job = TrainJob(model=model, training=Training(epochs=1, loss=L1))
    with pytest.raises(
        UserError, match="a clip of 4 frames is longer than video 'v1', which has 3; leave the video out"
    ):
        planned_clips(job, videos)
    padded = planned_clips(job.model_copy(update={"short_videos": "pad"}), videos)
    assert [clip.count for clip in padded.clips] == [4, 1, 3]


@pytest.mark.parametrize("bpp", [4.5, 7.0])
def test_the_best_quality_within_a_size(bpp: float, data: Data, tmp_path: Path) -> None:
    videos, _ = data.open("d-nerv")
    job = KeyframeJob(codec="webp", bpp=bpp, clip_frames=3)
    found = code_keyframes(videos, job, tmp_path / "k.json", threads=1, progress=silent)
    most_bytes = bpp * found.count * 10 * 12 / 8
    assert found.image_bytes <= most_bytes
    better = KeyframeJob(codec="webp", quality=found.quality + 1, clip_frames=3)
    if found.quality < 100:
        larger = code_keyframes(videos, better, tmp_path / "l.json", threads=1, progress=silent)
        assert larger.image_bytes > most_bytes
    with pytest.raises(UserError, match="keyframes by webp have [0-9]+ bytes at least, [0-9]+ were asked for"):
        tiny = KeyframeJob(codec="webp", bpp=0.01, clip_frames=3)
        code_keyframes(videos, tiny, tmp_path / "m.json", threads=1, progress=silent)
    assert not (tmp_path / "m.json").exists()
