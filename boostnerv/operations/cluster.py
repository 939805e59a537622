"""A SLURM cluster as described by its own commands, and checks before the first job is submitted."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from boostnerv.config import Cluster, parse
from boostnerv.errors import UserError, nearest

TIMEOUT_S = 10
_ELSEWHERE = "or run locally with --profile profiles/local"
_NODES_FORMAT = "%P|%G|%m|%c|%l|%D|%T"


@dataclass(frozen=True)
class Nodes:
    """Identical nodes of one partition; `gpus` maps GPU models to their number per node, "" for an unnamed model."""

    partition: str
    is_default: bool
    count: int
    state: str
    cpus: int
    memory_mb: int
    gpus: Mapping[str, int]
    limit_min: int | None

    def gpus_of(self, model: str | None) -> int:
        """GPUs per node, of one model or of all models."""
        return sum(self.gpus.values()) if model is None else self.gpus.get(model, 0)


@dataclass(frozen=True)
class Request:
    """Resources that a job requests; None for the cluster's default."""

    rule: str
    partition: str | None = None
    gpus: int = 0
    gpu_model: str | None = None
    mem_mb: int | None = None
    runtime_min: int | None = None


@dataclass(frozen=True)
class Profile:
    """Settings of a Snakemake profile that concern the cluster."""

    path: Path
    executor: str | None
    status_command: str | None
    default_resources: Mapping[str, Any]
    cluster: Cluster = field(default_factory=Cluster)

    @property
    def partitions(self) -> list[str]:
        """Partitions to which jobs are submitted; empty for the cluster's default."""
        return [name for name in str(self.default_resources.get("slurm_partition") or "").split(",") if name]


def check_cluster(requests: Iterable[Request]) -> None:
    """Raise `UserError` if the cluster cannot be reached or can never run one of these jobs; queries it once."""
    if shutil.which("sbatch") is None:
        raise UserError(
            "sbatch is not on this machine, so jobs cannot be submitted to SLURM; run the command on the cluster's "
            f"login node, {_ELSEWHERE}"
        )
    nodes = read_nodes()
    for request in dict.fromkeys(requests):
        check_request(request, nodes)


def check_request(request: Request, nodes: Sequence[Nodes]) -> None:
    """Raise `UserError` if none of these nodes can ever run the job."""
    partitions = {row.partition for row in nodes}
    if request.partition is None:
        requested = {row.partition for row in nodes if row.is_default}
        if not requested:
            raise UserError(
                "the cluster has no default partition and none is named; set slurm_partition in default-resources of "
                f"the profile ({nearest('', partitions)})"
            )
    else:
        requested = set(request.partition.split(","))
        for name in sorted(requested - partitions):
            raise UserError(
                f"the cluster has no partition '{name}' ({nearest(name, partitions)}); set slurm_partition in "
                "default-resources of the profile"
            )
    within = [row for row in nodes if row.partition in requested]
    place = f"partition '{','.join(sorted(requested))}'"
    _check_gpus(request, within, nodes, place)
    _check_limits(request, within, place)


def _check_gpus(request: Request, within: Sequence[Nodes], nodes: Sequence[Nodes], place: str) -> None:
    most = max(row.gpus_of(request.gpu_model) for row in within)
    if request.gpus <= most:
        return
    kind = f" of model '{request.gpu_model}'" if request.gpu_model else ""
    supply = f"its largest node has {most}" if most else "its nodes have none"
    others = sorted({row.partition for row in nodes if row.gpus_of(request.gpu_model) >= request.gpus})
    models = {model for row in within for model in row.gpus if model}
    if others:
        remedy = f"set slurm_partition in default-resources of the profile (one that has them: {', '.join(others)})"
    elif request.gpu_model and request.gpu_model not in models:
        remedy = f"ask for another model ({nearest(request.gpu_model, models)})" if models else "leave gpu_model out"
    else:
        remedy = "ask for fewer in the profile"
    amount = f"{request.gpus} GPU" + ("s" if request.gpus > 1 else "")
    raise UserError(f"a job of rule {request.rule} wants {amount}{kind} of {place}, but {supply}; {remedy}")


