"""A blinded reader study: pairs of images for radiologists, in random order, under names that say nothing.

What readers get (`for_readers/`) and what they must not see (`key.csv`) lie apart. Files carry no name, date, place in
the world or intensity unit; the two images of a case lie on one grid and are scaled alike.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from upfield.errors import UpfieldError
from upfield.evaluate.case import Case, Said
from upfield.files import digest, write_csv, write_text
from upfield.image import intensity, nifti
from upfield.image.nifti import Array, Volume
from upfield.step import step

KEY = ["case", "participant_id", "A", "B"]
QUESTIONS = ("sharpness_A", "sharpness_B", "noise_A", "noise_B", "artefacts_A", "artefacts_B", "diagnostic_A",
             "diagnostic_B", "preferred", "suspicious_structure_A", "suspicious_structure_B", "comment")  # fmt: skip
# This percentile of an image's brain is shown at this value: bright vessels, which blur with the image, do not decide
# how bright tissue is, or readers would know a sharp image by its window.
BRIGHT = 98.0
TOP = 1000
MARGIN = 5.0  # mm around the brain
INSTRUCTIONS = """\
Each case is one person: images A and B, case-<number>_A.nii.gz and case-<number>_B.nii.gz, on the same grid.
Which is which is random. Please fill in one row of scores.csv for each case, without talking to other readers:

sharpness, noise, artefacts, diagnostic  1 (very poor) to 5 (excellent), for A and for B
preferred                                A, B or same
suspicious_structure                     yes or no: something that does not look like anatomy or known pathology
comment                                  free text

The brightest tissue is about 1000 in every image; the window may be changed. The images are not oriented in the
world; the first axis runs from left to right, the second to the front, the third upwards.
"""


@step(version=0, memory=(600, 0), minutes=(0.2, 0.2))
def write_reader_study(
    cases: Sequence[Said], compare: Sequence[Sequence[str]], key: str, readers: str, skull_stripped: bool, seed: int
) -> None:
    """Write a case for every participant of `cases` and every pair of image names (of their `outputs`) in `compare`.

    The order of cases and of the two images of each depends on `seed`. The folder `readers` holds the images, int16,
    the sheet `scores.csv` and `README.txt`; the table `key` says what each image is. Participants that were excluded,
    or for whom a method has no output, have no case. Raises UpfieldError if nobody is left.
    """
    usable = [participant for participant in map(Case.of, cases) if participant.excluded is None]
    # One method may have no output for somebody.
    shown_pairs = [(participant, pair) for participant in usable for pair in compare if participant.has(pair)]
    if not shown_pairs:
        raise UpfieldError("reader_study: no test participant can be shown; see excluded.tsv")
    random = np.random.default_rng(int(digest(["reader_study", seed]), 16))
    digits = max(3, len(str(len(shown_pairs))))
    rows = []
    for number, place in enumerate(random.permutation(len(shown_pairs)), start=1):
        participant, pair = shown_pairs[place]
        case = f"case-{number:0{digits}d}"
        shown = list(random.permutation(list(pair)))
        for side, name in zip("AB", shown, strict=True):
            image = participant.brain_mask.with_data(participant.output(name))
            nifti.save(
                blinded(image, participant.brain, skull_stripped), Path(readers) / f"{case}_{side}.nii.gz", np.int16
            )
        rows.append([case, participant.participant, *shown])
    sheet = pd.DataFrame({"case": [row[0] for row in rows]}).reindex(columns=["case", "reader", *QUESTIONS])
    write_csv(Path(readers) / "scores.csv", sheet)
    write_text(Path(readers) / "README.txt", INSTRUCTIONS)
    write_csv(key, pd.DataFrame(rows, columns=KEY))


def blinded(image: Volume, mask: Array, skull_stripped: bool) -> Volume:
    """An image that says nothing about where it comes from: RAS+ axes, cut to the brain, 0 to about 1000, no world.

    `mask` is the brain, boolean, of the image's shape. With `skull_stripped` everything outside it is 0; without, the
    whole field of view stays. Only voxel sizes are left of the affine.
    """
    canonical, brain = nifti.reorient(image), nifti.reorient(image.with_data(mask)).data
    low, _ = intensity.robust_range(canonical.data, brain)
    top = float(np.percentile(canonical.data[brain], BRIGHT))
    data = np.clip((canonical.data - min(low, 0.0)) / (top - min(low, 0.0)), 0, 1.5) * TOP
    spacing = canonical.grid.spacing
    if skull_stripped:
        data = np.where(brain, data, 0)
        low_corner, high_corner = nifti.bounding_box(brain, np.ceil(MARGIN / spacing).astype(int))
        data = data[tuple(map(slice, low_corner, high_corner))]
    return Volume(np.ascontiguousarray(data, dtype=np.float32), np.diag([*spacing, 1.0]))
