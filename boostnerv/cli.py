"""The command line: one command with a verb for each step, each a thin shell over a function of `boostnerv.steps`.

Exit codes: 0; 1 when a check failed; 2 when the input is wrong (one sentence on stderr); 128 + signal number after a
signal: no temporary file is left, and the state of a training is saved.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from boostnerv.catalogue import AUTO, entropy_model_names

if TYPE_CHECKING:
    from boostnerv.config import Closed

_WHOLE = "From a video to a file"
_STEPS = "Steps of the workflow (each is a rule)"
_TOOLS = "Inspecting and measuring"
_SHARING = "Sharing results"


class _Verbs(TyperGroup):
    """Lists verbs under a heading for each kind."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        commands = [(name, self.get_command(ctx, name)) for name in self.list_commands(ctx)]
        width = formatter.width - 6 - max(len(name) for name, _ in commands)
        for heading in (_WHOLE, _STEPS, _TOOLS, _SHARING):
            rows = [
                (name, command.get_short_help_str(width))
                for name, command in commands
                if command is not None and getattr(command, "rich_help_panel", None) == heading
            ]
            with formatter.section(heading):
                formatter.write_dl(rows)


app = typer.Typer(
    cls=_Verbs,
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Turn a video into a neural network and the network into a small file.",
)

records = typer.Typer(no_args_is_help=True, help="Save or restore Snakemake's records of results.")
app.add_typer(records, name="records", rich_help_panel=_SHARING)

Output = Annotated[Path, typer.Option("--output", "-o", help="File to write.")]
Frames = Annotated[Path, typer.Option("--frames", help="Manifest (.json) of the frames.")]
Settings = Annotated[str, typer.Option("--settings", help="Settings as JSON, or a JSON or YAML file.")]
State = Annotated[
    Path,
    typer.Option("--state", help="Folder for the state of an unfinished training and the result of a finished one."),
]
Device = Annotated[str, typer.Option("--device", help="auto, cpu, cuda or cuda:N.")]
Threads = Annotated[int | None, typer.Option("--threads", min=1, help="Maximum number of CPU threads; all by default.")]
TensorBoard = Annotated[
    Path | None,
    typer.Option("--tensorboard", envvar="BOOSTNERV_TENSORBOARD", help="Folder for TensorBoard curves."),
]
Preview = Annotated[
    Path | None, typer.Option("--preview", help="Small preview video (.mp4) of the measured frames to write.")
]
Keyframes = Annotated[
    Path | None, typer.Option("--keyframes", help="Manifest (.json) of the keyframes, for models that use them.")
]
Planes = Annotated[
    Path | None, typer.Option("--planes", help="Manifest (.json) of the source's planes, to also measure Y, U and V.")
]
Scratch = Annotated[
    str | None,
    typer.Option(
        "--scratch",
        envvar="BOOSTNERV_SCRATCH",
        help="Folder on a local disk for copies of the training videos, e.g. $TMPDIR.",
    ),
]
Log = Annotated[Path, typer.Option("--log", help="Log to write, one JSON line per epoch.")]
Raw = Annotated[
    str | None,
    typer.Option(
        metavar="WIDTHxHEIGHT,PIXEL_FORMAT,FPS",
        help="Layout of headerless .yuv videos, e.g. 1920x1080,yuv420p,120.",
    ),
]
Vmaf = Annotated[bool, typer.Option("--vmaf", help="Also measure VMAF; needs an ffmpeg with libvmaf.")]


