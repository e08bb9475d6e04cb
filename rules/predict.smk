"""Prediction: every test participant by every method, on the target's native grid in real intensities.

1. interpolate  the baselines without a network, straight from the native source
2. enhance      the networks: whole volume or sliding window, mean over seeds, back to the native grid
"""


def model_files(wildcards):
    """The models of a method that never saw this participant."""
    folders = STUDY.models(
        STUDY.labels[wildcards.label], STUDY.scans[wildcards.scan].participant
    )
    return [
        f"{folder}/model.{extension}"
        for folder in folders
        for extension in ("safetensors", "json")
    ]


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


def labels(networks):
    return "|".join(
        name
        for name, method in STUDY.labels.items()
        if (method in NETWORKS) == networks
    )


rule interpolate:
    """identity, spline or histogram_match: one interpolation from the native source to the native target."""
    input:
        unpack(pair_files),
        models=model_files,
    output:
        image=f"{ROOT}/{{folder}}/{{scan}}_space-target_desc-{{label}}_{{suffix}}.nii.gz",
        sidecar=f"{ROOT}/{{folder}}/{{scan}}_space-target_desc-{{label}}_{{suffix}}.json",
    log:
        f"{ROOT}/logs/predict/{{folder}}/{{scan}}_{{label}}_{{suffix}}.log",
    benchmark:
        f"{ROOT}/benchmarks/predict/{{folder}}/{{scan}}_{{label}}_{{suffix}}.tsv"
    wildcard_constraints:
        label=labels(networks=False),
    conda:
        "../envs/model.yaml"
    resources:
        mem_mb=4000,
        runtime=10,
    params:
        method=lambda wildcards: STUDY.labels[wildcards.label],
    script:
        "../workflow/scripts/interpolate.py"


rule enhance:
    """A trained model's output for one test participant."""
    input:
        unpack(pair_files),
        models=model_files,
    output:
        image=f"{ROOT}/{{folder}}/{{scan}}_space-target_desc-{{label}}_{{suffix}}.nii.gz",
        sidecar=f"{ROOT}/{{folder}}/{{scan}}_space-target_desc-{{label}}_{{suffix}}.json",
    log:
        f"{ROOT}/logs/predict/{{folder}}/{{scan}}_{{label}}_{{suffix}}.log",
    benchmark:
        f"{ROOT}/benchmarks/predict/{{folder}}/{{scan}}_{{label}}_{{suffix}}.tsv"
    wildcard_constraints:
        label=labels(networks=True),
    conda:
        "../envs/model.yaml"
    threads: 2
    resources:
        mem_mb=8000,
        runtime=30,
        gpu=1 if config["train"]["device"] == "cuda" else 0,
    params:
        method=lambda wildcards: STUDY.labels[wildcards.label],
        predict=config["predict"],
        train={key: config["train"][key] for key in ("device", "precision")},
    script:
        "../workflow/scripts/enhance.py"
