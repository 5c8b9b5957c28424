#!/usr/bin/env bash
# A SLURM of one node on loopback, for tests: no systemd, no cgroups, no accounting, two pretended GPUs. As root:
#   slurm_node.sh install | start | stop
# Jobs get CUDA_VISIBLE_DEVICES as on a real cluster, since SLURM only looks whether a GPU's file is a character device.
# Memory and processors are pretended too (nothing enforces them), so that the requests of profiles fit on any machine;
# a test says itself how many jobs are in the queue at once.
set -euo pipefail
state=/var/tmp/prh-slurm
mark="# made by the tests of prh"  # a SLURM that is not ours is never touched
host=$(hostname -s)

install() {
  apt-get update -q
  DEBIAN_FRONTEND=noninteractive apt-get install -yq --no-install-recommends slurm-wlm munge
}

start() {
  stop
  mkdir -p "$state"/{state,spool,log} /etc/slurm
  for i in 0 1; do [ -c "$state/gpu$i" ] || mknod "$state/gpu$i" c 1 3; done  # the numbers of /dev/null
  getent hosts "$host" > /dev/null || echo "127.0.0.1 $host" >> /etc/hosts
  # It must lie in /etc/slurm: inside jobs Snakemake's plugin drops SLURM_CONF.
  cat > /etc/slurm/slurm.conf <<CONF
$mark
ClusterName=prh
SlurmctldHost=$host(127.0.0.1)
SlurmUser=root
AuthType=auth/munge
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
SchedulerParameters=sched_interval=1,bf_interval=1
SlurmdParameters=config_overrides
ReturnToService=2
MinJobAge=7200
MessageTimeout=60
KillWait=2
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
SlurmctldPidFile=$state/slurmctld.pid
SlurmdPidFile=$state/slurmd.pid
StateSaveLocation=$state/state
SlurmdSpoolDir=$state/spool
SlurmctldLogFile=$state/log/slurmctld.log
SlurmdLogFile=$state/log/slurmd.log
GresTypes=gpu
NodeName=$host NodeAddr=127.0.0.1 CPUs=16 RealMemory=1000000 Gres=gpu:2 State=UNKNOWN
PartitionName=cpu Nodes=$host Default=YES MaxTime=INFINITE State=UP
PartitionName=gpu Nodes=$host MaxTime=INFINITE State=UP
CONF
  echo "NodeName=$host Name=gpu File=$state/gpu[0-1]" > /etc/slurm/gres.conf
  command install -d -o munge -g munge -m 0755 /run/munge /var/log/munge /var/lib/munge
  su -s /bin/sh munge -c /usr/sbin/munged
  /usr/sbin/slurmctld -c
  /usr/sbin/slurmd -N "$host"
  for _ in $(seq 100); do
    if sinfo -h -o %T 2> /dev/null | grep -q idle; then return; fi
    sleep 0.2
  done
  tail -n 20 "$state"/log/*.log
  exit 1
}

stop() {
  if [ -e /etc/slurm/slurm.conf ] && ! grep -qxF "$mark" /etc/slurm/slurm.conf; then
    echo "/etc/slurm/slurm.conf is of a SLURM that the tests did not set up; they leave it alone" >&2
    exit 1
  fi
  for daemon in "$state/slurmd.pid" "$state/slurmctld.pid" /run/munge/munged.pid; do
    if [ -e /etc/slurm/slurm.conf ] && [ -s "$daemon" ]; then
      kill "$(cat "$daemon")" 2> /dev/null || true
      for _ in $(seq 50); do [ -e "$daemon" ] || break; sleep 0.1; done
    fi
  done
  rm -rf "$state" /etc/slurm/slurm.conf /etc/slurm/gres.conf
}

"$1"