@app.command(rich_help_panel=_WHOLE)
def compress(
    source: Annotated[Path, typer.Argument(help="Video file or folder of images.")],
    output: Annotated[Path, typer.Argument(help="The .bnv file to write.")],
    bpp: Annotated[float | None, typer.Option(help="Maximum bits per pixel of the file, e.g. 0.05.")] = None,
    size: Annotated[
        str | None, typer.Option(metavar="BYTES", help="Or its maximum size in bytes, e.g. 1.5M or 800k.")
    ] = None,
    preset: Annotated[str, typer.Option(help="fast, balanced or best: how long to train.")] = "balanced",
    model: Annotated[str, typer.Option("--model", help="Name of the model.")] = "hnerv-boost",
    gop: Annotated[
        int, typer.Option(min=1, help="Maximum frames per model; longer videos are split into segments.")
    ] = 600,
    cut_scenes: Annotated[bool, typer.Option(help="Start a new segment at scene cuts.")] = True,
    prepare: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY=VALUE",
            help="How frames are prepared from the source, e.g. frame_count=100 or interlaced=deinterlace; repeatable. "
            "Keys are those of Preparation in config/README.md.",
        ),
    ] = None,
    fps: Annotated[float | None, typer.Option(help="Frames per second of a folder of images; 25 by default.")] = None,
    raw: Raw = None,
    seed: Annotated[int, typer.Option(min=0, help="Random seed.")] = 1,
    work: Annotated[
        Path | None,
        typer.Option(help="Where to create OUTPUT.work, the folder of unfinished work; beside the output by default."),
    ] = None,
    keep: Annotated[
        bool, typer.Option("--keep", help="Keep that folder with its checkpoints, logs and frames.")
    ] = False,
    device: Device = "auto",
    threads: Threads = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Compress a video into a .bnv file of a wanted size.

    Trains a network on the video, codes it, decodes the file in a fresh process and reports rate and quality. Give
    --bpp or --size; an existing output is replaced at the end.

    If interrupted, rerun the same command to resume. Sound is not stored: `decode --audio-from` adds it back.
    """
    from boostnerv import compression, progress, steps
    from boostnerv.video.options import parse_preparation, parse_raw

    steps.prepare_cpu(threads)
    request = compression.Request(
        bpp=bpp,
        size_bytes=None if size is None else compression.parse_size(size),
        preset=preset,
        model=model,
        gop=gop,
        cut_scenes=cut_scenes,
        preparation=parse_preparation(prepare or []),
        fps=fps,
        raw=None if raw is None else parse_raw(raw),
        seed=seed,
        device=device,
    )
    folder = compression.work_folder(output, work)
    result = compression.compress(source, output, request, folder, progress.track, keep=keep)
    if as_json:
        _print(result)
    else:
        typer.echo(compression.result_text(result))


@app.command("fetch-source", rich_help_panel=_STEPS)
def fetch_source(
    dataset: Annotated[str, typer.Option(help="Data set.")],
    video: Annotated[str, typer.Option(help="Video of it.")],
    output: Output,
) -> None:
    """Fetch and verify the source of a registered video."""
    from boostnerv import steps
    from boostnerv.config import load_dataset, with_listed_videos

    spec = with_listed_videos(load_dataset(dataset))
    steps.fetch_source(spec, spec.video(video), output)


@app.command("extract-frames", rich_help_panel=_STEPS)
def extract_frames(
    source: Annotated[Path, typer.Argument(help="Video file or folder of images.")], settings: Settings, output: Output
) -> None:
    """Decode a video into RGB frames and a manifest."""
    from boostnerv import steps
    from boostnerv.config import ExtractJob

    steps.extract_frames(source, _settings(ExtractJob, settings), output)


@app.command("extract-planes", rich_help_panel=_STEPS)
def extract_planes(
    source: Annotated[Path, typer.Argument(help="Video file.")], settings: Settings, output: Output
) -> None:
    """Decode the Y, U and V planes of a 4:2:0 video.

    They have the source's bit depth.
    """
    from boostnerv import steps
    from boostnerv.config import ExtractJob

    steps.extract_planes(source, _settings(ExtractJob, settings), output)


@app.command("split-patches", rich_help_panel=_STEPS)
def split_patches(
    frames: Frames,
    output: Output,
    height: Annotated[int, typer.Option(min=1, help="Patch height in pixels; must divide the frame height.")],
    width: Annotated[int, typer.Option(min=1, help="Patch width in pixels; must divide the frame width.")],
) -> None:
    """Split frames into patches.

    Each patch is treated as a separate video. Patches are numbered row by row; the manifest records how to reassemble
    them.
    """
    from boostnerv import steps

    steps.split_patches(frames, height, width, output)


@app.command("gather-videos", rich_help_panel=_STEPS)
def gather_videos(
    output: Output,
    manifests: Annotated[
        list[Path] | None, typer.Argument(help="Manifests of frames or patches, one per video.")
    ] = None,
    listed: Annotated[Path | None, typer.Option("--list", help="Or a text file that lists them, one per line.")] = None,
    mean: Annotated[
        str | None, typer.Option(help="Mean of R, G, B in [0, 1], e.g. 0.45,0.45,0.45; computed by default.")
    ] = None,
    std: Annotated[str | None, typer.Option(help="Standard deviation of R, G, B in [0, 1], likewise.")] = None,
) -> None:
    """Combine several videos into one training set.

    Their frames stay where they are. The pixels' mean and standard deviation are computed unless they are given.
    """
    from boostnerv import steps
    from boostnerv.errors import UserError

    if (mean is None) != (std is None):
        raise UserError("--mean and --std go together; give both, or neither to have them found")
    given = (_three(mean, "--mean"), _three(std, "--std"))
    steps.gather_videos(_named(manifests, listed, "manifests"), given if mean else None, output)


@app.command("code-keyframes", rich_help_panel=_STEPS)
def code_keyframes(
    videos: Annotated[Path, typer.Option("--videos", help="Training set written by gather-videos.")],
    settings: Settings,
    output: Output,
    threads: Threads = None,
) -> None:
    """Code the keyframes of a training set as images.

    Keyframes are the first frame of every clip and the last frame of each video. Training uses them as decoded, as the
    decoder will.
    """
    from boostnerv import steps
    from boostnerv.config import KeyframeJob

    steps.code_keyframes(videos, _settings(KeyframeJob, settings), output, threads=threads)


@app.command(rich_help_panel=_STEPS)
def train(
    frames: Frames,
    settings: Settings,
    output: Output,
    log: Log,
    state: State,
    keyframes: Keyframes = None,
    device: Device = "auto",
    threads: Threads = None,
    tensorboard: TensorBoard = None,
    scratch: Scratch = None,
    processes: Annotated[
        int, typer.Option(min=1, help="Processes that share each batch and the threads, one GPU per process.")
    ] = 1,
) -> None:
    """Fit a model to one video or several.

    If interrupted, rerun the same command to resume. For multi-video models, --frames is the training set written by
    gather-videos.
    """
    from boostnerv import steps
    from boostnerv.config import TrainJob
    from boostnerv.host.machine import Host

    job = _settings(TrainJob, settings)
    if processes > 1:
        threads = steps.in_processes(processes, threads)
    job_files = steps.TrainFiles(frames=frames, keyframes=keyframes, model=output, log=log, state=state)
    steps.train(job_files, job, Host(device, threads, scratch, tensorboard))


@app.command(rich_help_panel=_STEPS)
def finetune(
    frames: Frames,
    settings: Settings,
    output: Output,
    log: Log,
    state: State,
    model: Annotated[Path, typer.Option("--model", help="Trained checkpoint.")],
    keyframes: Keyframes = None,
    device: Device = "auto",
    threads: Threads = None,
    tensorboard: TensorBoard = None,
    scratch: Scratch = None,
) -> None:
    """Fine-tune a trained model for coding.

    Consistent entropy minimisation (CEM) minimises distortion and rate of the quantised model jointly.
    """
    from boostnerv import steps
    from boostnerv.config import FinetuneJob
    from boostnerv.host.machine import Host

    job = _settings(FinetuneJob, settings)
    job_files = steps.TrainFiles(frames=frames, keyframes=keyframes, trained=model, model=output, log=log, state=state)
    steps.finetune(job_files, job, Host(device, threads, scratch, tensorboard))


@app.command(rich_help_panel=_STEPS)
def encode(
    frames: Frames,
    output: Output,
    model: Annotated[Path, typer.Option("--model", help="Fine-tuned checkpoint.")],
    report: Annotated[Path, typer.Option("--report", help="JSON to write.")],
    entropy_model: Annotated[
        str | None,
        typer.Option(help=f"{', '.join((AUTO, *entropy_model_names()))}; else as fine-tuned."),
    ] = None,
    keyframes: Keyframes = None,
    threads: Threads = None,
) -> None:
    """Code a fine-tuned model into a .bnv file.

    The report has the sizes of its parts and the hash of its decoded frames.
    """
    from boostnerv import steps

    job_files = steps.CodingFiles(frames=frames, keyframes=keyframes, model=model, output=output, report=report)
    _print(steps.encode(job_files, threads=threads, entropy_model=entropy_model))


@app.command("encode-after-training", rich_help_panel=_STEPS)
def encode_after_training(
    frames: Frames,
    output: Output,
    model: Annotated[Path, typer.Option("--model", help="Trained checkpoint.")],
    report: Annotated[Path, typer.Option("--report", help="JSON to write.")],
    settings: Settings = "{}",
    keyframes: Keyframes = None,
    threads: Threads = None,
) -> None:
    """Code a trained model without fine-tuning (PTQ).

    Post-training quantisation with 8-bit quantisers and Huffman codes, as published for HNeRV and D-NeRV.
    """
    from boostnerv import steps
    from boostnerv.config import PostTraining

    job = _settings(PostTraining, settings)
    job_files = steps.CodingFiles(frames=frames, keyframes=keyframes, model=model, output=output, report=report)
    _print(steps.encode_after_training(job_files, job, threads=threads))


@app.command(rich_help_panel=_STEPS)
def decode(
    file: Annotated[Path, typer.Argument(help="The .bnv file.")],
    output: Annotated[
        Path, typer.Option("--output", "-o", help=".mp4, .mkv, .mov, .y4m, .npy, or a folder for PNG images.")
    ],
    report: Annotated[Path | None, typer.Option("--report", help="JSON to write.")] = None,
    frames: Annotated[str | None, typer.Option("--frames", help="Only these frames, e.g. 10:20 for 10 to 19.")] = None,
    video: Annotated[
        str | None, typer.Option("--video", help="Name of the video to decode from a multi-video file.")
    ] = None,
    lossless: Annotated[bool, typer.Option("--lossless", help="Write .mp4, .mkv and .mov losslessly.")] = False,
    audio_from: Annotated[
        Path | None,
        typer.Option("--audio-from", help="Video or audio file whose sound is copied into .mp4, .mkv or .mov."),
    ] = None,
    fast: Annotated[
        bool, typer.Option("--fast", help="Use larger batches; pixels may differ from the encoder's by one level.")
    ] = False,
    device: Device = "cpu",
    threads: Threads = None,
) -> None:
    """Decode a .bnv file into a video, images or array.

    Only the file is needed. Frames do not depend on the number of threads.

    Videos are written as progressive SDR with square pixels; a note says where the source was something else.
    """
    from boostnerv import steps
    from boostnerv.host.machine import Host

    job_files = steps.DecodingFiles(file=file, output=output, report=report, audio_from=audio_from)
    choice = steps.DecodingChoice(frames=_range(frames), video=video, exact=not fast, lossless=lossless)
    _print(steps.decode(job_files, choice, Host(device, threads)))


@app.command(rich_help_panel=_STEPS)
def evaluate(
    frames: Frames,
    output: Output,
    file: Annotated[Path, typer.Option("--file", help="The .bnv file.")],
    decoded: Annotated[Path, typer.Option("--decoded", help="Its decoded frames (.npy).")],
    encode_report: Annotated[Path, typer.Option(help="Report of encode.")],
    decode_report: Annotated[Path, typer.Option(help="Report of decode.")],
    identity: Annotated[str, typer.Option(help="experiment, run, codec, size_label, seed as JSON.")],
    frames_csv: Annotated[Path, typer.Option(help="CSV to write, one row per frame.")],
    train_log: Annotated[Path | None, typer.Option(help="Training log; imported models have none.")] = None,
    finetune_log: Annotated[Path | None, typer.Option(help="Fine-tuning log, if any.")] = None,
    vmaf: Vmaf = False,
    planes: Planes = None,
    preview: Preview = None,
    threads: Threads = None,
) -> None:
    """Measure PSNR, MS-SSIM and rate of a decoded file.

    At full resolution; the rate is the file size in bits per pixel.
    """
    from boostnerv import steps

    job_files = steps.EvaluationFiles(
        frames=frames,
        file=file,
        decoded=decoded,
        encode_report=encode_report,
        decode_report=decode_report,
        train_log=train_log,
        finetune_log=finetune_log,
        planes=planes,
        output=output,
        frames_csv=frames_csv,
        preview=preview,
    )
    point = steps.evaluate(job_files, _json(identity, "--identity"), threads=threads, vmaf=vmaf)
    _print({key: point[key] for key in ("run", "file_bytes", "bpp", "psnr_db", "ms_ssim", "frames_match_encoder")})


@app.command("evaluate-model", rich_help_panel=_STEPS)
def evaluate_model(
    frames: Frames,
    output: Output,
    model: Annotated[Path, typer.Option("--model", help="Trained checkpoint.")],
    identity: Annotated[str, typer.Option(help="experiment, run, codec, size_label, seed as JSON.")],
    frames_csv: Annotated[Path, typer.Option(help="CSV to write, one row per frame.")],
    train_log: Annotated[Path | None, typer.Option(help="Training log; imported models have none.")] = None,
    keyframes: Keyframes = None,
    preview: Preview = None,
    device: Device = "auto",
    vmaf: Vmaf = False,
    threads: Threads = None,
) -> None:
    """Measure a trained model before coding.

    Frames or pixels that its task withheld are also measured separately.
    """
    from boostnerv import steps
    from boostnerv.host.machine import Host

    job_files = steps.ModelEvaluationFiles(
        frames=frames,
        keyframes=keyframes,
        model=model,
        train_log=train_log,
        output=output,
        frames_csv=frames_csv,
        preview=preview,
    )
    point = steps.evaluate_model(job_files, _json(identity, "--identity"), Host(device, threads), vmaf=vmaf)
    _print({key: value for key, value in point.items() if key.startswith(("run", "psnr", "ms_ssim", "vmaf"))})


@app.command("encode-anchor", rich_help_panel=_STEPS)
def encode_anchor(
    frames: Frames,
    settings: Settings,
    output: Output,
    quality: Annotated[int, typer.Option(help="CRF or QP.")],
    stream: Annotated[Path, typer.Option(help="Elementary stream to write.")],
    experiment: Annotated[str, typer.Option(help="Name of the experiment.")],
    vmaf: Vmaf = False,
    planes: Planes = None,
    frames_csv: Annotated[Path | None, typer.Option(help="CSV to write, one row per frame.")] = None,
    preview: Preview = None,
    threads: Threads = None,
) -> None:
    """Code and measure frames with a classical codec."""
    from boostnerv import steps
    from boostnerv.config import Anchor

    job_files = steps.AnchorFiles(
        frames=frames, planes=planes, stream=stream, output=output, frames_csv=frames_csv, preview=preview
    )
    anchor = _settings(Anchor, settings)
    steps.encode_anchor(job_files, anchor, quality, experiment, threads=threads, vmaf=vmaf)


@app.command("preview-source", rich_help_panel=_STEPS)
def preview_source(
    frames: Frames,
    output: Output,
    many: Annotated[bool, typer.Option("--many", help="The manifest is of gathered videos.")] = False,
) -> None:
    """Write the first seconds as a small video."""
    from boostnerv import steps

    steps.preview_source(frames, output, many=many)


@app.command(rich_help_panel=_STEPS)
def collect(
    output: Output,
    results: Annotated[list[Path] | None, typer.Argument(help="quality.json and anchor files.")] = None,
    listed: Annotated[Path | None, typer.Option("--list", help="Or a text file that lists them, one per line.")] = None,
) -> None:
    """Collect results into points.csv."""
    from boostnerv import steps

    steps.collect(_named(results, listed, "results"), output)


@app.command(rich_help_panel=_STEPS)
def tabulate(
    points: Annotated[Path, typer.Argument(help="points.csv.")],
    output: Output,
    csv: Annotated[Path, typer.Option(help="The same as CSV.")],
    metrics: Annotated[Path | None, typer.Option(help="JSON to write: rate and quality of each point.")] = None,
    bd_markdown: Annotated[
        Path | None, typer.Option(help="Markdown to write: BD-rates of all pairs of curves.")
    ] = None,
    bd_csv: Annotated[Path | None, typer.Option(help="The BD-rates as CSV.")] = None,
    published: Annotated[Path | None, typer.Option(help="CSV to write: ours beside published figures.")] = None,
) -> None:
    """Write the tables of an experiment."""
    from boostnerv import steps

    tables = steps.TableFiles(
        markdown=output, csv=csv, metrics=metrics, bd_markdown=bd_markdown, bd_csv=bd_csv, published=published
    )
    steps.tabulate(points, tables)


@app.command(rich_help_panel=_STEPS)
def page(
    points: Annotated[Path, typer.Argument(help="points.csv.")],
    output: Output,
    folder: Annotated[Path, typer.Option("--folder", help="Results of the experiment: logs and previews.")],
    experiment: Annotated[
        Path | None, typer.Option("--experiment", help="Experiment file: its title, and the settings of runs.")
    ] = None,
) -> None:
    """Write all results as one page for browsers (.html).

    It opens from disk and loads nothing: tables, curves, videos, settings and logs are inside.
    """
    from boostnerv import steps

    size_bytes = steps.page(points, folder, experiment, output)
    typer.echo(f"{output}: {size_bytes / 1e6:.1f} MB")


@app.command(rich_help_panel=_STEPS)
def plot(
    points: Annotated[Path, typer.Argument(help="points.csv.")],
    folder: Annotated[Path, typer.Option("--folder", help="Folder for the figures.")],
    log: Annotated[list[str] | None, typer.Option(help="NAME=train.jsonl; may be repeated.")] = None,
    listed: Annotated[Path | None, typer.Option("--logs", help="Or a text file of such, one a line.")] = None,
) -> None:
    """Draw the figures of an experiment (SVG and PNG)."""
    from boostnerv import steps

    pairs = (entry.partition("=") for entry in [*(log or []), *(_lines(listed) if listed else [])])
    steps.plot(points, folder, {name: Path(path) for name, _, path in pairs})


@app.command("plot-runs", rich_help_panel=_STEPS)
def plot_runs(
    results: Annotated[list[Path], typer.Argument(help="quality.json and anchor files of one video.")],
    folder: Annotated[Path, typer.Option("--folder", help="Folder for the figures.")],
    frames: Annotated[Path | None, typer.Option("--frames", help="Manifest of the frames that were coded.")] = None,
    threads: Threads = None,
) -> None:
    """Draw frames, bits and crops of a video's runs.

    The figures are SVG and PNG. Their other inputs are read from the folders of the results.
    """
    from boostnerv import steps

    steps.plot_runs(results, frames, folder, threads=threads)


@app.command(rich_help_panel=_TOOLS)
def check(
    experiment: Annotated[Path, typer.Argument(help="Experiment file, e.g. config/demo.yaml.")],
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Plan, or comparison, to write (JSON).")] = None,
    published: Annotated[
        Path | None, typer.Option("--published", help="Its points.csv, to compare with published figures.")
    ] = None,
    tolerance_db: Annotated[float, typer.Option(min=0, help="Largest difference from a published PSNR, in dB.")] = 0.2,
    allow_missing: Annotated[
        bool,
        typer.Option("--allow-missing", help="Leave out own videos that are missing."),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Check an experiment before anything runs.

    Validates every own video, model, size and encoder, and prints the plan.

    With --published, compares its results with published figures instead: exit code 1 if any differs by more than the
    tolerance, in either direction.
    """
    from boostnerv import steps
    from boostnerv.config import load_experiment
    from boostnerv.errors import enumeration

    loaded = load_experiment(experiment)
    if published is not None:
        _show_comparison(steps.check_published(loaded, published, output), tolerance_db, as_json)
        return
    plan = steps.planned(loaded, output, allow_missing=allow_missing)
    if as_json:
        _print(plan.rows)
        return
    for row in plan.rows:
        whole, decoded, padded = (
            (row[f"{which}height"], row[f"{which}width"]) for which in ("", "decoded_", "padded_")
        )
        note = f", in patches of {decoded[0]}×{decoded[1]}" if decoded != whole else ""
        about = "about " if row["frames_estimated"] else ""
        note += f" (padded to {padded[0]}×{padded[1]})" if padded != decoded else ""
        typer.echo(
            f"{row['video']} {row['run']}: {row['params_total']:,} parameters, {row['kmac_per_pixel']:.1f} kMAC/pixel, "
            f"{about}{row['frames']} frames of {row['height']}×{row['width']}{note}"
        )
    if loaded.models and plan.unknown:
        typer.echo(f"size not known before extraction, not checked: {enumeration(sorted(plan.unknown))}")


