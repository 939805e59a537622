#!/usr/bin/env bash
# A SLURM cluster of one node on this machine, for trying and testing `snakemake --profile slurm`: no users, no
# accounting, two GPUs that are none. Everything it writes lies in one folder. Needs root and Debian's packages
# slurm-wlm and munge. Several may run beside each other, each in a folder of its own with ports of its own.
set -euo pipefail

usage() {
  cat <<'TEXT'
usage: slurm/local-cluster.sh start|stop|status|env

  start    bring the cluster up; installs Debian's slurm-wlm and munge where they are missing
  stop     cancel its jobs, end its daemons, remove its folder
  status   nodes and jobs; exit code 3 where none is running
  env      lines for a shell that talks to it:  eval "$(slurm/local-cluster.sh env)"

  BOOSTNERV_CLUSTER       its folder (.cluster)
  BOOSTNERV_CLUSTER_PORT  its first port of two (27817)
  BOOSTNERV_CLUSTER_CPUS  CPUs that it pretends to have (4)
TEXT
}

HOME_FOLDER=$(realpath -m "${BOOSTNERV_CLUSTER:-.cluster}")
PORT=${BOOSTNERV_CLUSTER_PORT:-27817}
CPUS=${BOOSTNERV_CLUSTER_CPUS:-4}
DAEMONS="slurmd slurmctld munged"
CLIENTS="sbatch srun salloc scancel squeue sinfo scontrol sacct sattach sbcast sstat sprio"

fail() {
  echo "$1" >&2
  exit 2
}

# Process number of a daemon of ours that runs; numbers are used again.
pid_of() {
  local pid
  pid=$(cat "$HOME_FOLDER/run/$1.pid" 2>/dev/null) && [[ $(cat "/proc/$pid/comm" 2>/dev/null) == "$1" ]] && echo "$pid"
}

running() { pid_of slurmctld >/dev/null; }

install_packages() {
  if ! command -v slurmctld >/dev/null || ! command -v munged >/dev/null; then
    command -v apt-get >/dev/null || fail "slurmctld and munged are missing; install SLURM and munge"
    apt-get update -q >&2
    # Debian starts what it installs, with its own configuration; nothing of that is wanted.
    DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 apt-get install -qy --no-install-recommends slurm-wlm munge >&2
  fi
}

