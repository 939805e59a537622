"""SLURM is understood in the forms that versions and sites give it; requests that cannot hold are refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from boostnerv.config import Cluster
from boostnerv.errors import UserError
from boostnerv.operations import cluster
from boostnerv.operations.cluster import Request

# Recorded from the test cluster (SLURM 22.05.8), shortened.
CONFIG = """\
Configuration data as of 2026-11-23T22:01:21
AccountingStorageType   = accounting_storage/none
BOOT_TIME               = 2026-11-23T22:01:20
ClusterName             = boostnerv
DefMemPerNode           = UNLIMITED
GresTypes               = gpu
JobAcctGatherParams     = OverMemoryKill
KillWait                = 10 sec
MaxArraySize            = 1001
MinJobAge               = 300 sec
PowerPlugin             =
SchedulerParameters     = sched_interval=1,batch_sched_delay=0
SelectType              = select/cons_tres
SlurmctldHost[0]        = vm(127.0.0.1)
SLURM_VERSION           = 22.05.8

Slurmctld(primary) at vm is UP
"""
PARTITION = (
    "PartitionName=gpu AllowGroups=ALL AllowAccounts=ALL Default=YES QoS=N/A DefaultTime=00:30:00 MaxNodes=UNLIMITED "
    "MaxTime=1-00:00:00 Nodes=vm State=UP TotalCPUs=4 TotalNodes=1 SelectTypeParameters=NONE JobDefaults=(null) "
    "DefMemPerNode=UNLIMITED MaxMemPerNode=UNLIMITED TRES=cpu=4,mem=22440M,node=1,billing=4\n"
)
# In the form of a cluster with several partitions, models and nodes that are down.
NODES = """\
cpu|(null)|191000+|48|2-00:00:00|120|mixed
cpu|(null)|386000|48|2-00:00:00|4|drained*
gpu*|gpu:a100:4(S:0-1),nvme:1|515000|64|1-00:00:00|8|allocated
gpu*|gpu:v100:2(S:0)|191000|40|1-00:00:00|3|idle
mig|gpu:a100_1g.5gb:7,gpu:a100:2|515000|64|infinite|1|down*
tiny|gpu:2|22440|4|30:00|1|idle
slurmctld: some message
"""


@pytest.fixture
def nodes() -> list[cluster.Nodes]:
    return cluster.parse_nodes(NODES)


def test_configuration() -> None:
    found = cluster.parse_config(CONFIG)
    assert found["selecttype"] == "select/cons_tres"
    assert found["schedulerparameters"] == "sched_interval=1,batch_sched_delay=0"
    assert found["powerplugin"] == ""
    assert found["slurm_version"] == "22.05.8"


def test_records() -> None:
    spaced = "NodeName=vm OS=Linux 6.1.0 #1 SMP @0 RealMemory=22440 Reason=Not responding [slurm@2026-01-01T00:00:00]\n"
    partition, node = cluster.parse_records(PARTITION + "\n" + spaced)
    assert partition["PartitionName"] == "gpu"
    assert partition["TRES"] == "cpu=4,mem=22440M,node=1,billing=4"
    assert node["OS"] == "Linux 6.1.0 #1 SMP @0"
    assert node["Reason"] == "Not responding [slurm@2026-01-01T00:00:00]"


@pytest.mark.parametrize(
    ("gres", "gpus"),
    [
        ("(null)", {}),
        ("gpu:2", {"": 2}),
        ("gpu:a100:4", {"a100": 4}),
        ("gpu:a100:4(S:0-1)", {"a100": 4}),
        ("gpu:a100:4(S:0,1),nvme:1", {"a100": 4}),
        ("nvme:1,gpu:v100:2(S:0),gpu:a100:1(S:1)", {"v100": 2, "a100": 1}),
        ("gpu:a100_1g.5gb:7", {"a100_1g.5gb": 7}),
        ("gpu:no_consume:4", {"": 4}),
        ("gpu:2080ti:3,gpu:2080ti:1", {"2080ti": 4}),
        ("fpga_gpu:3", {}),
    ],
)
def test_gpus(gres: str, gpus: dict[str, int]) -> None:
    assert cluster.parse_gpus(gres) == gpus


@pytest.mark.parametrize(
    ("text", "minutes"),
    [
        ("1-00:00:00", 1440),
        ("2-12", 3600),
        ("2-12:30", 3630),
        ("10:00:00", 600),
        ("30:00", 30),
        ("90", 90),
        ("infinite", None),
        ("UNLIMITED", None),
        ("n/a", None),
        ("", None),
    ],
)
def test_times(text: str, minutes: int | None) -> None:
    assert cluster.parse_minutes(text) == minutes


def test_nodes(nodes: list[cluster.Nodes]) -> None:
    assert [row.partition for row in nodes] == ["cpu", "cpu", "gpu", "gpu", "mig", "tiny"]
    assert nodes[0] == cluster.Nodes("cpu", False, 120, "mixed", 48, 191000, {}, 2880)
    assert nodes[2].is_default
    assert nodes[2].gpus_of("a100") == nodes[2].gpus_of(None) == 4
    assert nodes[4].gpus_of(None) == 9
    assert nodes[4].limit_min is None


@pytest.mark.parametrize(
    "request_",
    [
        Request("train"),
        Request("train", "gpu", 4, "a100", 515000, 1440),
        Request("train", "cpu,gpu", 4, None, 300000, 1440),
        Request("train", "mig", 2, "a100", runtime_min=10**6),
        Request("encode", "cpu", 0, None, 386000, 2880),
    ],
)
def test_what_the_cluster_can_run(nodes: list[cluster.Nodes], request_: Request) -> None:
    cluster.check_request(request_, nodes)


@pytest.mark.parametrize(
    ("request_", "sentence"),
    [
        (Request("train", "gpuu"), "no partition 'gpuu' (did you mean 'gpu'?); set slurm_partition"),
        (Request("train", "gpu,elsewhere"), "no partition 'elsewhere'"),
        (Request("train", "cpu", 1), "wants 1 GPU of partition 'cpu', but its nodes have none; set slurm_partition"),
        (Request("train", "cpu", 1), "(one that has them: gpu, mig, tiny)"),
        (Request("train", None, 16), "wants 16 GPUs of partition 'gpu', but its largest node has 4; ask for fewer"),
        (Request("train", "gpu", 1, "a10"), "of model 'a10' of partition 'gpu', but its nodes have none; ask for ano"),
        (Request("train", "gpu", 1, "a10"), "did you mean 'a100'?"),
        (Request("train", "tiny", 1, "h100"), "leave gpu_model out"),
        (
            Request("train", "gpu", 2, "v100", 200000),
            "wants 200000 MB of memory, but the largest node of partition 'gp",
        ),
        (Request("train", "gpu", runtime_min=1441), "wants 1441 minutes, but partition 'gpu' ends jobs after 1440"),
    ],
)
def test_what_no_node_can_run(nodes: list[cluster.Nodes], request_: Request, sentence: str) -> None:
    with pytest.raises(UserError) as error:
        cluster.check_request(request_, nodes)
    assert sentence in str(error.value)


def test_no_default_partition() -> None:
    with pytest.raises(UserError, match="no default partition and none is named; .* \\(valid: a, b\\)"):
        cluster.check_request(Request("train"), cluster.parse_nodes("a|gpu:1|1|1|1|1|idle\nb|gpu:1|1|1|1|1|idle\n"))


def test_a_machine_without_slurm(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(
        UserError, match="sbatch is not on this machine.*login node, or run locally with --profile prof"
    ):
        cluster.check_cluster([])
    with pytest.raises(UserError, match="sinfo is not on this machine"):
        cluster.read_nodes()


def test_a_controller_that_is_down(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("sbatch", "sinfo"):
        (tmp_path / name).write_text("#!/bin/sh\necho 'slurm_load_partitions: Connection refused' >&2\nexit 1\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match=r"does not answer \(slurm_load_partitions: Connection refused\); try again"):
        cluster.check_cluster([Request("train")])


@pytest.mark.parametrize(
    "text",
    [
        "default-resources: {slurm_partition: 'gpu,big', mem_mb: 1000}",
        "default-resources:\n  - slurm_partition=gpu,big\n  - mem_mb=1000",
        "default-resources: [\"slurm_partition='gpu,big'\", mem_mb=1000]",
    ],
)
def test_profiles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "slurm"
    folder.mkdir()
    (folder / "config.yaml").write_text(f"executor: slurm\nslurm-status-command: squeue\n{text}\n")
    for name in ("slurm", "slurm/config.yaml", str(folder)):
        found = cluster.read_profile(name)
        assert (found.executor, found.status_command) == ("slurm", "squeue")
        assert found.partitions == ["gpu", "big"]
        assert int(found.default_resources["mem_mb"]) == 1000


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", Cluster()),
        (
            "config: ['mine=1', 'cluster={gpu_style: gres, max_runtime_min: 60}']",
            Cluster(gpu_style="gres", max_runtime_min=60),
        ),
        ("config: {cluster: {gpu_style: none}}", Cluster(gpu_style="none")),
    ],
)
def test_what_a_profile_says_of_its_cluster(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, expected: Cluster
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "slurm").mkdir()
    (tmp_path / "slurm/config.yaml").write_text(f"executor: slurm\n{text}\n")
    assert cluster.read_profile("slurm").cluster == expected


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (None, "there is no profile slurm/config.yaml"),
        ("a: [", "cannot be read"),
        ("- a", "not a mapping of keys to values"),
        ("default-resources: [gpu]", "are not key: value pairs"),
        ("default-resources: 3", "are not key: value pairs"),
        ("config: ['cluster={gpu_style: gpu}']", "gpu_style"),
        ("config: ['cluster={gpu_style: gres']", "in config of profile slurm/config.yaml cannot be read"),
    ],
)
def test_profiles_that_are_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str | None, sentence: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "slurm").mkdir()
    if text:
        (tmp_path / "slurm/config.yaml").write_text(text)
    with pytest.raises(UserError, match=sentence):
        cluster.read_profile("slurm")
