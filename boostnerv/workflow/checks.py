"""Checks before the first job of a run, in the process that people start; a dry run makes none, so it works anywhere.

Snakemake has no public interface to the jobs of a plan. These of its names are used, seen in 9.27.1 (`_Dag`, `_Job`):
``dag.needrun_jobs()``, ``dag.needrun(job)``, ``dag.job_dependencies(job)``, ``dag.reason(job)`` with ``derived`` and
``forced``; ``job.rule.name``, ``job.rule.expand_resources(wildcards, input, attempt)``, ``job.output``, ``job.input``,
``job.is_local``, ``job.wildcards``, ``job.wildcards_dict``, ``job.attempt``.
`tests/workflow/test_snakemake_interface.py` tells which of them a new version no longer has.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from boostnerv.errors import UserError, enumeration
from boostnerv.files import write_text
from boostnerv.operations.cluster import Request
from boostnerv.operations.work_folder import dvc_link_problem, find_lock, snakemake_command
from boostnerv.steps import is_checked
from boostnerv.video.datasets import check_sources
from boostnerv.workflow.plan import Plan, settings_line
from boostnerv.workflow.resources import JobResources

_Dag = Any
_Job = Any

# Calls of Snakemake that run no job, though nothing says so while the workflow is parsed.
LOOKING = {
    *("--archive", "--cleanup-metadata", "--containerize", "--d3dag", "--dag", "--detailed-summary", "-D"),
    *("--filegraph", "--generate-unit-tests", "--lint", "--list", "-l", "--list-rules", "--list-target-rules"),
    *("--report", "--rulegraph", "--summary", "-S", "--unlock"),
}
# Rules that make frames, from the source on; their files are large and never shared.
FRAME_RULES = ("fetch_source", "extract_frames", "extract_planes", "split_patches", "gather_videos", "code_keyframes")
_LONG_RULES = ("train", "finetune", "encode_anchor")


def check_folder(plan: Plan, arguments: Sequence[str]) -> None:
    """Raise `UserError` for links that a run would write through, and for a lock that another run holds or left.

    `arguments` are those of Snakemake; calls that run no job are not checked.
    """
    options = {argument.partition("=")[0] for argument in arguments}
    if options & LOOKING:
        return
    problem = dvc_link_problem(Path())
    if problem:
        raise UserError(problem)
    prefixes = [f"{plan.results}/", *(plan.frames.format(video=video) + "." for video in plan.videos)]
    lock = find_lock(Path(), prefixes)
    if lock and "--nolock" not in options:
        raise UserError(lock.sentence(snakemake_command(list(arguments))))


def check_experiment(plan: Plan, jobs: Iterable[_Job]) -> None:
    """Check all missing sources at once, write the lists of steps that take files of all videos; then, once for each
    configuration and sources, check own videos, specs, sizes and encoders. Raises `UserError`."""
    planned = {str(file) for job in jobs if job.rule.name == "downloaded_source" for file in job.output}
    missing = [spec for file, spec in plan.missing.items() if f"{plan.raw}/{file}" in planned]
    check_sources(missing, plan.dataset.name)
    if plan.has_multi_video_runs:
        _write_lines(f"{plan.collection}.list", plan.of_all(".json")(None))
    _write_lines(plan.points_list, [*plan.all_results(), *plan.all_anchor_results()])
    _write_lines(plan.logs_list, [f"{plan.curve_label(log)}={log}" for log in plan.train_logs()])
    write_text(plan.experiment_json, settings_line(plan.experiment))
    checked = Path(plan.results) / "plan.json"
    if is_checked(plan.experiment, plan.specs, plan.dataset.name, checked):
        return
    # Sources that are missing and needed were refused above.
    command = ["boostnerv", "check", "--allow-missing", plan.experiment_json, "--output", str(checked)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode == 2:
        raise UserError(done.stderr.strip().removeprefix("boostnerv: "))
    if done.returncode:
        raise RuntimeError(done.stderr.strip())


def check_frames(dag: _Dag) -> None:
    """Refuse to repeat long jobs whose results are there and for which only frames are missing: Snakemake makes
    everything again that follows from a file it makes again, even with the same bytes. Raises `UserError`."""

    def is_made_again(job: _Job) -> bool:
        is_there = job.rule.name in FRAME_RULES or all(Path(file).exists() for file in job.output)
        reason = dag.reason(job)
        planned = filter(dag.needrun, dag.job_dependencies(job))
        return reason.derived and not reason.forced and is_there and all(map(is_made_again, planned))

    long_jobs = [job for job in dag.needrun_jobs() if job.rule.name in _LONG_RULES]
    repeated = sorted(str(job.output[0]) for job in long_jobs if is_made_again(job))
    if repeated:
        rules = {job.rule.name for job in dag.needrun_jobs()} & set(FRAME_RULES[1:])
        raise UserError(
            f"{enumeration(repeated, 3)} would be made again for no other reason than that frames are missing; make "
            f"the frames first, with the same command and, at its end, --until {' '.join(sorted(rules))}"
        )


def requests(plan: Plan, resources: JobResources, jobs: Iterable[_Job]) -> Iterable[Request]:
    """What the `jobs` that are sent away ask of the cluster, those that ask for the same once."""
    return (_requested(plan, resources, job) for job in _one_of_a_kind(resources, jobs))


def _one_of_a_kind(resources: JobResources, jobs: Iterable[_Job]) -> Iterable[_Job]:
    """One job for each rule, run and size of video: Snakemake needs milliseconds to compute the resources of a job,
    which adds up over thousands."""
    shapes: dict[str, Any] = {}
    kinds: dict[tuple[Any, ...], _Job] = {}
    for job in jobs:
        if not job.is_local:
            names = job.wildcards_dict
            video = names.get("video")
            if video and video not in shapes:
                shapes[video] = resources.shape(job.wildcards)
            kinds.setdefault((job.rule.name, names.get("run"), shapes.get(video)), job)
    return kinds.values()


def _requested(plan: Plan, resources: JobResources, job: _Job) -> Request:
    """What a job asks of the cluster; without memory and time where only frames that are not there yet will tell."""
    # Not `job.resources`, which keeps what is computed now.
    asked = job.rule.expand_resources(job.wildcards, job.input, job.attempt)
    video = job.wildcards_dict.get("video", plan.all_videos)
    is_known = job.rule.name in ("extract_frames", "extract_planes") or resources.is_known(video)
    whole = {name: asked.get(name) for name in ("mem_mb", "runtime") if is_known and isinstance(asked.get(name), int)}
    wants_gpus = not {"gpu", "gres", "gpu_model"}.isdisjoint(asked.keys())
    count = resources.gpus_of_training(job.wildcards) if "run" in job.wildcards_dict else 1
    return Request(
        job.rule.name,
        partition=asked.get("slurm_partition"),
        gpus=count if wants_gpus else 0,
        gpu_model=asked.get("gpu_model") or (plan.cluster.gpu_model if wants_gpus else None),
        mem_mb=whole.get("mem_mb"),
        runtime_min=whole.get("runtime"),
    )


def _write_lines(path: str, lines: Iterable[str]) -> None:
    write_text(path, "".join(f"{line}\n" for line in lines))
