"""What Slurm says of itself: partitions, nodes, limits; and whether it would take a submission."""

import math
import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass

from upfield import attempts
from upfield.cluster.site import Partition, minutes
from upfield.errors import UpfieldError
from upfield.files import tail

# A controller that does not answer in so many seconds is one that does not answer.
SECONDS = 30
# Columns of `sacctmgr show assoc`.
_ASSOCIATION = ("account", "partition", "qos", "maxsubmit", "grpsubmit")


@dataclass(frozen=True)
class Cluster:
    """Partitions with the limits of their largest node, the default one, and what the user may submit."""

    partitions: tuple[Partition, ...]
    default: str | None
    accounts: tuple[str, ...]
    max_jobs: float = math.inf
    max_array: int = 1000
    min_job_age: int = 300

    def partition(self, name: str | None) -> Partition | None:
        """A partition by name, or the default one."""
        return next((found for found in self.partitions if found.name == (name or self.default)), None)


def require() -> None:
    """Raise UpfieldError where there is no Slurm to submit to, or none that answers, before anything is planned."""
    if shutil.which("sbatch") is None:
        raise _absent("sbatch")
    ask("scontrol", "show", "config")


def ask(*words: str) -> str:
    """What a command of Slurm writes; raises UpfieldError, with Slurm's own words, if it fails."""
    done = _run(words)
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip() or f"exit code {done.returncode}").splitlines()[-1]
        raise UpfieldError(f"Slurm does not answer: {' '.join(words)} says {said!r:.200}")
    return done.stdout


def describe(user: str) -> Cluster:
    """Ask Slurm; raises UpfieldError if there is none, or if it does not answer."""
    config = _pairs(ask("scontrol", "show", "config"), "\n", r"\s*=\s*")
    nodes = [
        _fields(line) for line in ask("scontrol", "-o", "show", "node").splitlines() if line.startswith("NodeName")
    ]
    lines = [_fields(line) for line in ask("scontrol", "-o", "show", "partition").splitlines()]
    found = [line for line in lines if line.get("State", "UP") == "UP" and line.get("RootOnly") != "YES"]
    partitions = tuple(_partition(line, nodes) for line in found if line.get("PartitionName"))
    default = next((line["PartitionName"] for line in found if line.get("Default") == "YES"), None)
    accounts, most = _associations(user) if "slurmdbd" in config.get("AccountingStorageType", "") else ((), math.inf)
    return Cluster(
        partitions,
        default,
        accounts,
        max_jobs=most,
        max_array=int(config.get("MaxArraySize", 1001)) - 1,
        min_job_age=int(re.sub(r"\D", "", config.get("MinJobAge", "300")) or 300),
    )


def refusal(command: Sequence[str]) -> str | None:
    """Slurm's own words if it would not take a submission (`sbatch …` with its options alone), else None."""
    done = _run([command[0], "--test-only", *command[1:], "--wrap", "true"])
    if not done.returncode:
        return None
    said = [re.sub(r"^(sbatch|allocation failure|\W)*(error: )?", "", line) for line in done.stderr.splitlines()]
    return next((line for line in reversed(said) if line.strip()), f"exit code {done.returncode}").strip()


def queued(user: str) -> list[tuple[str, str, str]]:
    """The user's jobs in the queue: number, name and state."""
    lines = ask("squeue", "--noheader", "--user", user, "--format", "%i|%j|%T").splitlines()
    return [(words[0], words[1], words[2]) for words in (line.strip().split("|") for line in lines) if len(words) == 3]


def pending(names: str) -> dict[str, str]:
    """Why jobs with these names (`a,b`) wait: reason by number of the job."""
    lines = ask("squeue", "--noheader", "--name", names, "--states", "PENDING", "--format", "%i|%r").splitlines()
    return dict(line.strip().split("|", 1) for line in lines if "|" in line)


