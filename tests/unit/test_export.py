"""Tables for other programs."""

import numpy as np
import pandas as pd
from upfield.evaluate import export, metrics

COLUMNS = ["participant_id", "method", "fold", "seed", "split", "region", "metric", "value"]


def measured(*rows):
    return pd.DataFrame(
        [(person, method, "0", "42", "test", region, name, value) for person, method, region, name, value in rows],
        columns=COLUMNS,
    )


def test_columns_stand_in_the_order_of_lohiresgan_whatever_the_order_of_the_study():
    values = measured(
        ("sub-02", "unet3d", "brain", "psnr", 20.0), ("sub-02", "unet3d", "brain", "pearson", 0.9),
        ("sub-02", "unet3d", "brain", "mae", 0.1), ("sub-01", "unet3d", "brain", "mae", 0.2),
        ("sub-01", "unet3d", "brain", "psnr", 18.0), ("sub-01", "unet3d", "grey", "mae", 9.0),
        ("sub-01", "unet3d", "brain", "nrmse_range", 0.05), ("sub-01", "spline", "brain", "mae", 7.0),
        ("sub-01", "unet3d", "brain", "ms_ssim", 0.99),
    )  # fmt: skip
    table = export.lohiresgan(values, "unet3d", {"sub-01": "one.nii.gz", "sub-02": "two.nii.gz"})
    assert list(table.columns) == ["filename", "mae", "nrmse", "psnr", "corr"]
    assert table["filename"].tolist() == ["one.nii.gz", "two.nii.gz"]
    assert table["mae"].tolist() == [0.2, 0.1] and table["psnr"].tolist() == [18.0, 20.0]
    assert np.isnan(table.loc[1, "nrmse"])


def test_method_without_values_has_an_empty_table():
    assert list(export.lohiresgan(measured(), "unet3d", {}).columns) == ["filename"]


def test_the_columns_of_the_original_csv_come_first_and_their_metrics_exist():
    known = list(export.LOHIRESGAN.values())
    assert known[:8] == ["mae", "mse", "rmse", "nrmse", "nmse", "psnr", "ssim", "corr"]
    assert set(list(export.LOHIRESGAN)[:8]) <= set(metrics.METRICS)
