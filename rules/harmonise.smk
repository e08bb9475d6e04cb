"""Two cohorts: what becomes of a source scan, and whether the scanners can still be told apart.

1. harmonise           every test participant of the source by every method, on its own grid, on the target's scale
2. measure_harmonised  one participant: structure kept, way back found, intensities near those of the target
3. appearance          one participant: features of the scan, and of what each method made of it
4. scanners            all test participants: classifier, MMD and Wasserstein distance, before and after
"""

STEP = step("predict.harmonize.harmonize", "predict/{folder}/{scan}_{label}_{suffix}", kind="prediction", gpus=gpus)


rule harmonise:
    """A source scan as the target's scanner would have given it, by one method."""
    input:
        PATHS.both("preprocessed_alone")[1],
        models("card"),
        unpack(lambda wildcards: head(scan_of(wildcards))),
        image=PATHS("corrected"),
        mask=PATHS("mask"),
        preprocessed=PATHS("preprocessed_alone"),
        models=models("model"),
        targets=lambda wildcards: [
            sidecar(STUDY.preprocessed(scan)) for scan in cohort_targets(scan_of(wildcards).participant, "train")
        ],
    output:
        PATHS.both("enhanced")[1],
        enhanced=PATHS("enhanced"),
    log:
        STEP.log,
    benchmark:
        STEP.benchmark
    wildcard_constraints:
        scan=OWN_GRID,
        label=labels(lambda method: not STUDY.design.has_reference),
    group:
        "enhance_{label}"
    conda:
        "../envs/model.yaml"
    threads: STEP.threads
    resources:
        **STEP.resources,
        in_turn=1,
    params:
        **STEP.params,
        method=method_of,
        inference=INFERENCE,
    script:
        "../workflow/scripts/step.py"


STEP = step("evaluate.harmonized.measure", "evaluate/{participant}_harmonised")


rule measure_harmonised:
    """What can be measured of one test participant's outputs without a reference."""
    input:
        files_of_scan,
        lambda wildcards: [sidecar(STUDY.preprocessed(scan)) for scan in test_targets(wildcards)],
        targets=lambda wildcards: [STUDY.preprocessed(scan) for scan in test_targets(wildcards)],
        target_masks=lambda wildcards: [PATHS("mask", scan) for scan in test_targets(wildcards)],
    output:
        harmonized=PATHS("harmonized_values"),
    log:
        STEP.log,
    benchmark:
        STEP.benchmark
    group:
        "evaluate"
    conda:
        "../envs/report.yaml"
    resources:
        **STEP.resources,
    params:
        **STEP.params,
        case=case,
    script:
        "../workflow/scripts/step.py"


STEP = step("evaluate.harmonized.appearance", "evaluate/{participant}_appearance")


rule appearance:
    """Features of a scan, and of its harmonized versions if it is tested."""
    input:
        files_of_scan,
    output:
        appearance=PATHS("appearance"),
    log:
        STEP.log,
    benchmark:
        STEP.benchmark
    group:
        "evaluate"
    conda:
        "../envs/report.yaml"
    resources:
        **STEP.resources,
    params:
        **STEP.params,
        case=case,
        scanner=lambda wildcards: STUDY.judged_scans(wildcards.participant)[0].role,
    script:
        "../workflow/scripts/step.py"


STEP = step("evaluate.harmonized.scanners", "evaluate/scanners")


rule scanners:
    """Whether the cohorts of test participants can be told apart, before and after."""
    input:
        parts=[PATHS("appearance", participant=name) for name, content in STUDY.contents.items() if not content.paired],
        splits=PATHS("splits"),
    output:
        appearance=PATHS("table", table="appearance"),
        harmonization=report(
            PATHS("table", table="harmonisation"),
            caption="../workflow/report/harmonization.rst",
            category="Evaluation",
        ),
    log:
        STEP.log,
    benchmark:
        STEP.benchmark
    conda:
        "../envs/report.yaml"
    resources:
        **STEP.resources,
    params:
        **STEP.params,
        same_person=STUDY.same_person,
        seed=config["evaluate"]["seed"],
    script:
        "../workflow/scripts/step.py"
