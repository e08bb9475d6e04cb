"""Tables for other programs, made from the study's own."""

from collections.abc import Mapping

import pandas as pd

# Column by metric, in the order in which LoHiResGAN writes them. Its NRMSE is by the range of the truth (though off by
# a factor of 255), its NMSE by the variance.
LOHIRESGAN = {
    "mae": "mae",
    "mse": "mse",
    "rmse": "rmse",
    "nrmse_range": "nrmse",
    "nmse_variance": "nmse",
    "psnr": "psnr",
    "ssim": "ssim",
    "pearson": "corr",
    "snr": "snr",
    "cnr": "cnr",
    "entropy": "entropy",
    "edge_preservation_index": "edge_preservation_index",
    "glcm_contrast": "texture_contrast",
    "glcm_homogeneity": "texture_homogeneity",
    "laplacian_variance": "laplacian_variance",
    "fsim": "feature_similarity_index",
}


def lohiresgan(values: pd.DataFrame, method: str, files: Mapping[str, str]) -> pd.DataFrame:
    """One method's metrics of each test participant in the columns of LoHiResGAN's CSV: `filename, mae, mse, ...`.

    `values` is the table of `metrics/per_subject.tsv`, `files` the name of each participant's prediction. In the brain;
    columns are those of the metrics that the study measured, rows those of the participants that it could measure.
    """
    chosen = values[(values["method"] == method) & (values["split"] == "test") & (values["region"] == "brain")]
    wide = chosen.pivot_table(index="participant_id", columns="metric", values="value", sort=True)
    known = [name for name in LOHIRESGAN if name in wide]
    table = wide[known].rename(columns=LOHIRESGAN).reset_index()
    return table.assign(filename=table["participant_id"].map(files))[["filename", *map(LOHIRESGAN.get, known)]]