write_configuration() {
  mkdir -p "$HOME_FOLDER"/{bin,gpu,log,run,state,spool}
  chmod 755 "$HOME_FOLDER" "$HOME_FOLDER/run"
  # SLURM wants devices and counts them by the digits of their names; these are /dev/null.
  mknod "$HOME_FOLDER/gpu/nvidia0" c 1 3
  mknod "$HOME_FOLDER/gpu/nvidia1" c 1 3
  (umask 077 && head -c 1024 /dev/urandom >"$HOME_FOLDER/munge.key")
  cat >"$HOME_FOLDER/gres.conf" <<CONF
Name=gpu File=$HOME_FOLDER/gpu/nvidia[0-1]
CONF
  cat >"$HOME_FOLDER/slurm.conf" <<CONF
ClusterName=boostnerv
SlurmctldHost=$(hostname)(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket=$HOME_FOLDER/run/munge.socket
CryptoType=crypto/munge
CommunicationParameters=NoAddrCache
SlurmctldPort=$PORT
SlurmdPort=$((PORT + 1))
SlurmctldPidFile=$HOME_FOLDER/run/slurmctld.pid
SlurmdPidFile=$HOME_FOLDER/run/slurmd.pid
SlurmctldLogFile=$HOME_FOLDER/log/slurmctld.log
SlurmdLogFile=$HOME_FOLDER/log/slurmd.log
StateSaveLocation=$HOME_FOLDER/state
SlurmdSpoolDir=$HOME_FOLDER/spool
MpiDefault=none
SwitchType=switch/none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
GresTypes=gpu
SlurmdParameters=config_overrides
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/none
# A step over its memory is killed by SLURM itself.
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=1
JobAcctGatherParams=OverMemoryKill
ReturnToService=2
InactiveLimit=0
KillWait=10
MinJobAge=300
SchedulerParameters=sched_interval=1,batch_sched_delay=0
NodeName=$(hostname) NodeAddr=127.0.0.1 CPUs=$CPUS RealMemory=$(awk '/MemTotal/ {print int($2 / 1100)}' /proc/meminfo) Gres=gpu:2
PartitionName=gpu Nodes=ALL Default=YES MaxTime=1-00:00:00 DefaultTime=00:30:00 State=UP
CONF
  # Snakemake's jobs forget SLURM_CONF; commands that know their cluster need no variable.
  for name in $CLIENTS; do
    command -v "$name" >/dev/null || continue
    printf '#!/bin/sh\nSLURM_CONF=%q exec %q "$@"\n' "$HOME_FOLDER/slurm.conf" "$(command -v "$name")" \
      >"$HOME_FOLDER/bin/$name"
    chmod +x "$HOME_FOLDER/bin/$name"
  done
}

start_daemons() {
  # 22.05 needs more open files than it can count, where the limit is in the millions.
  ulimit -n 4096
  local run=$HOME_FOLDER/run log=$HOME_FOLDER/log
  munged --force --key-file="$HOME_FOLDER/munge.key" --socket="$run/munge.socket" --pid-file="$run/munged.pid" \
    --log-file="$log/munged.log" --seed-file="$run/munged.seed"
  SLURM_CONF=$HOME_FOLDER/slurm.conf slurmctld -c
  SLURM_CONF=$HOME_FOLDER/slurm.conf slurmd
}

wait_until_idle() {
  for _ in $(seq 150); do
    [[ $("$HOME_FOLDER/bin/sinfo" -h -o %T 2>/dev/null) == idle ]] && return
    sleep 0.2
  done
  tail -n 5 "$HOME_FOLDER"/log/*.log >&2
  fail "the cluster did not come up in 30 s; its logs are in $HOME_FOLDER/log"
}

start() {
  ((EUID == 0)) || fail "only root can start the test cluster; run it as root or in a container"
  ! running || fail "a cluster is running in $HOME_FOLDER; stop it first: slurm/local-cluster.sh stop"
  [[ ! -e $HOME_FOLDER || -e $HOME_FOLDER/slurm.conf ]] ||
    fail "$HOME_FOLDER is no cluster's folder; name another one in BOOSTNERV_CLUSTER"
  local port
  for port in "$PORT" "$((PORT + 1))"; do
    ! (: </dev/tcp/127.0.0.1/"$port") 2>/dev/null || fail "port $port is taken; name others in BOOSTNERV_CLUSTER_PORT"
  done
  install_packages
  rm -rf "$HOME_FOLDER"
  write_configuration
  start_daemons
  wait_until_idle
  echo "a cluster of one node, $CPUS CPUs and two GPUs; in your shell: eval \"\$(slurm/local-cluster.sh env)\""
}

stop() {
  if [[ ! -e $HOME_FOLDER/slurm.conf ]]; then
    echo "no cluster in $HOME_FOLDER"
    return
  fi
  if running; then
    "$HOME_FOLDER/bin/scancel" --state=RUNNING --state=PENDING --signal=KILL --full 2>/dev/null || true
    "$HOME_FOLDER/bin/scancel" --user=root 2>/dev/null || true
    for _ in $(seq 50); do
      [[ -z $("$HOME_FOLDER/bin/squeue" -h 2>/dev/null) ]] && break
      sleep 0.2
    done
  fi
  local daemon pid
  for daemon in $DAEMONS; do
    pid=$(pid_of "$daemon") || continue
    kill "$pid" 2>/dev/null || continue
    for _ in $(seq 50); do
      kill -0 "$pid" 2>/dev/null || break
      sleep 0.1
    done
    kill -9 "$pid" 2>/dev/null || true
  done
  rm -rf "$HOME_FOLDER"
  echo "stopped"
}

status() {
  running || { echo "no cluster is running in $HOME_FOLDER" && exit 3; }
  "$HOME_FOLDER/bin/sinfo" -o '%N %T %c CPUs %m MB %G'
  "$HOME_FOLDER/bin/squeue" -o '%i %T %M %k'
}

env_lines() {
  printf 'export PATH=%q:"$PATH"\n' "$HOME_FOLDER/bin"
}

case ${1:-} in
  start | stop | status) "$1" ;;
  env) env_lines ;;
  -h | --help) usage ;;
  *) usage >&2 && exit 2 ;;
esac
