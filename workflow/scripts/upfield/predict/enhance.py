"""Networks on pairs: the output on the target's native grid, and its standard deviation."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from upfield.bids import sidecar
from upfield.files import read_json
from upfield.image import nifti
from upfield.image.nifti import Volume
from upfield.predict import models as trained
from upfield.predict.models import Inference
from upfield.predict.native import ON_TARGET, save_prediction, save_unenhanced, template_to_target
from upfield.preprocess.derivatives import scaling_of, why_excluded
from upfield.step import step

QUANTITY = "standard deviation over the trained models (seeds) and their samples with dropout"
QUANTITY_DRAWN = "standard deviation of samples of the trained models (seeds) around their mean, scaled in validation"


@step(version=0, memory=(2000, 500), minutes=(0.5, 0.5), threads=2)
def enhance(
    source: str,
    target: str,
    transform: str,
    target_preprocessed: str,
    network_input: Sequence[str],
    models: Sequence[str],
    prediction: str,
    method: str,
    inference: Mapping[str, Any],
    memory: int | None = None,
    samples: int = 0,
    std: str | None = None,
    sample: str | None = None,
    from_template: str | None = None,
    judged_by: Sequence[str] = (),
) -> None:
    """A trained model's output, the mean over `models` (files of weights, one for each seed) and `samples` of each.

    Parameters
    ----------
    source, target, transform
        The native, bias-corrected pair and the transform between them; the output lies on the target's grid.
    target_preprocessed
        The working grid, and the numbers of the target's normalization.
    network_input
        The preprocessed source, a file for each contrast, on a coarser grid than the target's where the method
        enlarges.
    inference, memory
        How networks are run, see `Inference`.
    std
        Where the standard deviation over models and samples is written, on the same grid and scale; there must be at
        least two of them.
    sample
        Where a sampler's first sample is written, likewise.
    from_template
        Transform from the space of a template to the target's, where the networks work in one.
    judged_by
        Files that exclude the pair, which then has its source alone, see `save_unenhanced`.

    """
    if why_excluded(judged_by) is not None:
        save_unenhanced(source, target, transform, method, judged_by, prediction, std, sample=sample)
        return
    from upfield.predict.inference import draw, ensemble

    networks, cards = trained.load(models)
    shown = np.stack([trained.network_input(path, cards[0]).data for path in network_input])
    options = Inference(**inference, memory=memory).options()
    data, uncertainty = ensemble(networks, shown, samples=samples, **options)
    scale = scaling_of(target_preprocessed)
    native, working = nifti.load(target).grid, nifti.load(target_preprocessed).affine
    back = template_to_target(from_template)
    metadata = {
        "Sources": [source, target, transform, *network_input[1:]],
        "SpatialReference": target,
        "SkullStripped": read_json(sidecar(target_preprocessed))["SkullStripped"],
        "Method": method,
        "Models": trained.folders(models),
        "Intensity": ON_TARGET,
    }
    # Interpolated as intensities: what lies beyond the working grid is then 0, as it is outside the brain (or head).
    result = nifti.resample(Volume(scale.invert(data), working), native, back, order=3)
    save_prediction(result, prediction, metadata, judged_by)
    if sample is not None:
        one = draw(networks[0], shown, **{name: value for name, value in options.items() if name != "tta"})
        result = nifti.resample(Volume(scale.invert(one), working), native, back, order=3)
        save_prediction(result, sample, metadata | {"SampleOf": prediction}, judged_by)
    if std is not None and uncertainty is not None:
        # Trilinear: a cubic interpolation of it could be negative.
        result = nifti.resample(Volume(scale.scale * uncertainty, working), native, back, order=1)
        quantity = QUANTITY_DRAWN if networks[0].noise else QUANTITY
        metadata |= {"Quantity": quantity, "Samples": samples, "SpreadOf": prediction}
        save_prediction(result, std, metadata, judged_by)
