"""Checks of a machine, a working folder and a cluster: the findings of ``boostnerv doctor``."""

from __future__ import annotations

import os
import platform
import re
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, metadata, requires, version
from pathlib import Path
from typing import Any, Literal

from boostnerv import provenance
from boostnerv.catalogue import ANCHORS
from boostnerv.errors import UserError, enumeration
from boostnerv.operations.cluster import (
    Nodes,
    Profile,
    Request,
    ask,
    check_request,
    parse_minutes,
    read_config,
    read_nodes,
    read_partitions,
    read_profile,
)
from boostnerv.operations.work_folder import dvc_link_problem, find_lock, snakemake_command

ANCHOR_LIBRARIES = tuple(entry.library for entry in ANCHORS.values() if entry.library)
# Optional extras of the package -> what is missing without them.
_MISSING_WITHOUT = {"workflow": "the Snakemake workflow", "report": "figures"}
_FREE_GIB = (1, 20)
# Snakemake's SLURM plugin warns below this: it waits forever for a finished job that squeue has forgotten.
_MIN_JOB_AGE_S = 120
_KILL_WAIT_S = 30
_UNLIMITED = ("", "0", "UNLIMITED", "(null)")


@dataclass(frozen=True)
class Finding:
    """Result of one check: ``ok``, worth a ``note``, or ``wrong``, and what to do about it."""

    mark: Literal["ok", "note", "wrong"]
    about: str
    says: str
    remedy: str = ""


def findings_text(findings: Iterable[Finding]) -> str:
    """Findings as text: one line per finding, followed by its remedy."""
    lines = []
    for finding in findings:
        lines.append(f"{finding.mark:<6} {finding.about:<11} {finding.says}")
        if finding.remedy:
            lines.append(f"{'':<18} {finding.remedy}")
    return "\n".join(lines)


