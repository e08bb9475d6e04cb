"""What made a result: versions, commit, kind of machine; nothing that tells one machine or person from another."""

import platform
import subprocess
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import upfield
from upfield.files import digest
from upfield.place import ROOT

PACKAGES = ("snakemake", "antspyx", "torch", "monai", "nibabel", "deepbet", "bids2table", "numpy", "scipy", "pandas")


def versions() -> dict[str, str]:
    """Version of each package that can change a number."""
    result = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            result[name] = version(name)
        except PackageNotFoundError:
            result[name] = "absent"
    return result


def git_commit() -> str:
    """Commit of this checkout, with `-dirty` if files differ from it; `unknown` outside a checkout."""
    if not (ROOT / ".git").exists():
        # Installed, it may lie in a repository that is the user's.
        return "unknown"
    # Not by upfield.program: git is no part of the pipeline, and nipype takes seconds to load.
    command = ["git", "-C", str(ROOT), "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=20).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return "unknown"


def record(config: Mapping[str, Any], split_sha: str) -> dict[str, Any]:
    """What stands in every model card and report."""
    return {
        "upfield": upfield.__version__,
        "git_commit": git_commit(),
        "config_sha": digest(dict(config)),
        "split_sha": split_sha,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "platform": f"{platform.system()} {platform.machine()}",
        "versions": versions(),
    }
