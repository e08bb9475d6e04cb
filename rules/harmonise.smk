"""Unpaired studies: what becomes of a source scan, and whether the scanners can still be told apart.

1. harmonise           every test participant of the source by every method, on its own grid, on the target's scale
2. measure_harmonised  one participant: structure kept, way back found, intensities near those of the target
3. appearance          one participant: features of the scan, and of what each method made of it
4. scanners            all test participants: classifier, MMD and Wasserstein distance, before and after
"""


def targets(participant, part):
    """The target's scans of a part (training or test) of the fold that a participant is tested in."""
    scans = [STUDY.alone[person] for person in STUDY.members(STUDY.test_folds[participant], part)]
    return [scan for scan in scans if scan.role == "target"]


def alone(wildcards):
    return STUDY.alone[wildcards.participant]


def outputs_of(wildcards):
    """Predictions of a participant, by every method; none for those without."""
    methods = STUDY.methods if wildcards.participant in STUDY.tested else []
    return [STUDY.prediction(method, wildcards.participant) for method in methods]


rule harmonise:
    """A source scan as the target's scanner would have given it, by one method."""
    input:
        image=f"{ROOT}/{{folder}}/{{scan}}_desc-biascorr_{{suffix}}.nii.gz",
        mask=f"{ROOT}/{{folder}}/{{scan}}_desc-brain_mask.nii.gz",
        preprocessed=f"{ROOT}/{{folder}}/{{scan}}_desc-preproc_{{suffix}}.nii.gz",
        sidecar=f"{ROOT}/{{folder}}/{{scan}}_desc-preproc_{{suffix}}.json",
        models=model_files,
        targets=lambda wildcards: [
            sidecar(STUDY.preprocessed(scan)) for scan in targets(STUDY.scans[wildcards.scan].participant, "train")
        ],
    output:
        image=f"{ROOT}/{{folder}}/{{scan}}_desc-{{label}}_{{suffix}}.nii.gz",
        sidecar=f"{ROOT}/{{folder}}/{{scan}}_desc-{{label}}_{{suffix}}.json",
    log:
        f"{ROOT}/logs/predict/{{folder}}/{{scan}}_{{label}}_{{suffix}}.log",
    benchmark:
        f"{ROOT}/benchmarks/predict/{{folder}}/{{scan}}_{{label}}_{{suffix}}.tsv"
    wildcard_constraints:
        scan=r"(?!\S*_space-)sub-[^/]+",
    group:
        "enhance_{label}"
    conda:
        "../envs/model.yaml"
    threads: 2
    resources:
        mem_mb=memory("enhance"),
        runtime=minutes("enhance"),
        gpu=gpus,
        in_turn=1,
    params:
        method=lambda wildcards: STUDY.labels[wildcards.label],
        inference=INFERENCE,
    script:
        "../workflow/scripts/harmonise.py"


rule measure_harmonised:
    """What can be measured of one test participant's outputs without a truth."""
    input:
        outputs=outputs_of,
        mask=lambda wildcards: STUDY.mask(alone(wildcards)),
        preprocessed=lambda wildcards: STUDY.preprocessed(alone(wildcards)),
        target_masks=lambda wildcards: [STUDY.mask(scan) for scan in targets(wildcards.participant, "test")],
        targets=lambda wildcards: [STUDY.preprocessed(scan) for scan in targets(wildcards.participant, "test")],
    output:
        f"{ROOT}/metrics/participants/{{participant}}_harmonised.tsv",
    log:
        f"{ROOT}/logs/evaluate/{{participant}}_harmonised.log",
    benchmark:
        f"{ROOT}/benchmarks/evaluate/{{participant}}_harmonised.tsv"
    group:
        "evaluate"
    conda:
        "../envs/report.yaml"
    resources:
        mem_mb=memory("measure"),
        runtime=minutes("measure"),
    params:
        methods=STUDY.methods,
        suffix=lambda wildcards: alone(wildcards).suffix,
        fold=tested_fold,
        seeds=seeds,
    script:
        "../workflow/scripts/measure_harmonised.py"


rule appearance:
    """Features of a scan, and of its harmonised versions if it is tested."""
    input:
        outputs=outputs_of,
        mask=lambda wildcards: STUDY.mask(alone(wildcards)),
        preprocessed=lambda wildcards: STUDY.preprocessed(alone(wildcards)),
    output:
        f"{ROOT}/metrics/appearance/{{participant}}.tsv",
    log:
        f"{ROOT}/logs/evaluate/{{participant}}_appearance.log",
    benchmark:
        f"{ROOT}/benchmarks/evaluate/{{participant}}_appearance.tsv"
    group:
        "evaluate"
    conda:
        "../envs/report.yaml"
    resources:
        mem_mb=memory("measure"),
        runtime=minutes("measure"),
    params:
        methods=lambda wildcards: STUDY.methods if wildcards.participant in STUDY.tested else [],
        scanner=lambda wildcards: alone(wildcards).role,
        suffix=lambda wildcards: alone(wildcards).suffix,
    script:
        "../workflow/scripts/appearance.py"


rule scanners:
    """Whether the cohorts of test participants can be told apart, before and after."""
    input:
        participants=[f"{ROOT}/metrics/appearance/{participant}.tsv" for participant in STUDY.alone],
        splits=rules.splits.output,
    output:
        appearance=f"{ROOT}/metrics/appearance.tsv",
        harmonisation=report(
            f"{ROOT}/metrics/harmonisation.tsv",
            caption="../workflow/report/harmonisation.rst",
            category="Evaluation",
        ),
    log:
        f"{ROOT}/logs/evaluate/scanners.log",
    benchmark:
        f"{ROOT}/benchmarks/evaluate/scanners.tsv"
    conda:
        "../envs/report.yaml"
    resources:
        mem_mb=memory("summarise"),
        runtime=minutes("summarise"),
    params:
        together=STUDY.companions,
        seed=config["evaluate"]["seed"],
    script:
        "../workflow/scripts/scanners.py"