def examine_machine(folder: Path) -> list[Finding]:
    """Findings on this machine and the working folder `folder`."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    memory_gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return [
        Finding("ok", "boostnerv", f"{provenance.package_version()}, commit {provenance.commit()}"),
        *_examine_packages(),
        Finding("ok", "machine", f"{provenance.processor()}, {cores} cores, {memory_gib:.1f} GiB of memory"),
        _examine_torch(),
        *_examine_ffmpeg(),
        _examine_disk(folder),
        *_examine_folder(folder),
    ]


def _examine_packages() -> list[Finding]:
    try:
        needed = requires("boostnerv") or []
        python = metadata("boostnerv")["Requires-Python"]
    except PackageNotFoundError:
        return [Finding("note", "packages", "boostnerv is not installed, so versions cannot be checked", "make setup")]
    return [
        _python_finding(platform.python_version(), python),
        _packages_finding("packages", _requirements(needed, None)),
        *(_extra_finding(extra, _requirements(needed, extra)) for extra in _MISSING_WITHOUT),
        *_examine_coder(_version("constriction")),
    ]


def _examine_coder(installed: str | None) -> list[Finding]:
    """A note if files are coded by another release of constriction than the one that is tested."""
    if installed is None:
        return []  # reported among the packages
    from boostnerv.codec.entropy.symbols import CONSTRICTION

    if installed == CONSTRICTION:
        return []
    says = f"constriction {installed} codes .bnv files, which are tested with {CONSTRICTION}"
    return [Finding("note", "constriction", says, f"pip install constriction=={CONSTRICTION}")]


def _python_finding(installed: str, required: str) -> Finding:
    if within(installed, required):
        return Finding("ok", "python", f"{installed} (needed: {required})")
    return Finding("wrong", "python", f"{installed} is not {required}", "make setup PYTHON=python3.11")


def _packages_finding(about: str, needed: Mapping[str, str]) -> Finding:
    versions = {name: _version(name) for name in needed}
    missing = [f"{name} is missing" for name, installed in versions.items() if installed is None]
    outside = [
        f"{name} {installed} is not {needed[name]}"
        for name, installed in versions.items()
        if installed and not within(installed, needed[name])
    ]
    if missing or outside:
        return Finding("wrong", about, enumeration([*missing, *outside]), "make setup, or install what is named")
    return Finding("ok", about, ", ".join(f"{name} {installed}" for name, installed in versions.items()))


def _extra_finding(extra: str, needed: Mapping[str, str]) -> Finding:
    missing = [name for name in needed if _version(name) is None]
    if missing:
        return Finding(
            "note",
            extra,
            f"{enumeration(missing)} not installed: without {_MISSING_WITHOUT[extra]}",
            f"install boostnerv[{extra}]",
        )
    return _packages_finding(extra, needed)


def _requirements(needed: Iterable[str], extra: str | None) -> dict[str, str]:
    """Package -> version range, from the requirements (PEP 508) of one extra, or of the package itself for None."""
    ranges = {}
    for requirement in needed:
        text, _, marker = requirement.partition(";")
        named = re.search(r"extra\s*==\s*['\"]([^'\"]+)", marker)
        match = re.match(r"\s*([\w.-]+)(?:\[[^\]]*\])?\s*\(?([^()]*)", text)
        if match and (named[1] if named else None) == extra:
            ranges[match[1]] = match[2].strip()
    return ranges


def within(installed: str, required: str) -> bool:
    """Whether a version lies in a range such as ``>=2.8,<3``; suffixes such as ``+cpu`` and ``rc1`` are ignored.

    Comparisons other than >=, >, <=, <, == and != are assumed to hold.
    """
    for comparison in filter(None, map(str.strip, required.split(","))):
        match = re.match(r"(>=|<=|==|!=|>|<)\s*([\d.]+)$", comparison)
        if match is None:
            continue
        left, right = _numbers(installed), _numbers(match[2])
        width = max(len(left), len(right))
        left, right = (numbers + (0,) * (width - len(numbers)) for numbers in (left, right))
        holds = {
            ">=": left >= right,
            "<=": left <= right,
            "==": left == right,
            "!=": left != right,
            ">": left > right,
            "<": left < right,
        }
        if not holds[match[1]]:
            return False
    return True


def _numbers(text: str) -> tuple[int, ...]:
    match = re.match(r"\d+(\.\d+)*", text)
    return tuple(map(int, match[0].split("."))) if match else ()


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _examine_torch() -> Finding:
    try:
        import torch
    except (ImportError, OSError) as error:
        return Finding("wrong", "torch", f"cannot be loaded ({error})", "make setup")
    threads = f"{torch.get_num_threads()} CPU threads"
    if not torch.cuda.is_available():
        build = f"built for CUDA {torch.version.cuda}" if torch.version.cuda else "built without CUDA"
        return Finding("ok", "torch", f"{torch.__version__}, {build}, no CUDA device here, {threads}")
    names = [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())]
    return Finding(
        "ok", "torch", f"{torch.__version__}, CUDA {torch.version.cuda}, {len(names)} × {names[0]}, {threads}"
    )


def _examine_ffmpeg() -> list[Finding]:
    from boostnerv.video import ffmpeg

    try:
        finding = _ffmpeg_finding(ffmpeg.ffmpeg_version(), ffmpeg.binary())
        encoders, filters = ffmpeg.list_encoders(), ffmpeg.list_filters()
    except UserError as error:
        says, _, remedy = str(error).partition("; ")
        return [Finding("wrong", "ffmpeg", says, remedy)]
    libraries = [*((name, name in encoders) for name in ANCHOR_LIBRARIES), ("libvmaf", "libvmaf" in filters)]
    has = [name for name, is_available in libraries if is_available]
    lacks = [name for name, is_available in libraries if not is_available]
    if lacks:
        return [
            finding,
            Finding(
                "note",
                "codecs",
                f"ffmpeg has {enumeration(has) or 'none of these'}, but not {enumeration(lacks)}",
                "leave anchors of these codecs out, or set FFMPEG_BINARY to an ffmpeg that has them",
            ),
        ]
    return [finding, Finding("ok", "codecs", enumeration(has))]


def _ffmpeg_finding(version: str, program: str) -> Finding:
    from boostnerv.video import ffmpeg

    says = f"{version}, {program} (needed: {ffmpeg.NEEDED} or newer)"
    if ffmpeg.release(version) is None:
        remedy = "a build between releases, of unknown age; set FFMPEG_BINARY to a release if it fails"
        return Finding("note", "ffmpeg", says, remedy)
    return Finding("ok", "ffmpeg", says)


def _examine_disk(folder: Path) -> Finding:
    free_gib = shutil.disk_usage(folder).free / 2**30
    says = f"{free_gib:.1f} GiB free in {folder.absolute()}"
    least_gib, enough_gib = _FREE_GIB
    if free_gib >= enough_gib:
        return Finding("ok", "disk", says)
    remedy = "frames are stored uncompressed, 3.7 GB for 600 of 1080×1920; free some space or work on another disk"
    return Finding("note" if free_gib >= least_gib else "wrong", "disk", says, remedy)


def _examine_folder(folder: Path) -> list[Finding]:
    problem = dvc_link_problem(folder)
    says, _, remedy = (problem or "").rpartition("; ")
    findings = [Finding("wrong", "dvc", says, remedy) if problem else Finding("ok", "dvc", "no links to its cache")]
    lock = find_lock(folder)
    if lock is None:
        return [*findings, Finding("ok", "lock", "no run holds this folder")]
    command = lock.run.command if lock.run else snakemake_command(["--profile", "profiles/local"])
    says, _, remedy = lock.sentence(command).partition("; ")
    running = lock.run is not None and lock.run.is_running()
    return [*findings, Finding("note" if running else "wrong", "lock", says, remedy)]


def examine_cluster(profile_name: str) -> list[Finding]:
    """Findings on the SLURM cluster that this machine belongs to, and on the profile that submits jobs to it."""
    try:
        profile = read_profile(profile_name)
        findings = [Finding("ok", "profile", f"{profile.path}, executor {profile.executor or 'local'}")]
    except UserError as error:
        profile = Profile(Path(profile_name) / "config.yaml", None, None, {})
        says, _, remedy = str(error).partition("; ")
        findings = [Finding("wrong", "profile", says, remedy)]
    try:
        if shutil.which("sbatch") is None:
            raise UserError("sbatch is not on this machine; run doctor on the cluster's login node")
        config, nodes, partitions = read_config(), read_nodes(), read_partitions()
    except UserError as error:
        says, _, remedy = str(error).partition("; ")
        return [*findings, Finding("wrong", "slurm", says, remedy)]
    return [
        *findings,
        Finding("ok", "slurm", f"{config.get('slurm_version', '?')}, cluster {config.get('clustername', '?')}"),
        *examine_jobs_view(config),
        *examine_partitions(profile, nodes),
        examine_gpu_style(profile, config, nodes),
        *examine_max_runtime(profile, nodes),
        *examine_status_command(profile, config),
        examine_memory(profile, config, partitions),
        examine_kill_wait(profile, config),
        Finding(
            "ok", "arrays", f"MaxArraySize {config.get('maxarraysize', '?')}: --slurm-array-jobs sends fewer at once"
        ),
    ]


def examine_jobs_view(config: Mapping[str, str]) -> list[Finding]:
    """Whether SLURM's commands find the cluster without SLURM_CONF, as they must in a Snakemake job."""
    named = os.environ.get("SLURM_CONF")
    if named is None:
        return []
    environment = {key: value for key, value in os.environ.items() if key != "SLURM_CONF"}
    try:
        is_same = read_config(environment=environment).get("clustername") == config.get("clustername")
    except UserError:
        is_same = False
    if is_same:
        return [Finding("ok", "SLURM_CONF", f"{named}; the cluster is found without it as well")]
    return [
        Finding(
            "wrong",
            "SLURM_CONF",
            f"only this variable ({named}) names the cluster, and jobs that Snakemake starts lose it",
            "make it /etc/slurm/slurm.conf on all machines, or put an srun that sets it first into PATH",
        )
    ]


