#!/usr/bin/env bash
# A real Slurm for the tests, thrown away afterwards: munge, a controller and two nodes with one pretend GPU each, all on
# this machine's loopback, without systemd, cgroups or accounting.
#   cluster.sh start FOLDER    then: source FOLDER/env.sh
#   cluster.sh start FOLDER site    one that is set up as sites are: accounting (MariaDB), partitions with limits
#     (cpu by default, 12 h; long, 7 days; gpu, 8 h), one GPU of a type
#   cluster.sh stop FOLDER
#   cluster.sh node FOLDER n1|n2    starts a node that was killed
# Only processes whose pid stands in FOLDER are ever stopped.
set -euo pipefail
ACTION=$1
DIR=$(realpath -m "$2")
SHAPE=${3:-plain}
NODES=(n1 n2)
NODE_CPUS=2
# More than there may be: it is only counted. What jobs really take is watched all the same.
NODE_MEMORY=64000
export PATH=$PATH:/usr/sbin:/sbin
export SLURM_CONF=$DIR/slurm.conf

running() { # NAME: its process is alive and is what it was
  local pid
  pid=$(cat "$DIR/$1.pid" 2>/dev/null) && [ -n "$pid" ] && tr '\0' ' ' <"/proc/$pid/cmdline" 2>/dev/null | grep -q "${1%%-*}"
}

wait_for() { # SECONDS COMMAND...
  local end=$((SECONDS + $1))
  shift
  until "$@" >/dev/null 2>&1; do
    [ $SECONDS -lt $end ] || { echo "cluster.sh: timed out: $*" >&2; return 1; }
    sleep 0.1
  done
}

launch() { # NAME COMMAND...
  local name=$1
  shift
  running "$name" && return
  setsid "$@" >>"$DIR/$name.out" 2>&1 </dev/null &
  echo $! >"$DIR/$name.pid"
}

start_node() { launch "slurmd-$1" slurmd -D -N "$1"; }

