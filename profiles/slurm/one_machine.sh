#!/usr/bin/env bash
# A Slurm controller and one node on this machine, on the loopback alone, for trying profiles/slurm:
# one_machine.sh start|stop FOLDER. Debian and Ubuntu: apt-get install slurm-wlm munge. FOLDER (an absolute path) holds
# its state and logs. As root, since Slurm looks for its configuration in /etc/slurm, where a link is put; not on a
# machine that has a Slurm already.
set -euo pipefail
command="${1:-}" folder="${2:-}"
[[ "$command" =~ ^(start|stop)$ && "$folder" == /* ]] ||
  { echo "usage: one_machine.sh start|stop FOLDER (an absolute path)" >&2; exit 2; }
export SLURM_CONF="$folder/slurm.conf"
link=/etc/slurm/slurm.conf

started() { kill -0 "$(cat "$folder/$1.pid" 2>/dev/null)" 2>/dev/null; }

stop() {
  local daemon
  for daemon in slurmd slurmctld munged; do
    started "$daemon" && kill "$(cat "$folder/$daemon.pid")" && while started "$daemon"; do sleep 0.1; done
    rm -f "$folder/$daemon.pid"
  done
  [ "$(readlink "$link")" = "$SLURM_CONF" ] && rm "$link"
  return 0
}

start() {
  [ -e "$link" ] && [ "$(readlink "$link")" != "$SLURM_CONF" ] &&
    { echo "this machine has a Slurm: $link" >&2; exit 1; }
  mkdir -p "$folder/state" "$folder/spool"
  chmod 755 "$folder"
  dd if=/dev/urandom of="$folder/munge.key" bs=1024 count=1 status=none
  chmod 400 "$folder/munge.key"
  cat > "$SLURM_CONF" <<CONF
ClusterName=one_machine
SlurmctldHost=$(hostname -s)(127.0.0.1)
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
SlurmUser=$(id -un)
SlurmdUser=$(id -un)
AuthType=auth/munge
AuthInfo=socket=$folder/munge.socket
CryptoType=crypto/munge
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/slurmd.pid
SlurmctldLogFile=$folder/slurmctld.log
SlurmdLogFile=$folder/slurmd.log
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/none
JobAcctGatherType=jobacct_gather/none
MailProg=/bin/true
ReturnToService=2
MinJobAge=3600
KillWait=5
NodeName=$(hostname -s) NodeAddr=127.0.0.1 CPUs=$(getconf _NPROCESSORS_ONLN) \
  RealMemory=$(awk '/MemTotal/ {print int($2 / 1024 * 0.9)}' /proc/meminfo) State=UNKNOWN
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
CONF
  ln -sf "$SLURM_CONF" "$link"
  munged --force --key-file="$folder/munge.key" --socket="$folder/munge.socket" --pid-file="$folder/munged.pid" \
    --log-file="$folder/munged.log" --seed-file="$folder/munged.seed" --num-threads=2
  slurmctld -c
  slurmd -N "$(hostname -s)"
  for _ in $(seq 100); do
    sinfo --noheader --format=%T 2>/dev/null | grep -q idle && { echo "Slurm is up."; return; }
    sleep 0.3
  done
  echo "Slurm did not come up; its logs are in $folder" >&2
  return 1
}

"$command"