def examine_partitions(profile: Profile, nodes: Sequence[Nodes]) -> list[Finding]:
    """Findings on all partitions, and on whether the profile's default resources fit its partition."""
    findings = [_partition_finding(name, nodes) for name in sorted({row.partition for row in nodes})]
    resources = profile.default_resources
    request = Request(
        rule="(default-resources)",
        partition=",".join(profile.partitions) or None,
        mem_mb=_integer(resources.get("mem_mb")),
        runtime_min=runtime_min(resources.get("runtime")),
    )
    try:
        check_request(request, nodes)
    except UserError as error:
        says, _, remedy = str(error).partition("; ")
        return [*findings, Finding("wrong", "partition", says, remedy)]
    chosen = profile.partitions or sorted({row.partition for row in nodes if row.is_default})
    with_gpus = sorted({row.partition for row in nodes if row.gpus_of(None)})
    named = "slurm_partition" if profile.partitions else "no slurm_partition, so jobs go to the default one"
    if with_gpus and not set(chosen) & set(with_gpus):
        return [
            *findings,
            Finding(
                "note",
                "partition",
                f"{named}: {', '.join(chosen)} has no GPUs",
                f"default-resources: slurm_partition: {with_gpus[0]}"
                + (f" (or {', '.join(with_gpus[1:])})" if with_gpus[1:] else ""),
            ),
        ]
    return [*findings, Finding("ok", "partition", f"{named}: {', '.join(chosen)}")]


