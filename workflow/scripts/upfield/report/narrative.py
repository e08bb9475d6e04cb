"""What a page says of a study that depends on how its scans belong together."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from upfield.bids import contrast_names
from upfield.catalogue.methods import NEED_A_TARGET
from upfield.evaluate import harmonized, subject


@dataclass(frozen=True)
class Narrative:
    """Texts of a study's design, as plain values.

    Attributes
    ----------
    notices
        Plain sentences shown above everything else, such as "The data are a phantom."
    input
        What the source is where it is no dataset of its own; empty otherwise.
    source
        Sentence of the methods text on where sources come from; may be empty.
    evaluation
        Clauses of the methods text on what outputs were compared with, with keys of references in brackets.
    native_grid
        What a native working grid is.
    skipped
        Rooms and modules of preprocessing, such as `preprocess.registration`, that the design does not run.

    """

    notices: Sequence[str] = ()
    input: str = ""
    source: str = ""
    evaluation: Sequence[str] = ()
    native_grid: str = "the target's own grid"
    skipped: frozenset[str] = frozenset()


def of(config: Mapping[str, Any]) -> Narrative:
    """The texts of a configured study: those of its design, and what any design may have to say."""
    found = of_design(config)
    notices = list(found.notices)
    if config.get("phantom") is not None:
        notices.insert(
            0,
            "The data are a phantom: simulated heads, no scan of a person. The numbers show that the workflow works;"
            " they say nothing about real images.",
        )
        found = replace(found, source="The data are a phantom; no person was scanned.")
    source = config.get("source", {})
    if len(source.get("channels", [])) > 1:
        notices.append(
            f"The networks see several contrasts of the source side by side: {', '.join(contrast_names(source))}."
            " The baselines without a network, and the images shown, have the first alone."
        )
    return replace(found, notices=notices)


def of_design(config: Mapping[str, Any]) -> Narrative:
    """The texts of each design in one place, from which they move into the designs themselves."""
    pairing = config.get("pairing")
    if pairing == "unpaired":
        left_out = " and ".join(NEED_A_TARGET)
        native = config.get("preprocess", {}).get("spacing") == "native"
        notice = (
            "Source and target are different participants, so no output has a target image: no number here compares an"
            f" output with the image that it should have been. The baselines {left_out} are left out, since they need"
            " one."
        )
        return Narrative(
            notices=[notice],
            evaluation=[harmonized.methods_sentence(config, {})],
            native_grid="each scan's own grid",
            # Scans stay on a grid of their own unless voxels of one size are asked for.
            skipped=frozenset({"preprocess.registration", *(["preprocess.stage"] if native else [])}),
        )
    compared = [subject.methods_sentence(config, {})]
    if pairing == "simulated":
        kind = config["simulate"]["kind"]
        notice = (
            f"The source images are simulated from the target images ({kind}), not acquired. Results on acquired images"
            " will differ."
        )
        return Narrative(
            notices=[notice],
            input="made from the target",
            source=f"Source images were simulated from the target images ({kind}).",
            evaluation=compared,
        )
    return Narrative(evaluation=compared)
