"""A single-node Slurm in a folder, for as long as the tests need it: partitions cpu and gpu, a stand-in for a GPU."""

import getpass
import os
import platform
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

DAEMONS = ("munged", "slurmctld", "slurmd")
# Told of it one by one: the plugin drops SLURM_CONF.
CLIENTS = ("sacct", "sacctmgr", "sbatch", "scancel", "scontrol", "sinfo", "squeue", "srun", "sshare")
WAIT = 60  # seconds
CONFIG = """\
ClusterName=tests
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller}
SlurmdPort={daemon}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
JobCompType=jobcomp/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SchedulerParameters=sched_interval=1,batch_sched_delay=0
MpiDefault=none
MinJobAge=300
GresTypes=gpu
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} CoresPerSocket={cpus} RealMemory={memory} Gres=gpu:1
PartitionName=cpu Nodes={host} Default=YES MaxTime=INFINITE State=UP
PartitionName=gpu Nodes={host} MaxTime=INFINITE State=UP
"""


class NoCluster(Exception):
    """Why no Slurm could be started."""


def answers() -> bool:
    """Is there a Slurm already?"""
    if shutil.which("sinfo") is None:
        return False
    try:
        return subprocess.run(["sinfo"], capture_output=True, timeout=20).returncode == 0
    except subprocess.TimeoutExpired:
        return False


def free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [one.getsockname()[1] for one in sockets]


@contextmanager
def cluster() -> Iterator[None]:
    """Start it and put Slurm's commands for it first in PATH; stop it in the end."""
    if missing := [command for command in DAEMONS + CLIENTS if shutil.which(command) is None]:
        raise NoCluster(f"no {', '.join(missing)} on this machine (Debian: slurmctld slurmd slurm-client munge)")
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="slurm-")))  # a socket's path is short
        controller, daemon = free_ports(2)
        values = {"controller": controller, "daemon": daemon, "folder": folder, "user": getpass.getuser()}
        values |= {"host": platform.node().split(".")[0], "cpus": os.cpu_count()}
        values["memory"] = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**20 - 512
        (folder / "slurm.conf").write_text(CONFIG.format(**values))
        (folder / "gres.conf").write_text(f"NodeName={values['host']} Name=gpu File=/dev/null\n")
        (folder / "munge.key").write_bytes(os.urandom(1024))
        (folder / "munge.key").chmod(0o600)
        for name in ("state", "spool"):
            (folder / name).mkdir()

        def begin(*command: str) -> None:
            log = stack.enter_context((folder / f"{command[0]}.log").open("w"))
            process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
            stack.callback(process.wait)
            stack.callback(process.terminate)

        files = [f"--{name}-file={folder}/munge.{name}" for name in ("key", "log", "pid", "seed")]
        begin("munged", "--foreground", "--force", f"--socket={folder}/munge.socket", *files)
        begin("slurmctld", "-D", "-f", str(folder / "slurm.conf"))
        begin("slurmd", "-D", "-f", str(folder / "slurm.conf"), "-N", values["host"])
        for name in CLIENTS:
            (folder / name).write_text(f'#!/bin/sh\nSLURM_CONF={folder}/slurm.conf exec {shutil.which(name)} "$@"\n')
            (folder / name).chmod(0o755)
        stack.callback(os.environ.__setitem__, "PATH", os.environ["PATH"])
        os.environ["PATH"] = f"{folder}:{os.environ['PATH']}"
        wait_for_nodes(folder)
        yield


def wait_for_nodes(folder: Path) -> None:
    started = time.monotonic()
    while time.monotonic() - started < WAIT:
        done = subprocess.run(["sinfo", "--noheader", "--format", "%T"], capture_output=True, text=True)
        if set(done.stdout.split()) == {"idle"}:
            return
        time.sleep(0.5)
    logs = "\n".join(log.read_text()[-1000:] for log in folder.glob("*.log"))
    raise NoCluster(f"Slurm is installed and did not start within {WAIT} seconds: {done.stdout}{done.stderr}{logs}")