def _check_limits(request: Request, within: Sequence[Nodes], place: str) -> None:
    # Only nodes with enough GPUs count; the message names the best of them.
    able = [row for row in within if row.gpus_of(request.gpu_model) >= request.gpus]
    most_mb = max(row.memory_mb for row in able)
    if request.mem_mb is not None and request.mem_mb > most_mb:
        raise UserError(
            f"a job of rule {request.rule} wants {request.mem_mb} MB of memory, but the largest node of {place} that "
            f"it could run on has {most_mb}; set another slurm_partition, or its mem_mb under set-resources in the "
            "profile"
        )
    limits = [row.limit_min for row in able]
    longest = None if None in limits else max(limit for limit in limits if limit is not None)
    if request.runtime_min is not None and longest is not None and request.runtime_min > longest:
        raise UserError(
            f"a job of rule {request.rule} wants {request.runtime_min} minutes, but {place} ends jobs after {longest}; "
            "set another slurm_partition, or its runtime under set-resources in the profile (an interrupted training "
            "resumes)"
        )


def read_nodes() -> list[Nodes]:
    """All partitions and their nodes, from ``sinfo``."""
    return parse_nodes(ask("sinfo", "--all", "--exact", "--noheader", "--format", _NODES_FORMAT))


def read_config(*, environment: Mapping[str, str] | None = None) -> dict[str, str]:
    """The cluster's configuration, from ``scontrol show config``."""
    return parse_config(ask("scontrol", "show", "config", environment=environment))


def read_partitions() -> list[dict[str, str]]:
    """A record per partition, from ``scontrol show partition``."""
    return parse_records(ask("scontrol", "--all", "--oneliner", "show", "partition"))


def ask(*command: str, environment: Mapping[str, str] | None = None) -> str:
    """Output of a SLURM command; raises `UserError` if it is missing, fails, or takes longer than `TIMEOUT_S`."""
    try:
        completed = subprocess.run(
            command, capture_output=True, text=True, errors="replace", check=False, timeout=TIMEOUT_S, env=environment
        )
    except FileNotFoundError as error:
        raise UserError(
            f"{command[0]} is not on this machine; run the command on the cluster's login node, {_ELSEWHERE}"
        ) from error
    except subprocess.TimeoutExpired as error:
        raise UserError(
            f"SLURM's controller does not answer ({command[0]} said nothing for {TIMEOUT_S} s); try again when sinfo "
            f"shows the cluster, {_ELSEWHERE}"
        ) from error
    if completed.returncode:
        reason = next(
            (line.strip() for line in completed.stderr.splitlines() if line.strip()),
            f"exit code {completed.returncode}",
        )
        raise UserError(
            f"SLURM's controller does not answer ({reason}); try again when sinfo shows the cluster, {_ELSEWHERE}"
        )
    return completed.stdout


def parse_nodes(text: str) -> list[Nodes]:
    """Parse the output of ``sinfo`` in our format; lines of any other form are skipped."""
    nodes = []
    for line in text.splitlines():
        fields = [field.strip() for field in line.split("|")]
        if len(fields) != 7:
            continue
        partition, gres, memory, cpus, limit, count, state = fields
        nodes.append(
            Nodes(
                partition=partition.rstrip("*"),
                is_default=partition.endswith("*"),
                count=_leading_number(count),
                state=state,
                cpus=_leading_number(cpus),
                memory_mb=_leading_number(memory),
                gpus=parse_gpus(gres),
                limit_min=parse_minutes(limit),
            )
        )
    return nodes


def parse_gpus(gres: str) -> dict[str, int]:
    """Model -> GPUs per node, from a text such as ``gpu:a100:4(S:0-1),nvme:1``; "" for an unnamed model."""
    gpus: dict[str, int] = {}
    for model, count in re.findall(r"(?:^|,)gpu(?::(?!no_consume:)([^:,()]+))?(?::no_consume)?:(\d+)(?=[,(]|$)", gres):
        gpus[model] = gpus.get(model, 0) + int(count)
    return gpus