@app.command("import", rich_help_panel=_TOOLS)
def import_checkpoint(
    file: Annotated[Path, typer.Argument(help="Checkpoint (.pth) or compressed video (quant_vid.pth).")],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Checkpoint (.safetensors) or frames (.npy) to write.")
    ],
    model: Annotated[str | None, typer.Option(help="Name of the model, e.g. hnerv-boost.")] = None,
    strides: Annotated[str | None, typer.Option(help="Strides of the decoder, e.g. 5,2,2,2,2.")] = None,
    height: Annotated[int | None, typer.Option(min=1, help="Height of the video.")] = None,
    width: Annotated[int | None, typer.Option(min=1, help="Width of the video.")] = None,
    frames: Annotated[int | None, typer.Option(min=1, help="Frames of the video.")] = None,
    fc_dim: Annotated[int | None, typer.Option(min=1, help="Width of the first map; else from the tensors.")] = None,
    lengths: Annotated[str | None, typer.Option(help="Frames of each video of D-NeRV, e.g. 600,600,300.")] = None,
    size: Annotated[str | None, typer.Option(help="Published size of D-NeRV, e.g. M; the width is checked.")] = None,
    dataset: Annotated[str | None, typer.Option(help="What D-NeRV was trained on: uvg or ucf101-train.")] = None,
    option: Annotated[list[str] | None, typer.Option(help="KEY=VALUE, another field of the spec; repeatable.")] = None,
    threads: Threads = None,
) -> None:
    """Import a published checkpoint or compressed video.

    Files of Boosting-NeRV, HNeRV and D-NeRV are read: a checkpoint becomes a checkpoint of ours, a compressed video its
    decoded frames.

    Options that are not given are read from the args.yaml beside the file, then from tensor shapes. No code in the file
    is executed.
    """
    from boostnerv import steps
    from boostnerv.interop.arguments import Arguments

    arguments = Arguments(
        model=model,
        strides=_whole_numbers(strides, "--strides"),
        height=height,
        width=width,
        frames=frames,
        fc_dim=fc_dim,
        lengths=_whole_numbers(lengths, "--lengths"),
        size=size,
        dataset=dataset,
        options=_options(option or []),
    )
    _print(steps.import_checkpoint(file, output, arguments, threads=threads))


