"""What a machine refuses is one line with what to do: in a step, and while a study is planned."""

import errno
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from snakemake.api import SnakemakeApi
from snakemake.exceptions import WorkflowError
from snakemake.settings.types import ConfigSettings, DAGSettings, OutputSettings, Quietness, ResourceSettings
from upfield import errors, files
from upfield.errors import of_machine
from upfield.job import job
from upfield.program import Done

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.usefixtures("framed")


def full(path):
    assert Path("/dev/full").is_char_device()
    with open("/dev/full", "w") as file:  # noqa: PTH123
        file.write("x" * 10)


def no_space(path):
    raise OSError(
        errno.ENOSPC, os.strerror(errno.ENOSPC), str(Path(path).parent / f".tmp-{files.PLACE}-123-image.nii.gz")
    )


def quota(path):
    raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT), path)


def read_only(path):
    raise OSError(errno.EROFS, os.strerror(errno.EROFS), path)


def forbidden(path):
    raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)


def silent_drive(path):
    raise OSError(errno.ESTALE, os.strerror(errno.ESTALE), path)


def vanished(path):
    Path(f"{path}.gone").read_text()


def folder_is_a_file(path):
    Path(path).write_text("")
    files.write_text(Path(path) / "below.txt", "text")


def memory(path):
    bytearray(1 << 60)


def memory_of_torch(path):
    raise RuntimeError("[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: not enough memory:\n you tried to ...")


def memory_of_itk(path):
    raise RuntimeError("std::bad_alloc")


def memory_of_loader(path):
    raise ImportError("/opt/libtorch_cpu.so: failed to map segment from shared object")


def memory_of_card(path):
    raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB")


def worker(path):
    raise RuntimeError("DataLoader worker (pid 7) is killed by signal: Segmentation fault. ")


def wrapped(path):
    try:
        full(path)
    except OSError as error:
        raise ValueError("cannot save") from error


CASES = {
    full: "no space is left", no_space: "no space is left", quota: "quota", read_only: "read only",
    forbidden: "no permission", silent_drive: "does not answer", vanished: "not there", folder_is_a_file: "output_dir",
    memory: "not enough memory", memory_of_torch: "not enough memory", memory_of_itk: "not enough memory",
    memory_of_loader: "not enough memory", memory_of_card: "the GPU has not enough memory",
    worker: "Segmentation fault", wrapped: "no space is left",
}  # fmt: skip


class Wildcards(dict):
    """As Snakemake's: the values are what is listed."""

    def __iter__(self):
        return iter(self.values())


def rule(tmp_path):
    return SimpleNamespace(
        threads=1,
        log=[tmp_path / "log.txt"],
        rule="bias",
        wildcards=Wildcards({"scan": "sub-01"}),
        output=[str(tmp_path / "image.nii.gz")],
    )


@pytest.mark.parametrize(("fault", "words"), CASES.items(), ids=[fault.__name__ for fault in CASES])
def test_a_step_says_it_in_one_line_and_the_log_has_the_rest(tmp_path, fault, words):
    with pytest.raises(SystemExit) as ended, job(rule(tmp_path), 1):
        fault(str(tmp_path / "image.nii.gz"))
    line = str(ended.value)
    assert line.startswith("upfield: bias sub-01: ") and words in line and "\n" not in line and len(line) < 400
    assert ".tmp-" not in line
    if "memory" not in words and fault not in (worker, vanished):
        assert str(tmp_path / "image.nii.gz") in line
    assert "Traceback" in (tmp_path / "log.txt").read_text()


def test_the_writer_of_safetensors_is_understood():
    # Told, not tried: it renames what it wrote, which would replace a device such as /dev/full.
    full_drive = RuntimeError("Error while serializing: I/O error: No space left on device (os error 28)")
    assert of_machine(full_drive, writing="model.safetensors") == f"model.safetensors: {errors.REFUSED[errno.ENOSPC]}"


@pytest.mark.parametrize("error", [ValueError("x"), KeyError("memory"), OSError("odd"), RuntimeError("shape mismatch")])
def test_a_fault_of_the_code_keeps_its_traceback(tmp_path, error):
    assert of_machine(error) is None
    with pytest.raises(type(error)), job(rule(tmp_path), 1):
        raise error


def test_a_log_that_cannot_be_written_is_one_line_too(tmp_path, capsys):
    (tmp_path / "logs").write_text("no folder")
    broken = rule(tmp_path)
    broken.log = [tmp_path / "logs" / "log.txt"]
    with pytest.raises(SystemExit, match="output_dir"), job(broken, 1):
        raise AssertionError("the step must not run")
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.parametrize("fault", [full, forbidden, memory])
def test_nothing_half_written_is_left(tmp_path, fault):
    def write():
        with files.atomic(tmp_path / "table.tsv") as temporary:
            temporary.write_text("half")
            fault(str(temporary))

    with pytest.raises((OSError, MemoryError)):
        write()
    assert list(tmp_path.iterdir()) == []


def test_a_limit_of_memory(tmp_path):
    script = f"""
import resource
from types import SimpleNamespace
from upfield.job import job
used = int(open('/proc/self/statm').read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 2**24, used + 2**24))
log = {str(tmp_path / "log.txt")!r}
rule = SimpleNamespace(threads=1, log=[log], rule="bias", wildcards={{"sub-01": 1}}, output=[])
with job(rule, 1):
    kept = [bytearray(2**22) for _ in range(100)]
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 1 and done.stderr.strip() == f"upfield: bias sub-01: {errors.MEMORY}"


@pytest.mark.parametrize(
    ("done", "line", "killed"),
    [
        (Done(-11, "", ""), "killed by SIGSEGV", "SIGSEGV"),
        (Done(139, "reading\n", ""), "killed by SIGSEGV after: reading", "SIGSEGV"),
        (Done(137, "", ""), "killed by SIGKILL", "SIGKILL"),
        (Done(1, "", "no brain\n"), "no brain", ""),
        (Done(255, "", ""), "exit code 255", ""),
        (Done(165, "", ""), "exit code 165", ""),
        (Done(0, "well\n", ""), "well", ""),
    ],
)
def test_a_program_that_was_killed_says_by_what(done, line, killed):
    assert (done.last_line, done.killed) == (line, killed)


@pytest.mark.parametrize("fault", [no_space, read_only, memory])
def test_planning_says_it_in_one_line(tmp_path, monkeypatch, fault, bids_tree):
    name = "sub-{0}/ses-{1}/anat/sub-{0}_ses-{1}_T1w.nii.gz"
    data = bids_tree({name.format(f"0{number}", session): None for number in range(1, 7) for session in (1, 2)})
    study = {"study": "full", "output_dir": str(tmp_path / "out")}
    study |= {
        side: {"bids_dir": str(data), "entities": {"session": n}} for side, n in (("source", "1"), ("target", "2"))
    }
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(study))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(files, "write_text", lambda path, text: fault(str(path)))
    with SnakemakeApi(OutputSettings(quiet={Quietness.ALL})) as api, pytest.raises(WorkflowError) as caught:
        api.workflow(
            ResourceSettings(cores=1),
            ConfigSettings(configfiles=[tmp_path / "study.yaml"]),
            snakefile=ROOT / "Snakefile",
            workdir=tmp_path,
        ).dag(DAGSettings(targets=set()))
    told = str(caught.value)
    assert CASES[fault] in told and "Traceback" not in told


def test_every_line_says_what_to_do():
    for told in [*errors.REFUSED.values(), errors.MEMORY]:
        assert ";" in told and "\n" not in told
