"""LPIPS of one participant, where the user gives its weights."""

import pandas as pd

from upfield.evaluate.case import Case, Said
from upfield.evaluate.metrics import BRAIN
from upfield.evaluate.metrics.lpips import lpips
from upfield.evaluate.subject import COLUMNS
from upfield.files import write_tsv
from upfield.step import step
from upfield.training.device import choose


# A VGG16 on every axial slice of six methods and the target.
@step(version=2, memory=(1500, 150), minutes=(0.5, 0.8), threads=2)
def measure(case: Said, weights: str, perceptual: str, device: str) -> None:
    """Write what `measured` gives of a test participant."""
    write_tsv(perceptual, measured(Case.of(case), weights, device))


def measured(case: Case, weights: str, device: str) -> pd.DataFrame:
    """Rows of the metric `lpips`, in the brain; none if the pair was excluded.

    `weights` is a file that `weights.lpips` accepts, `device` auto, cpu or cuda. Errors as for `Case.output`.
    """
    if case.excluded is not None:
        return pd.DataFrame(columns=COLUMNS)
    outputs = {method: case.output(method) for method in case.outputs}
    found = lpips(outputs, case.reference_image.data, case.brain, weights, choose(device))
    rows = [[*case.row(method), "test", BRAIN, "lpips", value] for method, value in found.items()]
    return pd.DataFrame(rows, columns=COLUMNS)