@app.command("export", rich_help_panel=_TOOLS)
def export_checkpoint(
    checkpoint: Annotated[Path, typer.Argument(help="Checkpoint (.safetensors).")], output: Output
) -> None:
    """Export a checkpoint for the published code."""
    from boostnerv import steps

    _print(steps.export_checkpoint(checkpoint, output))


@app.command(rich_help_panel=_TOOLS)
def compare(
    reference: Annotated[Path, typer.Argument(help="Video file, folder of images, or frames (.json or .npy).")],
    tests: Annotated[list[Path], typer.Argument(help="Files made from it: .bnv, videos, folders of images.")],
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Rows to write (.csv or .json).")] = None,
    figure: Annotated[Path | None, typer.Option("--figure", help="PSNR over rate to draw (.png or .svg).")] = None,
    frames_csv: Annotated[Path | None, typer.Option(help="Values of all frames of all files to write (.csv).")] = None,
    vmaf: Vmaf = False,
    colour: Annotated[
        str | None, typer.Option(help="How videos become RGB: ffmpeg-default, bt709-float or bt601-float.")
    ] = None,
    prepare: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY=VALUE",
            help="How frames are made of videos and folders of images, as for compress, e.g. frame_count=100; "
            "repeatable. .bnv files and frames are taken as they are.",
        ),
    ] = None,
    raw: Raw = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    device: Device = "cpu",
    threads: Threads = None,
) -> None:
    """Measure files against their source.

    Prints PSNR, MS-SSIM and bits per pixel. All files are decoded to 8-bit RGB by the colour profile that a .bnv file
    or a manifest names. Interlaced, HDR and non-square pixels are kept as they are unless --prepare says otherwise. The
    rate of a file is its size, including container and sound; folders of images have none. Identical frames have 90 dB.
    """
    from boostnerv import steps
    from boostnerv.evaluation.compare import AS_THEY_ARE, rows_text
    from boostnerv.host.machine import Host
    from boostnerv.video.options import parse_preparation, parse_raw

    choice = steps.ComparisonChoice(
        vmaf=vmaf,
        colour=colour,
        preparation=parse_preparation(prepare or [], AS_THEY_ARE),
        raw=None if raw is None else parse_raw(raw),
    )
    written = steps.ComparisonFiles(output=output, figure=figure, frames_csv=frames_csv)
    rows = steps.compare(reference, tests, written, choice, Host(device, threads))
    if as_json:
        _print([row.record() for row in rows])
    else:
        typer.echo(rows_text(rows, str(reference)))