def parse_minutes(text: str) -> int | None:
    """Minutes of a time in SLURM's notation (``2-12:00:00``, ``30:00``, ``90``); None for no limit."""
    match = re.fullmatch(r"(?:(\d+)-)?(\d+)(?::(\d+))?(?::(\d+))?", text.strip())
    if match is None:
        return None
    days, *parts = match.groups()
    numbers = [int(part) for part in parts if part is not None]
    if days is not None:  # days-hours[:minutes[:seconds]]
        hours, minutes, _ = [*numbers, 0, 0][:3]
    elif len(numbers) == 3:
        hours, minutes, _ = numbers
    else:  # minutes[:seconds]
        hours, minutes = 0, numbers[0]
    return int(days or 0) * 1440 + hours * 60 + minutes


def parse_config(text: str) -> dict[str, str]:
    """Parse ``Key = value`` lines; keys are lower-cased, as their spelling differs between versions of SLURM."""
    pairs = (line.partition("=") for line in text.splitlines() if "=" in line)
    return {key.strip().lower(): value.strip() for key, _, value in pairs}


def parse_records(text: str) -> list[dict[str, str]]:
    """Parse one record of ``Key=value`` pairs per line; values may contain spaces."""
    pair = re.compile(r"(?:^|\s)([A-Za-z][\w:/]*)=(.*?)(?=\s+[A-Za-z][\w:/]*=|\s*$)")
    return [dict(pair.findall(line)) for line in text.splitlines() if line.strip()]


def read_profile(name: str) -> Profile:
    """Read a profile, with `name` as for ``snakemake --profile``; raises `UserError` if it is missing or invalid."""
    import yaml

    user = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "snakemake"
    places = [Path(name), *(folder / name / "config.yaml" for folder in (Path(), user, Path("/etc/xdg/snakemake")))]
    path = next((place for place in places if place.is_file()), None)
    if path is None:
        raise UserError(f"there is no profile {places[1]}; name one with --profile, e.g. --profile slurm")
    try:
        settings = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        text = " ".join(str(error).split())
        raise UserError(f"profile {path} cannot be read ({text}); correct it") from error
    if not isinstance(settings, dict):
        raise UserError(f"profile {path} is not a mapping of keys to values; correct it")
    return Profile(
        path=path,
        executor=settings.get("executor"),
        status_command=settings.get("slurm-status-command"),
        default_resources=_resources(settings.get("default-resources"), path),
        cluster=_cluster(settings.get("config"), path),
    )


def _cluster(value: Any, path: Path) -> Cluster:
    """The ``cluster`` settings in ``config``, which is a mapping or has texts such as ``cluster={gpu_style: gres}``."""
    import yaml

    pairs = value.items() if isinstance(value, dict) else (str(pair).split("=", 1) for pair in value or [])
    cluster: Any = next((rest for name, *rest in pairs if name == "cluster"), [{}])[0]
    try:
        return parse(Cluster, yaml.safe_load(cluster) if isinstance(cluster, str) else cluster, "cluster")
    except yaml.YAMLError as error:
        raise UserError(f"cluster={cluster} in config of profile {path} cannot be read; correct it") from error


def _resources(value: Any, path: Path) -> dict[str, Any]:
    """Default resources, given as a mapping, a list of ``key=value``, or one such text."""
    if isinstance(value, dict):
        return value
    pairs = [value] if isinstance(value, str) else value or []
    if not isinstance(pairs, list) or not all(isinstance(pair, str) and "=" in pair for pair in pairs):
        raise UserError(f"default-resources of profile {path} are not key: value pairs; correct them")
    return {key.strip(): text.strip().strip("'\"") for key, _, text in (pair.partition("=") for pair in pairs)}


def _leading_number(text: str) -> int:
    match = re.match(r"\d+", text)
    return int(match[0]) if match else 0
