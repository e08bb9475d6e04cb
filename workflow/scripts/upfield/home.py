"""A home for Snakemake and libraries that keep a cache in it, where the user's cannot be written.

Accounts of services and users inside containers have none. Run as a program, this file is made a part of every start of
its Python: Snakemake wants a home before it reads any workflow. It imports nothing of Upfield, since this environment
may serve another checkout.
"""

import os
from pathlib import Path

CACHES = ("XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME")


def settle() -> None:
    """Set HOME, for this process and those that it starts, to a folder of the user's own under the temporary folder.

    Nothing changes where the home and the caches of the environment variables can be written.
    """
    if not os.environ.get("HOME"):
        # Empty is what the users' database says, for some programs, and the root of all folders for others.
        os.environ.pop("HOME", None)
    home = os.path.expanduser("~")  # noqa: PTH111, Path.home() raises where there is none
    if not _writable(Path(home) / ".cache"):
        os.environ["HOME"] = str(_temporary())
    for name in CACHES:
        if os.environ.get(name) and not _writable(Path(os.environ[name])):
            del os.environ[name]
    if not any(os.environ.get(name) for name in ("LOGNAME", "USER")) and not _named():
        # Libraries name folders by it.
        os.environ["USER"] = str(os.getuid())


def _writable(folder: Path) -> bool:
    """Whether files can be written to a folder, which is made if that is possible."""
    try:
        if folder.is_absolute():
            folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return False
    return folder.is_absolute() and os.access(folder, os.W_OK | os.X_OK)


def _temporary() -> Path:
    # Imported where they are used: this runs whenever Python starts.
    import tempfile

    folder = Path(tempfile.gettempdir()) / f"upfield-{os.getuid()}"
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        # Somebody else may have been quicker.
        if folder.is_symlink() or folder.stat().st_uid != os.getuid() or not os.access(folder, os.W_OK | os.X_OK):
            raise PermissionError
    except OSError:
        folder = Path(tempfile.mkdtemp(prefix="upfield-"))
    return folder


def _named() -> bool:
    import pwd

    try:
        return bool(pwd.getpwuid(os.getuid()).pw_name)
    except KeyError:
        return False


def install() -> None:
    """Have every start of this Python settle its home."""
    import sysconfig

    path = Path(sysconfig.get_path("purelib")) / "upfield-home.pth"
    file = str(Path(__file__).resolve())
    path.write_text(f"import os, runpy; os.path.isfile({file!r}) and runpy.run_path({file!r})['settle']()\n")


if __name__ == "__main__":
    install()
