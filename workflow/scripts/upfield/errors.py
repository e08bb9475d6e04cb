"""The kinds of expected failure: the user's input as a whole, one scan, what may pass, and what a machine refuses."""

import errno
import os
import re
from pathlib import Path

# What to do about what a system says no to.
DRIVE = "the drive does not answer; see whether it is there, and run the same command again"
ELSEWHERE = "choose another folder for the output (output_dir)"
FOLDER = f"is a file where a folder was expected, or a folder where a file was; {ELSEWHERE}"
REFUSED = {
    errno.ENOSPC: "no space is left on the drive; free some, and run the same command again",
    errno.EDQUOT: "the quota of the drive is used up; free some space, and run the same command again",
    errno.EFBIG: f"the drive takes no file of this size; {ELSEWHERE}",
    errno.EROFS: f"the drive can be read only; {ELSEWHERE}",
    errno.EACCES: f"there is no permission; have it given to you, or {ELSEWHERE}",
    errno.EPERM: f"there is no permission; have it given to you, or {ELSEWHERE}",
    errno.ENOENT: "it is not there (any more); put it back, and run the same command again",
    errno.ENOTDIR: FOLDER,
    errno.EISDIR: FOLDER,
    errno.EEXIST: FOLDER,
    errno.EMFILE: "too many files are open; allow more (ulimit -n), or run fewer jobs at once (--cores)",
    errno.ENFILE: "too many files are open; run fewer jobs at once (--cores)",
    **dict.fromkeys((errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.ENOTCONN, errno.EHOSTDOWN, errno.ENODEV), DRIVE),
}
MEMORY = "there is not enough memory; give the job more (mem_mb), or run fewer jobs at once (--cores)"
CARD = "the GPU has not enough memory; choose smaller patches or batches (method_overrides, patches), or a larger card"
AGAIN = "run the same command again, and if that ends the same way give the job more memory (mem_mb)"
# How libraries that do not raise MemoryError say so, and how the loader of libraries does; of a drive from which
# nothing may be run it says that this is not permitted.
NO_MEMORY = re.compile(
    r"not enough memory|out of memory|can't allocate memory|bad_alloc|Cannot allocate memory"
    r"|failed to map segment from shared object(?!: Operation)",
    re.I,
)
OF_CARD = "CUDA out of memory"
KILLED = re.compile(r"killed by signal: ([^.]+)|exited unexpectedly")
# What the name of a file begins with while it is written, and the rest of what is before its own: place and process.
TEMPORARY = ".tmp-"
UNFINISHED = re.compile(rf"{re.escape(TEMPORARY)}(?:[0-9a-f]{{8}}-)?\d+-(?=[^/]*$)")


class UpfieldError(Exception):
    """A mistake in the user's input: one line that says what was found, what was expected and what to do."""

    def __str__(self) -> str:
        """The line, which shows as they are written in code characters that cannot be seen."""
        return printable(super().__str__())


class ScanError(UpfieldError):
    """One scan cannot be used; it is excluded with this reason and the others go on."""


class PassingError(UpfieldError):
    """A file cannot be read now (no permission, a drive that does not answer), which says nothing about the file."""


def printable(text: str) -> str:
    """A text whose characters that cannot be seen, such as those of control and private use, are escaped."""
    return text if text.isprintable() else "".join(one if one.isprintable() else ascii(one)[1:-1] for one in text)


def closed(folder: str | Path) -> str | None:
    """Why nothing can be written into a folder, which may have to be made first, in one line; None if it can."""
    place = Path(folder).absolute()
    while not os.path.lexists(place):
        place = place.parent
    if place.is_dir() and os.access(place, os.W_OK | os.X_OK):
        return None
    number = errno.EROFS if os.statvfs(place).f_flag & os.ST_RDONLY else errno.EACCES
    return f"{place}: {REFUSED[number if place.is_dir() else errno.ENOTDIR]}"


def lacks_memory(error: BaseException) -> bool:
    """Whether an error says that a process could have no more memory; that of a GPU is another."""
    number = error.errno if isinstance(error, OSError) else None
    if OF_CARD in str(error):
        return False
    return isinstance(error, MemoryError) or number == errno.ENOMEM or NO_MEMORY.search(str(error)) is not None


def of_machine(error: BaseException, writing: str = "") -> str | None:
    """What a machine refused, in one line with what to do; None for an error of any other kind, which is a fault here.

    No space, no permission, no memory, a drive that does not answer, a process that was killed. `writing` is the file
    that is named if the error names none.
    """
    current: BaseException | None = error
    while current is not None:
        told = _told(current, writing)
        if told is not None:
            return told
        current = current.__cause__
    return None


def _told(error: BaseException, writing: str) -> str | None:
    text = " ".join(str(error).split())
    if lacks_memory(error):
        return MEMORY
    if OF_CARD in text:
        return CARD
    killed = KILLED.search(text)
    if killed is not None and isinstance(error, RuntimeError):
        return f"a process of this job was killed ({killed[1] or 'unexpectedly'}); {AGAIN}"
    # Those of other languages, such as the writer of safetensors, have the number in their text.
    said = re.search(r"\(os error (\d+)\)", text)
    number = error.errno if isinstance(error, OSError) else int(said[1]) if said else None
    if number not in REFUSED:
        return MEMORY if number == errno.ENOMEM else None
    name = error.filename if isinstance(error, OSError) else None
    where = UNFINISHED.sub("", os.fsdecode(name) if isinstance(name, str | bytes) else str(name or writing))
    where = " ".join(where.split()) or "a file"
    return f"{where}: {REFUSED[number]}"