def ended(job: str) -> str | None:
    """What ran out when a job was killed: memory, time, neither, or None if Slurm does not know the job any more."""
    try:
        line = _fields(ask("scontrol", "-o", "show", "job", job))
    except UpfieldError:
        return None
    state = line.get("JobState", "")
    if state in ("TIMEOUT", "DEADLINE"):
        return attempts.TIME
    said = tail(line.get("StdOut", ""), 4000)
    if state == "OUT_OF_MEMORY" or re.search(r"memory limit|oom[-_ ]kill", said, re.IGNORECASE):
        return attempts.MEMORY
    return attempts.OTHER


def _absent(program: str) -> UpfieldError:
    advice = "there is no Slurm here. Start on a login node, or without the profile"
    return UpfieldError(f"{program} was not found: {advice}")


def _run(words: Sequence[str]) -> "subprocess.CompletedProcess[str]":
    try:
        return subprocess.run(words, capture_output=True, text=True, errors="replace", timeout=SECONDS, check=False)
    except FileNotFoundError:
        raise _absent(words[0]) from None
    except subprocess.TimeoutExpired:
        raise UpfieldError(f"Slurm does not answer: {words[0]} said nothing for {SECONDS} s") from None


def _associations(user: str) -> tuple[tuple[str, ...], float]:
    """Accounts of a user, and how many jobs he may have submitted at most; all if accounting does not answer."""
    words = [
        "sacctmgr",
        "--noheader",
        "--parsable2",
        "show",
        "assoc",
        f"user={user}",
        "format=" + ",".join(_ASSOCIATION),
    ]
    try:
        rows = [dict(zip(_ASSOCIATION, line.split("|"), strict=False)) for line in ask(*words).splitlines()]
    except UpfieldError:
        return (), math.inf
    limits = [float(row[name]) for row in rows for name in ("maxsubmit", "grpsubmit") if row.get(name, "").isdigit()]
    return tuple(dict.fromkeys(row["account"] for row in rows if row["account"])), min(limits, default=math.inf)


def _partition(line: dict[str, str], nodes: list[dict[str, str]]) -> Partition:
    """A partition as `scontrol` writes it, with what its largest node has."""
    name = line["PartitionName"]
    own = [node for node in nodes if name in node.get("Partitions", "").split(",")]
    per_node = line.get("MaxMemPerNode", "UNLIMITED")
    memory = [float(node["RealMemory"]) for node in own if node.get("RealMemory", "").isdigit()]
    gpus = [_gpus(node.get("Gres", "")) for node in own]
    return Partition(
        name,
        minutes=minutes(line.get("MaxTime", "UNLIMITED")),
        mem_mb=min(max(memory, default=math.inf), float(per_node) if per_node.isdigit() else math.inf),
        cpus=max((float(node["CPUTot"]) for node in own if node.get("CPUTot", "").isdigit()), default=math.inf),
        gpus=max((sum(counts.values()) for counts in gpus), default=0),
        gpu_types=tuple(sorted({kind for counts in gpus for kind in counts if kind})),
    )


def _gpus(gres: str) -> dict[str, int]:
    """GPUs of a node by type, "" for one without: `gpu:a100:2(S:0),gpu:1` is {a100: 2, "": 1}."""
    found: dict[str, int] = {}
    for part in re.sub(r"\([^)]*\)", "", gres).split(","):
        words = part.split(":")
        if words[0] == "gpu":
            kind, count = (words[1] if len(words) > 2 or not words[-1].isdigit() else ""), words[-1]
            found[kind] = found.get(kind, 0) + (int(count) if count.isdigit() else 1)
    return found


def _fields(line: str) -> dict[str, str]:
    return dict(re.findall(r"([\w:/]+)=(\S*)", line))


def _pairs(text: str, separator: str, between: str) -> dict[str, str]:
    split = (re.split(between, line, maxsplit=1) for line in text.split(separator))
    return {words[0].strip(): words[1].strip() for words in split if len(words) == 2}
