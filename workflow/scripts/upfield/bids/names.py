"""How derivatives are called."""

from pathlib import Path


def label(text: str) -> str:
    """`text` as a BIDS label: letters and digits only."""
    return "".join(character for character in text if character.isalnum())


def reconstructed(name: str, kind: str) -> str:
    """`name` with the entity `rec-<kind>` where BIDS wants it: after acq and ce, before run; added to an old one."""
    first: list[str] = []
    last: list[str] = []
    for entity in name.split("_"):
        key, _, value = entity.partition("-")
        if key == "rec":
            kind = value + kind
        else:
            (first if key in ("sub", "ses", "sample", "acq", "ce") else last).append(entity)
    return "_".join([*first, f"rec-{kind}", *last])


def person(participant: str) -> str:
    """Whose a pair is by its label: that of the participant, maybe with entities (`sub-01_ses-2`; see `visits`)."""
    return participant.partition("_")[0]


def sidecar(path: str | Path) -> Path:
    """The JSON file that belongs to an image or a transform."""
    return Path(str(path).removesuffix(".gz")).with_suffix(".json")


def link(folder: str | Path) -> str:
    """The name under which a study's `DatasetLinks` knows the dataset in a folder."""
    return label("".join(Path(folder).resolve().parts[-2:]))


def uri(path: str | Path, seen_from: str | Path) -> str:
    """A file as BIDS wants it in the sidecar of the derivative `seen_from`.

    A BIDS URI where it lies in a dataset, `bids::sub-01/...` in the same one, `bids:<link>:sub-01/...` in another; else
    (a template) a file URI.
    """
    root, inside = _split(path)
    if root is None:
        return Path(path).resolve().as_uri()
    return f"bids:{'' if root == _split(seen_from)[0] else link(root)}:{inside}"


def _split(path: str | Path) -> tuple[Path | None, str]:
    """A file's dataset (None if it lies in no participant's folder) and its path there."""
    whole = Path(path).resolve()
    folder = next((folder for folder in whole.parents if folder.name.startswith("sub-")), None)
    return (None, str(whole)) if folder is None else (folder.parent, whole.relative_to(folder.parent).as_posix())
