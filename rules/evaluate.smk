"""Evaluation: every test participant, in the brain, against the native target.

1. tissues      tissue classes of the target
2. measure      one participant: every method, region and metric
3. perceptual   one participant: LPIPS of every method, where its weights are given
4. segment      one participant: the tissues found in every output against those of the target
5. summarise    all participants: every value, the leaderboard, the comparisons, ranks, outliers and agreement
6. export       the table of each method as LoHiResGAN writes it
7. audit        one participant: what stands out in the residuals, added or removed
8. lesions      one participant: synthetic lesions in the source, and how much of them is in the outputs
9. findings     audit and lesions of all participants
10. calibrate   one participant: predicted standard deviation against error, where predictions have one
11. calibration  the same of all participants in one table
"""

# Raised on purpose when a change of the code changes the numbers; nothing else about the code measures again.
EVALUATION_VERSION = 2
# Tables of all participants by what they are gathered from.
FINDINGS = {}
if "audit" in STUDY.tables:
    FINDINGS["audit"] = [f"{ROOT}/metrics/audit/{participant}.tsv" for participant in STUDY.tested]
    FINDINGS["structures"] = [f"{ROOT}/metrics/audit/{participant}_structures.tsv" for participant in STUDY.tested]
if "lesions" in STUDY.tables:
    FINDINGS["lesions"] = [f"{ROOT}/metrics/lesions/{participant}.tsv" for participant in STUDY.tested]


rule tissues:
    """Tissue classes of a target, on its own grid."""
    input:
        truth=lambda wildcards: STUDY.corrected(STUDY.scans[wildcards.scan]),
        mask=f"{ROOT}/{{folder}}/{{scan}}_desc-brain_mask.nii.gz",
    output:
        image=f"{ROOT}/{{folder}}/{{scan}}_desc-tissues_dseg.nii.gz",
        sidecar=f"{ROOT}/{{folder}}/{{scan}}_desc-tissues_dseg.json",
    log:
        f"{ROOT}/logs/evaluate/{{folder}}/{{scan}}_tissues.log",
    benchmark:
        f"{ROOT}/benchmarks/evaluate/{{folder}}/{{scan}}_tissues.tsv"
    group:
        "evaluate"
    conda:
        "../envs/report.yaml"
    resources:
        mem_mb=memory("tissues"),
        runtime=minutes("tissues"),
    params:
        version=EVALUATION_VERSION,
        suffix=lambda wildcards: STUDY.scans[wildcards.scan].suffix,
    script:
        "../workflow/scripts/tissues.py"


rule measure:
    """Metrics of one test participant."""
    input:
        unpack(tested_images),
        labels=lambda wildcards: [tissue_labels(wildcards)] if config["evaluate"]["regions"] else [],
        atlas=lambda wildcards: STUDY.atlas(wildcards.participant),
        from_template=lambda wildcards: (
            [STUDY.from_template(STUDY.pairs[wildcards.participant].target)] if STUDY.template_atlas else []
        ),
    output:
        values=f"{ROOT}/metrics/participants/{{participant}}.tsv",
        own=f"{ROOT}/metrics/participants/{{participant}}_truth.tsv",
    log:
        f"{ROOT}/logs/evaluate/{{participant}}.log",
    benchmark:
        f"{ROOT}/benchmarks/evaluate/{{participant}}.tsv"
    group:
        "evaluate"
    conda:
        "../envs/report.yaml"
    threads: 2
    resources:
        mem_mb=memory("measure"),
        runtime=minutes("measure"),
    params:
        version=EVALUATION_VERSION,
        methods=STUDY.methods,
        fold=tested_fold,
        seeds=seeds,
        metrics=config["evaluate"]["metrics"],
        names=config["evaluate"]["atlas"]["names"],
    script:
        "../workflow/scripts/measure.py"


rule perceptual:
    """LPIPS of one test participant, with weights that the user gives."""
    input:
        unpack(tested_images),
        weights=config["evaluate"]["lpips_weights"] or [],
    output:
        f"{ROOT}/metrics/participants/{{participant}}_lpips.tsv",
    log:
        f"{ROOT}/logs/evaluate/{{participant}}_lpips.log",
    benchmark:
        f"{ROOT}/benchmarks/evaluate/{{participant}}_lpips.tsv"
    conda:
        "../envs/model.yaml"
    threads: 2
    resources:
        mem_mb=memory("perceptual"),
        runtime=minutes("perceptual"),
        gpu=gpus,
    params:
        version=EVALUATION_VERSION,
        methods=STUDY.methods,
        fold=tested_fold,
        seeds=seeds,
        device=config["train"]["device"],
    script:
        "../workflow/scripts/perceptual.py"


