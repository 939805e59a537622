"""Made points of 16 frames at 180x320: five of models, eight of anchors, as they come out of a real demo."""

from __future__ import annotations

from boostnerv.evaluation.measure import bits_per_pixel
from boostnerv.evaluation.points import COLUMNS, Point, Value

MODELS = (
    ("hnerv-boost", "0.08M", 33_120, 24.61, 0.871),
    ("hnerv-boost", "0.12M", 51_044, 25.43, 0.893),
    ("hnerv-boost", "0.18M", 80_310, 26.52, 0.917),
    ("hnerv-boost", "0.27M", 121_800, 27.61, 0.938),
    ("nerv-boost", "0.27M", 158_700, 26.10, 0.902),
)
ANCHORS = (
    ("x264", 18, 35_414, 35.66, 0.9903),
    ("x264", 23, 21_300, 33.10, 0.9822),
    ("x264", 28, 12_198, 30.60, 0.9693),
    ("x264", 33, 7_024, 27.99, 0.9461),
    ("x265", 18, 46_290, 36.69, 0.9919),
    ("x265", 23, 26_000, 34.40, 0.9862),
    ("x265", 28, 14_170, 32.12, 0.9758),
    ("x265", 33, 8_040, 29.65, 0.9593),
)


def point(codec: str, run: str, size_label: str, file_bytes: int, psnr_db: float, **others: Value) -> Point:
    values = {
        "experiment": "demo",
        "dataset": "bunny",
        "video": "bunny",
        "kind": "model",
        "codec": codec,
        "run": run,
        "size_label": size_label,
        "frames": 16,
        "height": 180,
        "width": 320,
        "fps": 25.0,
        "file_bytes": file_bytes,
        "bpp": bits_per_pixel(file_bytes, 16, 180, 320),
        "psnr_db": psnr_db,
        "frames_sha256": "0" * 64,
    }
    return {column.name: None for column in COLUMNS} | values | others


def model_points(video: str = "bunny", *, seed: int = 1, gain_db: float = 0.0, suffix: str = "") -> list[Point]:
    return [
        point(
            codec,
            f"{codec}-{label}{suffix}",
            label,
            file_bytes,
            psnr_db + gain_db,
            video=video,
            seed=seed,
            ms_ssim=ms_ssim,
            psnr_float_db=psnr_db + gain_db + 0.5,
            psnr_quantized_db=psnr_db + gain_db,
            train_s=300.0,
            finetune_s=65.0,
            encode_s=0.42,
            decode_fps=31.25,
        )
        for codec, label, file_bytes, psnr_db, ms_ssim in MODELS
    ]


def anchor_points(video: str = "bunny") -> list[Point]:
    return [
        point(
            codec,
            f"{codec}-q{quality}",
            f"crf {quality}",
            file_bytes,
            psnr_db,
            video=video,
            kind="anchor",
            ms_ssim=ms_ssim,
            encode_s=1.5,
            decode_fps=500.0,
        )
        for codec, quality, file_bytes, psnr_db, ms_ssim in ANCHORS
    ]


SIZES = (("1.5M", 1_502_331, 32.1), ("3M", 3_051_234, 33.75), ("5M", 5_012_345, 34.3))


def trained(codec: str, size_label: str, params_total: int, psnr_db: float, **others: Value) -> Point:
    """A model of a whole UVG video, measured as trained: it has no file and no rate."""
    values = {
        "experiment": "uvg-regression",
        "dataset": "uvg",
        "video": "Beauty",
        "task": "regression",
        "seed": 1,
        "frames": 600,
        "height": 1080,
        "width": 1920,
        "fps": 120.0,
        "params_total": params_total,
        "ms_ssim": 0.9 + psnr_db / 1000,
        "psnr_float_db": psnr_db + 0.02,
        "train_s": 3000.0,
        **others,
    }
    return point(codec, f"{codec}-{size_label}", size_label, 1, psnr_db) | values | {"file_bytes": None, "bpp": None}


def trained_points(codec: str = "hnerv-boost", loss_db: float = 0.0, suffix: str = "", **others: Value) -> list[Point]:
    """One model at three sizes; `suffix` ends the runs' names."""
    return [
        trained(codec, label, params_total, psnr_db - loss_db, **{"run": f"{codec}-{label}{suffix}", **others})
        for label, params_total, psnr_db in SIZES
    ]
