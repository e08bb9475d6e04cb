"""Facts about methods, known without their code."""

# Baselines without a network, and the order of the interpolation that brings each to the target's grid.
INTERPOLATION_ORDER = {"identity": 1, "spline": 3, "histogram_match": 1}
MODEL_FREE = tuple(INTERPOLATION_ORDER)
# The baseline that is trained: the U-Net without a discriminator.
SUPERVISED = "unet3d"
# What needs a target to learn from, or another grid to interpolate to: baselines that unpaired studies cannot have.
NEED_A_TARGET = ("spline", SUPERVISED)
# Keys of `train` that change how training is watched, fed and spread, and no weight.
RUNTIME_OPTIONS = ("save_every", "preview_every", "log_every", "workers", "processes")