all_up() { [ "$(timeout 5 sinfo -h -N -p urgent -o %t | grep -cE '^(idle|mix|alloc)$')" = ${#NODES[@]} ]; }

configure() {
  local ports
  # Free ports, all open at the same time while they are chosen.
  read -r -a ports < <(python3 -c '
import socket
sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(4)]
print(*(s.getsockname()[1] for s in sockets))')
  (umask 077; head -c 128 /dev/urandom >"$DIR/munge.key")
  cat >"$DIR/slurm.conf" <<CONF
ClusterName=throwaway
SlurmctldHost=localhost
SlurmctldPort=${ports[0]}
SlurmUser=$(id -un)
SlurmdUser=$(id -un)
AuthType=auth/munge
# A job that is requeued starts again when its old credential has expired, by default after two minutes.
AuthInfo=socket=$DIR/munge.socket,cred_expire=10
CredType=cred/munge
MpiDefault=none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
GresTypes=gpu
ReturnToService=2
SlurmdParameters=config_overrides
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
StateSaveLocation=$DIR/state
SlurmdSpoolDir=$DIR/%n
SlurmctldPidFile=$DIR/slurmctld.self
SlurmdPidFile=$DIR/slurmd-%n.self
SlurmctldLogFile=$DIR/slurmctld.log
SlurmdLogFile=$DIR/slurmd-%n.log
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=2,bf_interval=2,batch_sched_delay=0
# squeue must remember what became of a job until Snakemake asks.
MinJobAge=3600
KillWait=5
SlurmdTimeout=20
SlurmctldTimeout=20
InactiveLimit=0
Waittime=0
JobRequeue=1
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
# Memory is watched once a second; more than was asked for ends a job.
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=1
JobAcctGatherParams=OverMemoryKill
DefMemPerCPU=500
JobCompType=jobcomp/filetxt
JobCompLoc=$DIR/jobs.txt
CONF
  if [ "$SHAPE" = site ]; then accounting "${ports[3]}"; else echo AccountingStorageType=accounting_storage/none; fi >>"$DIR/slurm.conf"
  : >"$DIR/gres.conf"
  for i in "${!NODES[@]}"; do
    local gres=gpu:1 memory=$NODE_MEMORY cpus=$NODE_CPUS
    if [ "$SHAPE" = site ]; then memory=16000 cpus=8 gres=$([ "${NODES[i]}" = n1 ] || echo gpu:a100:1); fi
    echo "NodeName=${NODES[i]} NodeHostname=localhost NodeAddr=127.0.0.1 Port=${ports[i + 1]} CPUs=$cpus" \
      "RealMemory=$memory ${gres:+Gres=$gres} State=UNKNOWN" >>"$DIR/slurm.conf"
    # A GPU must be a character device; nothing opens this one.
    case $gres in
      gpu:1) echo "NodeName=${NODES[i]} Name=gpu File=/dev/null" >>"$DIR/gres.conf" ;;
      gpu:*) echo "NodeName=${NODES[i]} Name=gpu Type=a100 File=/dev/null" >>"$DIR/gres.conf" ;;
    esac
    mkdir -p "$DIR/${NODES[i]}"
  done
  if [ "$SHAPE" = site ]; then
    echo "PartitionName=cpu Nodes=n1 Default=YES MaxTime=12:00:00 State=UP PriorityTier=1"
    echo "PartitionName=long Nodes=n1 MaxTime=7-0 State=UP PriorityTier=1"
    echo "PartitionName=gpu Nodes=n2 MaxTime=8:00:00 State=UP PriorityTier=1"
  else
    echo "PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP PriorityTier=1"
  fi >>"$DIR/slurm.conf"
  echo "PartitionName=urgent Nodes=ALL MaxTime=INFINITE State=UP PriorityTier=2" >>"$DIR/slurm.conf"
  # Snakemake's job step drops SLURM_CONF before it calls srun, and there is no /etc/slurm here.
  mkdir -p "$DIR/bin" "$DIR/state"
  printf '#!/bin/sh\nSLURM_CONF=%s exec %s "$@"\n' "$DIR/slurm.conf" "$(command -v srun)" >"$DIR/bin/srun"
  chmod 755 "$DIR/bin/srun"
  echo "export SLURM_CONF=$DIR/slurm.conf PATH=$DIR/bin:\$PATH:/usr/sbin:/sbin" >"$DIR/env.sh"
}

accounting() { # PORT: what slurm.conf and slurmdbd.conf say of it
  cat <<CONF
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=localhost
AccountingStoragePort=$1
AccountingStoragePass=$DIR/munge.socket
AccountingStorageTRES=gres/gpu
AccountingStorageEnforce=associations,limits
CONF
  (umask 077; cat >"$DIR/slurmdbd.conf" <<CONF
AuthType=auth/munge
AuthInfo=socket=$DIR/munge.socket
DbdHost=localhost
DbdPort=$1
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
SlurmUser=$(id -un)
StorageType=accounting_storage/mysql
StorageHost=localhost
StorageUser=root
StorageLoc=slurm_acct_db
LogFile=$DIR/slurmdbd.log
PidFile=$DIR/slurmdbd.self
CONF
  )
}

start_accounting() {
  local socket=$DIR/my.sock
  [ -d "$DIR/mysql/mysql" ] || mariadb-install-db --no-defaults --user="$(id -un)" --datadir="$DIR/mysql" \
    --auth-root-authentication-method=normal --skip-test-db >"$DIR/mariadb-install.out" 2>&1
  launch mariadbd mariadbd --no-defaults --user="$(id -un)" --datadir="$DIR/mysql" --socket="$socket" --skip-networking \
    --pid-file="$DIR/mariadb.self" --innodb-buffer-pool-size=64M --innodb-flush-log-at-trx-commit=0
  wait_for 30 mariadb --no-defaults -S "$socket" -u root -e 'create database if not exists slurm_acct_db'
  MYSQL_UNIX_PORT=$socket launch slurmdbd slurmdbd -D
  wait_for 60 timeout 5 sacctmgr -n list cluster
  sacctmgr -n list cluster format=cluster%30 | grep -qw throwaway || sacctmgr -i add cluster throwaway >/dev/null
}

start() {
  for program in munged slurmctld slurmd srun; do
    command -v $program >/dev/null || { echo "cluster.sh: no $program; 'make test-slurm' installs it" >&2; exit 3; }
  done
  mkdir -p "$DIR"
  chmod 755 "$DIR"
  [ -s "$DIR/slurm.conf" ] || configure
  launch munged munged --foreground --force --key-file="$DIR/munge.key" --socket="$DIR/munge.socket" \
    --pid-file="$DIR/munged.self" --seed-file="$DIR/munge.seed" --log-file="$DIR/munged.log"
  wait_for 10 munge -n --socket="$DIR/munge.socket"
  [ "$SHAPE" != site ] || start_accounting
  launch slurmctld slurmctld -D -i
  wait_for 20 timeout 5 scontrol ping
  for node in "${NODES[@]}"; do start_node "$node"; done
  wait_for 20 all_up
}

stop_process() { # NAME
  local pid
  if running "$1"; then
    pid=$(cat "$DIR/$1.pid")
    kill "$pid" 2>/dev/null || true
    wait_for 15 [ ! -d "/proc/$pid" ] || kill -9 "$pid"
  fi
  rm -f "$DIR/$1.pid"
}

stop() {
  [ -s "$DIR/slurm.conf" ] || return 0
  if running slurmctld; then
    # So that no job outlives its node.
    timeout 5 scancel --full --user="$(id -un)" 2>/dev/null || true
    wait_for 15 sh -c '[ -z "$(timeout 5 squeue -h -t R,CG)" ]' || true
  fi
  for name in "${NODES[@]/#/slurmd-}" slurmctld slurmdbd mariadbd munged; do stop_process "$name"; done
}

case $ACTION in
  start) start ;;
  stop) stop ;;
  node) start_node "$3" ;;
  *) sed -n '2,9s/^# //p' "$0"; exit 2 ;;
esac