def _partition_finding(name: str, nodes: Sequence[Nodes]) -> Finding:
    rows = [row for row in nodes if row.partition == name]
    limits = {row.limit_min for row in rows}
    limit = "no time limit" if None in limits else f"at most {max(limit for limit in limits if limit)} minutes"
    kinds = sorted({(model, count) for row in rows for model, count in row.gpus.items()})
    gpus = ", ".join(f"{count} × {model or 'GPU'}" for model, count in kinds) or "no GPUs"
    count = sum(row.count for row in rows)
    up = sum(row.count for row in rows if not re.match(r"down|drain|fail|maint|unk|power", row.state.lower()))
    says = (
        f"{name}: {count} {'node' if count == 1 else 'nodes'}, {up} up, with {gpus} each, up to "
        f"{max(row.cpus for row in rows)} CPUs and {max(row.memory_mb for row in rows)} MB, {limit}"
    )
    if up:
        return Finding("ok", "partition", says)
    return Finding("note", "partition", says, "jobs wait there until a node is up: sinfo -R says why")


def examine_gpu_style(profile: Profile, config: Mapping[str, str], nodes: Sequence[Nodes]) -> Finding:
    """Whether the profile's `gpu_style` works: ``--gpus`` needs the plugin select/cons_tres of SLURM."""
    style = profile.cluster.gpu_style
    if "gpu" not in re.split(r"[,\s]+", config.get("grestypes", "")):
        if style == "none":
            return Finding("ok", "gpus", "the cluster knows no GPUs, and trainings ask for none")
        says = f"the cluster knows no GPUs (GresTypes), and trainings ask for them (gpu_style: {style})"
        return Finding("wrong", "gpus", says, 'to train on CPUs: config: ["cluster={gpu_style: none}"]')
    models = sorted({model for row in nodes for model in row.gpus if model})
    named = f"; models: {', '.join(models)}" if models else ""
    select = config.get("selecttype", "")
    if select.endswith("cons_tres") or style != "gpus":
        works = "--gpus and --gres work" if select.endswith("cons_tres") else "--gres works"
        return Finding("ok", "gpus", f"{works} (SelectType {select}){named}; gpu_style: {style}")
    says = f"--gpus does not work with SelectType {select or '(unknown)'}{named}"
    return Finding("wrong", "gpus", says, 'config: ["cluster={gpu_style: gres}"]')


def examine_max_runtime(profile: Profile, nodes: Sequence[Nodes]) -> list[Finding]:
    """Whether a long training may request more time than its partition allows."""
    used = profile.partitions or [row.partition for row in nodes if row.is_default]
    limits = [row.limit_min for row in nodes if row.partition in used]
    if not limits or None in limits:
        return []
    limit_min, asked_min = max(limit for limit in limits if limit is not None), profile.cluster.max_runtime_min
    if asked_min is not None and asked_min <= limit_min:
        return [Finding("ok", "time", f"no job asks for more than {asked_min} minutes (max_runtime_min)")]
    setting = "is not set" if asked_min is None else f"is {asked_min}"
    says = f"max_runtime_min {setting}, but a job may take {limit_min} minutes there: longer ones would be refused"
    return [Finding("wrong", "time", says, f'config: ["cluster={{max_runtime_min: {limit_min}}}"]')]