rule segment:
    """Tissues of every output of one test participant, against those of the target."""
    input:
        unpack(tested_images),
        tissues=tissue_labels,
    output:
        f"{ROOT}/metrics/participants/{{participant}}_tissues.tsv",
    log:
        f"{ROOT}/logs/evaluate/{{participant}}_segment.log",
    benchmark:
        f"{ROOT}/benchmarks/evaluate/{{participant}}_segment.tsv"
    group:
        "evaluate"
    conda:
        "../envs/report.yaml"
    resources:
        mem_mb=memory("segment"),
        runtime=minutes("segment"),
    params:
        version=EVALUATION_VERSION,
        methods=STUDY.methods,
        fold=tested_fold,
        seeds=seeds,
        suffix=lambda wildcards: STUDY.pairs[wildcards.participant].target.suffix,
    script:
        "../workflow/scripts/segment.py"


rule summarise:
    """The tables of the contract, and what else the participants' values allow to be said."""
    input:
        # Nothing of an unpaired study is measured against a truth: rules/harmonise.smk says what is.
        values=[
            f"{ROOT}/metrics/participants/{participant}{'_harmonised' if STUDY.unpaired else ''}.tsv"
            for participant in STUDY.tested
        ],
        own=[
            f"{ROOT}/metrics/participants/{participant}_truth.tsv"
            for participant in STUDY.tested
            if not STUDY.unpaired
        ],
        perceptual=[
            f"{ROOT}/metrics/participants/{participant}_lpips.tsv"
            for participant in STUDY.tested
            if config["evaluate"]["lpips_weights"] is not None
        ],
        segmentations=[
            f"{ROOT}/metrics/participants/{participant}_tissues.tsv"
            for participant in STUDY.tested
            if config["evaluate"]["segmentation"] and not STUDY.unpaired
        ],
    output:
        per_subject=f"{ROOT}/metrics/per_subject.tsv",
        leaderboard=report(
            f"{ROOT}/metrics/leaderboard.tsv",
            caption="../workflow/report/leaderboard.rst",
            category="Evaluation",
        ),
        comparisons=report(
            f"{ROOT}/metrics/comparisons.tsv",
            caption="../workflow/report/comparisons.rst",
            category="Evaluation",
        ),
        ranks=report(f"{ROOT}/metrics/ranks.tsv", caption="../workflow/report/ranks.rst", category="Evaluation"),
        outliers=f"{ROOT}/metrics/outliers.tsv",
        quantities=f"{ROOT}/metrics/quantities.tsv",
        agreement=report(
            f"{ROOT}/metrics/agreement.tsv",
            caption="../workflow/report/agreement.rst",
            category="Evaluation",
        ),
        definitions=f"{ROOT}/metrics/definitions.tsv",
    log:
        f"{ROOT}/logs/evaluate/summarise.log",
    benchmark:
        f"{ROOT}/benchmarks/evaluate/summarise.tsv"
    conda:
        "../envs/report.yaml"
    resources:
        mem_mb=memory("summarise"),
        runtime=minutes("summarise"),
    params:
        version=EVALUATION_VERSION,
        methods=[method for method in STUDY.methods if method in NETWORKS],
        baselines=STUDY.baselines,
        seed=config["evaluate"]["seed"],
    script:
        "../workflow/scripts/summarise.py"


rule export:
    """Per-method CSV files in the columns of LoHiResGAN, for whoever compares with its results."""
    input:
        f"{ROOT}/metrics/per_subject.tsv",
    output:
        EXPORTS,
    log:
        f"{ROOT}/logs/evaluate/export.log",
    benchmark:
        f"{ROOT}/benchmarks/evaluate/export.tsv"
    conda:
        "../envs/report.yaml"
    resources:
        mem_mb=memory("summarise"),
        runtime=minutes("summarise"),
    params:
        methods=STUDY.methods,
        files=lambda wildcards: {
            method: {participant: Path(STUDY.prediction(method, participant)).name for participant in STUDY.tested}
            for method in STUDY.methods
        },
    script:
        "../workflow/scripts/export.py"