@app.command(rich_help_panel=_TOOLS)
def info(
    file: Annotated[Path, typer.Argument(help="The .bnv file.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show the contents of a .bnv file.

    The bytes of its sections add up to the file size.
    """
    from boostnerv.evaluation.inspection import describe_file, file_text

    description = describe_file(file)
    if as_json:
        _print(description)
    else:
        typer.echo(file_text(description))


@app.command(rich_help_panel=_TOOLS)
def repack(
    file: Annotated[Path, typer.Argument(help="The .bnv file.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="File to write; without it FILE is replaced.")
    ] = None,
) -> None:
    """Shrink a .bnv file without loss.

    The frames stay the same, and the file never grows.
    """
    from boostnerv import steps

    _print(steps.repack(file, output))


@app.command(rich_help_panel=_TOOLS)
def status(
    experiment: Annotated[Path, typer.Argument(help="Experiment file, e.g. config/demo.yaml.")],
    folder: Annotated[Path, typer.Option("--folder", help="Where its workflow runs.")] = Path(),
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    watch: Annotated[
        float | None,
        typer.Option(min=0.1, metavar="SECONDS", help="Refresh at this interval until everything is done."),
    ] = None,
) -> None:
    """Show the progress of a running experiment.

    Lists each run as done, running, stopped or failed, with its step, epoch, PSNR and time left.

    Only files are read, wherever the jobs run. Time left covers training and assumes that fine-tuning is as fast. A
    stopped run resumes when the workflow is started again.
    """
    from boostnerv.config import load_experiment
    from boostnerv.operations.status import lines_text, looks, table

    overviews = looks(load_experiment(experiment), folder, watch)
    if as_json:
        for overview in overviews:
            _print(overview.record())
    elif sys.stdout.isatty():
        from rich.live import Live

        with Live(refresh_per_second=1, auto_refresh=False) as display:
            for overview in overviews:
                display.update(table(overview), refresh=True)
    else:
        for overview in overviews:
            typer.echo(lines_text(overview))


@app.command(rich_help_panel=_TOOLS)
def doctor(
    cluster: Annotated[bool, typer.Option("--cluster", help="Also check the SLURM cluster and the profile.")] = False,
    profile: Annotated[str, typer.Option("--profile", help="That profile, as snakemake --profile takes it.")] = "slurm",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Check this machine and report problems.

    Covers versions, devices, ffmpeg and its encoders, disk, DVC and locks; with --cluster also SLURM.

    One line per finding (ok, note or wrong) with a remedy below it. Exit code 1 if anything is wrong.
    """
    import dataclasses

    from boostnerv.operations.doctor import examine_cluster, examine_machine, findings_text

    findings = [*examine_machine(Path()), *(examine_cluster(profile) if cluster else [])]
    if as_json:
        _print([dataclasses.asdict(finding) for finding in findings])
    else:
        typer.echo(findings_text(findings))
    if any(finding.mark == "wrong" for finding in findings):
        raise typer.Exit(1)


@app.command(rich_help_panel=_SHARING)
def pull(
    experiments: Annotated[
        list[str] | None, typer.Argument(help="Names of experiments; all published ones by default.")
    ] = None,
) -> None:
    """Download published results.

    They look as if they had been computed here. Files come from the DVC remote; Snakemake's records are restored with
    them, so nothing is planned again.
    """
    from boostnerv.operations import sharing

    for note in sharing.pull(experiments or []):
        typer.echo(note)


@records.command("keep")
def keep_records(results: Annotated[Path, typer.Argument(help="Results of an experiment, e.g. results/demo.")]) -> None:
    """Copy Snakemake's records into the results, as `dvc repro` does after each run."""
    from boostnerv.operations.records import KEPT, keep

    typer.echo(f"{keep(results)} records are kept in {results / KEPT}")


@records.command("restore")
def restore_records(
    results: Annotated[Path, typer.Argument(help="Results of an experiment, e.g. results/demo.")],
) -> None:
    """Restore the records and mark the results as up to date.

    `make pull` does this; after `dvc checkout`, run it yourself. The folder is trusted: files that changed in it since
    are marked too, and only files outside are compared.
    """
    from boostnerv.operations.records import restore
    from boostnerv.operations.sharing import source_note

    differing = restore(results)
    typer.echo(f"the records of {results} are put back")
    for source in differing:
        typer.echo(source_note(source, results))


def main() -> None:
    """Entry point: user and system errors become one sentence and exit code 2.

    If the reader of the output has gone, as ``head`` does, the command ends silently.
    """
    from boostnerv.errors import InterruptedBySignal, UserError, system_sentence
    from boostnerv.host import signals, terminal

    terminal.prepare_streams()
    try:
        with signals.raising(signals.not_ignored(), "before it was done", state_is_saved=False):
            app()
    except SystemExit as ended:
        # Typer has met it, and gives the code of a check that did not hold.
        sys.exit(terminal.READER_IS_GONE if isinstance(ended.__context__, BrokenPipeError) else ended.code)
    except UserError as error:
        terminal.say(str(error))
        sys.exit(2)
    except InterruptedBySignal as stop:
        terminal.say(str(stop))
        sys.exit(128 + stop.signal_number)
    except (OSError, UnicodeError) as error:
        terminal.say(terminal.output_problem(error) or system_sentence(error))
        sys.exit(2)


def _settings(kind: type[Closed], text: str) -> Any:
    from boostnerv.config import parse, read_yaml

    if not text.lstrip().startswith("{"):
        return parse(kind, read_yaml(text, "settings"), f"settings {text}")
    return parse(kind, _json(text, "--settings"), "--settings")


def _json(text: str, option: str) -> Any:
    from boostnerv.errors import UserError

    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise UserError(f"{option} is not valid JSON ({error}); correct it") from error


def _range(text: str | None) -> range | None:
    from boostnerv.errors import UserError

    if text is None:
        return None
    match = re.fullmatch(r"([0-9]*):([0-9]*)", text)
    if match is None:
        raise UserError(f"--frames {text} is no range; write it as 10:20, 10: or :20")
    return range(int(match[1] or 0), int(match[2]) if match[2] else sys.maxsize)


def _named(paths: list[Path] | None, listed: Path | None, what: str) -> list[Path]:
    """Paths given one by one, or in a text file."""
    from boostnerv.errors import UserError

    if bool(paths) == (listed is not None):
        raise UserError(f"give either {what} or --list, a text file that names them")
    return list(map(Path, _lines(listed))) if listed else paths or []


def _lines(listed: Path) -> list[str]:
    from boostnerv.errors import UserError

    try:
        return [line for line in listed.read_text(encoding="utf-8").splitlines() if line]
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"list {listed} cannot be read ({error}); check the path") from error


def _three(text: str | None, option: str) -> tuple[float, ...] | None:
    from boostnerv.errors import UserError

    if text is None:
        return None
    try:
        values = tuple(map(float, text.split(",")))
    except ValueError:
        values = ()
    if len(values) != 3 or not all(0 < value <= 1 for value in values):
        raise UserError(f"{option} {text} is not three numbers in (0, 1]; write them as 0.45,0.45,0.45")
    return values


def _whole_numbers(text: str | None, flag: str) -> tuple[int, ...] | None:
    from boostnerv.errors import UserError

    try:
        return None if text is None else tuple(map(int, text.replace(",", " ").split()))
    except ValueError as error:
        raise UserError(f"{flag} {text} is no list of whole numbers; write them as 5,2,2") from error


def _options(pairs: list[str]) -> dict[str, str]:
    from boostnerv.errors import UserError

    for pair in pairs:
        if "=" not in pair:
            raise UserError(f"--option {pair} has no '='; write it as KEY=VALUE")
    return {key: value for key, _, value in (pair.partition("=") for pair in pairs)}


def _show_comparison(rows: list[Any], tolerance_db: float, as_json: bool) -> None:
    from boostnerv.evaluation.published import comparison_text

    verdicts = [row.verdict(tolerance_db) for row in rows]
    if as_json:
        _print([{**row.record(), "verdict": verdict} for row, verdict in zip(rows, verdicts, strict=True)])
    else:
        typer.echo(comparison_text(rows, tolerance_db))
    if "outside" in verdicts:
        raise typer.Exit(1)


def _print(value: Any) -> None:
    typer.echo(json.dumps(value, indent=2))


if __name__ == "__main__":
    main()