def examine_status_command(profile: Profile, config: Mapping[str, str]) -> list[Finding]:
    """How Snakemake learns that a job has ended: sacct needs accounting, squeue a long enough MinJobAge."""
    kept = config.get("accountingstoragetype", "")
    accounting = not kept.endswith("/none") and kept not in _UNLIMITED
    if accounting:
        try:
            ask("sacct", "--allocations", "--noheader", "--starttime", "now-1hour", "--endtime", "now")
            return [
                Finding("ok", "accounting", f"sacct works ({kept})")
                if profile.status_command != "squeue"
                else Finding("ok", "accounting", f"sacct works ({kept}), slurm-status-command is squeue"),
                *_job_age_findings(profile.status_command == "squeue", config),
            ]
        except UserError as error:
            kept = f"{kept}, but sacct fails: {error}"
    if profile.status_command == "squeue":
        return [
            Finding("ok", "accounting", f"none ({kept}), and slurm-status-command is squeue"),
            *_job_age_findings(True, config),
        ]
    return [
        Finding(
            "wrong",
            "accounting",
            f"none ({kept}): with sacct Snakemake would wait forever for jobs that have ended",
            "slurm-status-command: squeue",
        ),
        *_job_age_findings(True, config),
    ]


def _job_age_findings(used: bool, config: Mapping[str, str]) -> list[Finding]:
    if not used:
        return []
    age_s = _seconds(config.get("minjobage", ""))
    if age_s is None or age_s >= _MIN_JOB_AGE_S:
        return [Finding("ok", "MinJobAge", f"{config.get('minjobage', 'unknown')}: squeue shows ended jobs that long")]
    return [
        Finding(
            "wrong",
            "MinJobAge",
            f"{age_s} s: squeue forgets ended jobs before Snakemake has asked, which would then wait forever",
            f"ask for MinJobAge={_MIN_JOB_AGE_S} or more in slurm.conf, or for accounting",
        )
    ]


def examine_memory(profile: Profile, config: Mapping[str, str], partitions: Sequence[Mapping[str, str]]) -> Finding:
    """The memory of a job that requests none."""
    if profile.default_resources.get("mem_mb") or profile.default_resources.get("mem"):
        return Finding(
            "ok", "memory", f"default-resources: mem_mb: {profile.default_resources.get('mem_mb') or 'by mem'}"
        )
    used = [record for record in partitions if record.get("PartitionName") in profile.partitions] or partitions
    places = [*used, {key: config.get(key.lower(), "") for key in ("DefMemPerNode", "DefMemPerCPU", "DefMemPerGPU")}]
    limited = any(
        place.get(key, "") not in _UNLIMITED
        for place in places
        for key in ("DefMemPerNode", "DefMemPerCPU", "DefMemPerGPU")
    )
    says = "the cluster's default, which may be small" if limited else "all of a node, so no other job runs beside it"
    return Finding(
        "note" if limited else "wrong",
        "memory",
        f"the profile has no mem_mb: a job that requests none gets {says}",
        "default-resources: mem_mb: 1000",
    )


def examine_kill_wait(profile: Profile, config: Mapping[str, str]) -> Finding:
    """How much time a training has to save its state at the time limit."""
    if "--signal" in str(profile.default_resources.get("slurm_extra")):
        return Finding("ok", "signal", "trainings are signalled before their time limit (slurm_extra)")
    wait_s = _seconds(config.get("killwait", ""))
    if wait_s is None or wait_s >= _KILL_WAIT_S:
        return Finding("ok", "KillWait", f"{config.get('killwait', 'unknown')} for a training to save its state")
    return Finding(
        "note",
        "KillWait",
        f"only {wait_s} s for a training to save its state at its time limit; without it the last epochs are repeated",
        "default-resources: slurm_extra: \"'--signal=USR1@120'\"",
    )


def runtime_min(value: Any) -> int | None:
    """Minutes of a profile's `runtime`: a number of minutes, or a text such as ``90m``, ``2h`` or ``1d``."""
    if isinstance(value, int):
        return value
    units = {"s": 1 / 60, "m": 1, "h": 60, "d": 1440, "w": 10080}
    parts = re.findall(r"(\d+(?:\.\d+)?)\s*([smhdw])", str(value or "").lower())
    if parts:
        return round(sum(float(number) * units[unit] for number, unit in parts))
    return parse_minutes(str(value)) if value else None


def _integer(value: Any) -> int | None:
    return int(value) if re.fullmatch(r"\d+", str(value)) else None


def _seconds(text: str) -> int | None:
    match = re.match(r"(\d+)\s*([a-z]*)", text)
    if match is None:
        return None
    return int(match[1]) * (3600 if match[2].startswith("h") else 60 if match[2].startswith("m") else 1)