rule audit:
    """Structures that stand out in the residuals of one test participant, and whether they were added or removed."""
    input:
        unpack(tested_images),
        deviations=lambda wildcards: [STUDY.deviation(method, wildcards.participant) for method in STUDY.uncertain],
    output:
        summary=f"{ROOT}/metrics/audit/{{participant}}.tsv",
        structures=f"{ROOT}/metrics/audit/{{participant}}_structures.tsv",
        maps=directory(f"{ROOT}/metrics/audit/{{participant}}"),
    log:
        f"{ROOT}/logs/evaluate/{{participant}}_audit.log",
    benchmark:
        f"{ROOT}/benchmarks/evaluate/{{participant}}_audit.tsv"
    group:
        "evaluate"
    conda:
        "../envs/report.yaml"
    resources:
        mem_mb=memory("audit"),
        runtime=minutes("audit"),
    params:
        version=EVALUATION_VERSION,
        methods=STUDY.methods,
        uncertain=STUDY.uncertain,
        fold=tested_fold,
        seeds=seeds,
    script:
        "../workflow/scripts/audit.py"


rule lesions:
    """Synthetic lesions in the source of one test participant, processed by every method."""
    input:
        unpack(lesion_images),
    output:
        f"{ROOT}/metrics/lesions/{{participant}}.tsv",
    log:
        f"{ROOT}/logs/evaluate/{{participant}}_lesions.log",
    benchmark:
        f"{ROOT}/benchmarks/evaluate/{{participant}}_lesions.tsv"
    conda:
        "../envs/model.yaml"
    threads: 2
    resources:
        mem_mb=memory("lesions"),
        runtime=minutes("lesions"),
        gpu=gpus,
    params:
        version=EVALUATION_VERSION,
        methods=STUDY.methods,
        models=lambda wildcards: {method: model_paths(method, wildcards.participant) for method in STUDY.trained},
        network_inputs=lambda wildcards: {
            method: STUDY.network_input(STUDY.pairs[wildcards.participant].source, method) for method in NETWORKS
        },
        fold=tested_fold,
        seeds=seeds,
        seed=config["evaluate"]["seed"],
        inference=INFERENCE,
    script:
        "../workflow/scripts/lesions.py"


if FINDINGS:

    rule findings:
        """What was found in all participants."""
        input:
            **FINDINGS,
        output:
            **{
                name: report(
                    f"{ROOT}/metrics/{name}.tsv",
                    caption=f"../workflow/report/{name}.rst",
                    category="Hallucinations",
                )
                for name in FINDINGS
            },
        log:
            f"{ROOT}/logs/evaluate/findings.log",
        benchmark:
            f"{ROOT}/benchmarks/evaluate/findings.tsv"
        conda:
            "../envs/report.yaml"
        resources:
            mem_mb=memory("summarise"),
            runtime=minutes("summarise"),
        script:
            "../workflow/scripts/gather.py"


if STUDY.uncertain:

    rule calibrate:
        """Predicted standard deviation against error, of one test participant."""
        input:
            unpack(uncertain_images),
        output:
            f"{ROOT}/metrics/calibration/{{participant}}.tsv",
        log:
            f"{ROOT}/logs/evaluate/{{participant}}_calibration.log",
        benchmark:
            f"{ROOT}/benchmarks/evaluate/{{participant}}_calibration.tsv"
        group:
            "evaluate"
        conda:
            "../envs/report.yaml"
        resources:
            mem_mb=memory("measure"),
            runtime=minutes("measure"),
        params:
            methods=STUDY.uncertain,
            fold=tested_fold,
        script:
            "../workflow/scripts/calibrate.py"

    rule calibration:
        """metrics/calibration.tsv."""
        input:
            [f"{ROOT}/metrics/calibration/{participant}.tsv" for participant in STUDY.tested],
        output:
            f"{ROOT}/metrics/calibration.tsv",
        log:
            f"{ROOT}/logs/evaluate/calibration.log",
        benchmark:
            f"{ROOT}/benchmarks/evaluate/calibration.tsv"
        conda:
            "../envs/report.yaml"
        resources:
            mem_mb=memory("summarise"),
            runtime=minutes("summarise"),
        script:
            "../workflow/scripts/calibration_table.py"
