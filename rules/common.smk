"""What several stages share: input functions and lists of methods."""

NETWORKS = [method for method in STUDY.trained if method not in MODEL_FREE]


def pair_images(scan):
    """Bias-corrected images and masks of the pair that a source scan is part of."""
    pair = STUDY.pair_of(STUDY.scans[scan])
    return {
        "source": STUDY.corrected(pair.source),
        "source_mask": STUDY.mask(pair.source),
        "target": STUDY.corrected(pair.target),
        "target_mask": STUDY.mask(pair.target),
    }


def native_images(wildcards):
    """What puts a scan on the working grid: image, mask, the target's mask and, for a source, the transform."""
    scan = STUDY.scans[wildcards.scan]
    inputs = {
        "image": STUDY.corrected(scan),
        "mask": STUDY.mask(scan),
        "target_mask": STUDY.mask(STUDY.pair_of(scan).target),
    }
    return inputs | ({"transform": STUDY.transform(scan)} if scan.role == "source" else {})


def stores(*parts):
    return lambda wildcards: [STUDY.store(person) for person in STUDY.members(wildcards.fold, *parts)]


def model_files(wildcards):
    """The models of a method that never saw this participant."""
    folders = STUDY.models(STUDY.labels[wildcards.label], STUDY.scans[wildcards.scan].participant)
    return [f"{folder}/model.{extension}" for folder in folders for extension in ("safetensors", "json")]


def pair_files(wildcards):
    """What a prediction is made from: the native pair and its transform, and the preprocessed pair."""
    scan = STUDY.scans[wildcards.scan]
    pair = STUDY.pair_of(scan)
    return pair_images(wildcards.scan) | {
        "transform": STUDY.transform(scan),
        "source_preproc": STUDY.preprocessed(scan),
        "target_preproc": STUDY.preprocessed(pair.target),
        "sidecars": [
            sidecar(STUDY.preprocessed(scan)),
            sidecar(STUDY.preprocessed(pair.target)),
        ],
    }


def labels(networks, spread=False):
    """Labels of the methods with or without a network, with or without a standard deviation, as a pattern."""
    wanted = [
        name
        for name, method in STUDY.labels.items()
        if (method in NETWORKS, method in STUDY.uncertain) == (networks, spread)
    ]
    return "|".join(wanted) or "none"
