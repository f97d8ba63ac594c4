"""A real Slurm of one node from Debian's packages, under one folder, beside any other: for tests and measurements.

Needs slurmctld, slurmd, slurm-client and munge; with accounting also slurmdbd and mariadb-server.  No systemd,
nothing under /etc.  Runs as root or as anyone; jobs then run as that user.
"""

from __future__ import annotations

import contextlib
import getpass
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

SBIN = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"])
DAEMONS = ("slurmctld", "slurmd", "munged", "sbatch", "scontrol")
OF_ACCOUNTING = ("slurmdbd", "mariadbd", "mariadb-install-db", "sacctmgr")


def missing(*, accounting: bool = False) -> list[str]:
    """Programs that are needed and not installed."""
    needed = DAEMONS + (OF_ACCOUNTING if accounting else ())
    return [name for name in needed if shutil.which(name, path=SBIN) is None]


def free_ports(n: int) -> list[int]:
    """Ports of the loopback that nobody listens on now."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(n)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


class OneNode:
    """A cluster of one node; use it as a context.  `env` is what a process needs to reach it."""

    def __init__(
        self,
        *,
        accounting: bool = False,
        cpus: int = 8,
        memory_mb: int = 16_000,
        gpus: int = 2,
        max_array: int = 1001,
        min_job_age: int = 300,
        kill_wait: int = 5,
        kills_memory_hogs: bool = False,
    ) -> None:
        """Partition `debug` preempts `low`, whose jobs are requeued after 20 s of grace.

        `cpus` may exceed the machine's; `gpus` are links to /dev/null; `min_job_age`: seconds until an ended job is
        forgotten; `kills_memory_hogs`: a step over its --mem is killed within seconds, without cgroups.
        """
        self.accounting, self.cpus, self.memory_mb, self.gpus = accounting, cpus, memory_mb, gpus
        self.max_array, self.min_job_age, self.kill_wait = max_array, min_job_age, kill_wait
        self.kills_memory_hogs = kills_memory_hogs
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.ports = free_ports(4)

    # -- up and down --------------------------------------------------------------------------------------

    def __enter__(self) -> OneNode:
        # Short: munge's socket path may have 107 bytes.
        self.root = Path(tempfile.mkdtemp(prefix="slurm-", dir="/tmp")).resolve()
        self.env = {"PATH": SBIN, "SLURM_CONF": str(self.root / "slurm.conf")}
        for name in ("log", "pid", "state", "spool", "dev", "munge"):
            (self.root / name).mkdir()
        self.root.chmod(0o755)
        try:
            self._munge()
            self._configure()
            if self.accounting:
                self._account()
            self.start_controller()
            self._start("slurmd", "slurmd", "-D", "-f", str(self.root / "slurm.conf"))
            self._until(30, "the node", lambda: "idle" in self.run("sinfo", "-h", "-o", "%T", check=False))
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        with contextlib.suppress(subprocess.TimeoutExpired, AssertionError):
            if "slurmctld" in self.processes:
                self.clear()
        for name in ("slurmd", "slurmctld", "slurmdbd", "mariadbd", "munged"):
            self._stop(name)
        shutil.rmtree(self.root, ignore_errors=True)

    def start_controller(self) -> None:
        """Start slurmctld, and wait until it answers."""
        self._start("slurmctld", "slurmctld", "-D", "-f", str(self.root / "slurm.conf"))
        self._until(20, "slurmctld", lambda: "is UP" in self.run("scontrol", "ping", check=False))

    def stop_controller(self) -> None:
        """Stop slurmctld; what runs goes on, and its state stands for the next start."""
        self._stop("slurmctld")

    @contextlib.contextmanager
    def controller_down(self) -> Iterator[None]:
        """Without slurmctld, for a while."""
        self.stop_controller()
        try:
            yield
        finally:
            self.start_controller()

    def _start(self, name: str, *command: str, check: Callable[[], bool] | None = None) -> None:
        with (self.root / "log" / f"{name}.out").open("ab") as log:
            self.processes[name] = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, **self.env},
                start_new_session=True,
            )
        if check:
            self._until(60, name, check)

    def _stop(self, name: str) -> None:
        process = self.processes.pop(name, None)
        if process is None:
            return
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def _until(self, seconds: float, what: str, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > deadline:
                logs = [f"{path.name}: {path.read_text()[-2000:]}" for path in sorted((self.root / "log").iterdir())]
                raise AssertionError("\n".join([f"{what} did not come up in {seconds:g} s", *logs]))
            time.sleep(0.05)

    # -- configuration ------------------------------------------------------------------------------------

    def _munge(self) -> None:
        key, place = self.root / "munge.key", self.root / "munge"
        key.write_bytes(os.urandom(1024))
        key.chmod(0o600)
        place.chmod(0o755)
        command = ["munged", "--foreground", "--force", f"--key-file={key}", f"--socket={place}/sock"]
        command += [f"--pid-file={place}/pid", f"--log-file={place}/log", f"--seed-file={place}/seed"]
        asks = ("munge", "-S", f"{place}/sock", "-n")
        self._start("munged", *command, check=lambda: self._succeeds(*asks))

    def _configure(self) -> None:
        host, user, root = socket.gethostname().partition(".")[0], getpass.getuser(), self.root
        conf: dict[str, object] = {
            "ClusterName": "throwaway",
            "SlurmctldHost": f"{host}(127.0.0.1)",
            "SlurmctldPort": self.ports[0],
            "SlurmdPort": self.ports[1],
            "AuthType": "auth/munge",
            "AuthInfo": f"socket={root}/munge/sock",
            "CredType": "cred/munge",
            "SlurmUser": user,
            "SlurmdUser": user,
            "StateSaveLocation": root / "state",
            "SlurmdSpoolDir": root / "spool",
            "SlurmctldPidFile": root / "pid/slurmctld",
            "SlurmdPidFile": root / "pid/slurmd",
            "SlurmctldLogFile": root / "log/slurmctld.log",
            "SlurmdLogFile": root / "log/slurmd.log",
            # What a container can do: no cgroups.
            "ProctrackType": "proctrack/linuxproc",
            "TaskPlugin": "task/none",
            "SwitchType": "switch/none",
            "MpiDefault": "none",
            "SelectType": "select/cons_tres",
            "SelectTypeParameters": "CR_Core_Memory",
            "DefMemPerCPU": 100,  # else each job gets all memory, and jobs run one at a time
            "SlurmdParameters": "config_overrides",  # more CPUs than there are
            "SlurmctldParameters": "preempt_send_user_signal",
            "PreemptType": "preempt/partition_prio",
            "PreemptMode": "REQUEUE",
            "ReturnToService": 2,
            "KillWait": self.kill_wait,
            "InactiveLimit": 0,
            "MinJobAge": self.min_job_age,
            "MaxArraySize": self.max_array,
            "JobRequeue": 1,
            "SchedulerParameters": "batch_sched_delay=0,sched_interval=2",
            "AccountingStorageType": "accounting_storage/none",
            "JobAcctGatherType": "jobacct_gather/none",
        }
        if self.accounting:
            conf |= {
                "AccountingStorageType": "accounting_storage/slurmdbd",
                "AccountingStorageHost": "127.0.0.1",
                "AccountingStoragePort": self.ports[2],
                "AccountingStoragePass": root / "munge/sock",
            }
        if self.kills_memory_hogs:
            conf |= {
                "JobAcctGatherType": "jobacct_gather/linux",
                "JobAcctGatherFrequency": "task=2",
                "JobAcctGatherParams": "OverMemoryKill",
            }
        gres = ""
        if self.gpus:
            for number in range(self.gpus):  # device files are due
                (root / "dev" / f"nvidia{number}").symlink_to("/dev/null")
            devices = f"{root}/dev/nvidia[0-{self.gpus - 1}]"
            (root / "gres.conf").write_text(f"NodeName={host} Name=gpu File={devices}\n")
            conf["GresTypes"], gres = "gpu", f"Gres=gpu:{self.gpus}"
        lines = [f"{key}={value}" for key, value in conf.items()]
        lines += [
            f"NodeName={host} NodeAddr=127.0.0.1 CPUs={self.cpus} RealMemory={self.memory_mb} {gres} State=UNKNOWN",
            "PartitionName=debug Nodes=ALL Default=YES MaxTime=INFINITE PriorityTier=10 State=UP",
            "PartitionName=low Nodes=ALL MaxTime=INFINITE PriorityTier=1 PreemptMode=REQUEUE GraceTime=20 State=UP",
        ]
        (root / "slurm.conf").write_text("\n".join(lines) + "\n")

    def _account(self) -> None:
        root, user = self.root, getpass.getuser()
        sql = ("mariadb", "--no-defaults", f"--socket={root}/sql.sock", "-u", "root")
        install = ["mariadb-install-db", "--no-defaults", f"--user={user}", f"--datadir={root}/sql", "--skip-test-db"]
        self.run(*install, "--auth-root-authentication-method=normal")
        command = ["mariadbd", "--no-defaults", f"--user={user}", f"--datadir={root}/sql", f"--socket={root}/sql.sock"]
        command += ["--bind-address=127.0.0.1", f"--port={self.ports[3]}", f"--pid-file={root}/pid/mariadbd"]
        command += ["--innodb-buffer-pool-size=64M", "--innodb-lock-wait-timeout=900"]
        self._start("mariadbd", *command, check=lambda: self._succeeds(*sql, "-e", "select 1"))
        users = "".join(
            f"create user 'slurm'@'{host}' identified by 'throwaway'; grant all on slurm.* to 'slurm'@'{host}';"
            for host in ("127.0.0.1", "localhost")
        )
        self.run(*sql, "-e", f"create database slurm; {users} flush privileges;")
        conf = {
            "AuthType": "auth/munge",
            "AuthInfo": f"socket={root}/munge/sock",
            "DbdHost": socket.gethostname().partition(".")[0],
            "DbdAddr": "127.0.0.1",
            "DbdPort": self.ports[2],
            "SlurmUser": user,
            "LogFile": root / "log/slurmdbd.log",
            "PidFile": root / "pid/slurmdbd",
            "StorageType": "accounting_storage/mysql",
            "StorageHost": "127.0.0.1",
            "StoragePort": self.ports[3],
            "StorageUser": "slurm",
            "StoragePass": "throwaway",
            "StorageLoc": "slurm",
        }
        path = root / "slurmdbd.conf"
        path.touch(mode=0o600)
        path.write_text("".join(f"{key}={value}\n" for key, value in conf.items()))
        shows = ("sacctmgr", "-n", "show", "cluster")
        self._start("slurmdbd", "slurmdbd", "-D", check=lambda: self._succeeds(*shows))
        self.run("sacctmgr", "-i", "add", "cluster", "throwaway")

    # -- talking to it ------------------------------------------------------------------------------------

    def run(self, *command: str, check: bool = True, timeout: float = 30, env: Mapping[str, str] | None = None) -> str:
        """Run a command that reaches this cluster; return what it prints, errors too."""
        shown = subprocess.run(
            command,
            env={**os.environ, **self.env, **(env or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=timeout,
        )
        assert not check or shown.returncode == 0, f"{command}: exit {shown.returncode}: {shown.stdout}"
        return shown.stdout

    def _succeeds(self, *command: str) -> bool:
        ran = subprocess.run(command, env={**os.environ, **self.env}, capture_output=True, timeout=30)
        return ran.returncode == 0

    def queue(self) -> dict[str, str]:
        """Live jobs, a task each: id ("12" or "12_3") → Slurm's word on it, as PENDING."""
        lines = self.run("squeue", "-h", "-r", "-o", "%i %T").splitlines()
        return dict(line.split() for line in lines)

    def hurry(self, job: str) -> None:
        """Start a requeued job now; by itself it waits about two minutes."""
        time.sleep(1.5)  # in the second of its requeueing its node would refuse it: "Job credential revoked"
        self.run("scontrol", "update", f"JobId={job}", "StartTime=now")

    def clear(self) -> None:
        """Cancel every job and wait until none is left."""
        deadline = time.monotonic() + 30
        while jobs := self.queue():
            assert time.monotonic() < deadline, jobs
            self.run("scancel", *{job.partition("_")[0] for job in jobs}, check=False)
            time.sleep(0.1)
