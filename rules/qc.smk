"""Quality control: every scan and every pair measured, judged and drawn, after registration.

1. quality          metrics of one pair's scans and of how they lie together; beyond a threshold the pair is excluded
2. quality_figures  brain masks and the registration, for a person to look at
3. contact_sheet    the pictures of many pairs in one
4. quality_table    all measurements, with those who stand apart from the others
"""

QC = config["qc"]


onsuccess:
    STUDY.put_back(STANDING)


onerror:
    STUDY.put_back(STANDING)


STEP = step("quality.stage.assess", "qc/{store}_quality")


rule quality:
    """Metrics of one pair, or of one scan without a pair, and whether it may be used."""
    input:
        unpack(registered_pair),
    output:
        decision=PATHS("quality"),
    log:
        STEP.log,
    benchmark:
        STEP.benchmark
    group:
        "preprocess"
    conda:
        "../envs/preprocess.yaml"
    resources:
        **STEP.resources,
    params:
        **STEP.params,
        suffixes=lambda wildcards: {scan.role: scan.suffix for scan in STUDY.contents[wildcards.store].scans},
        thresholds=QC["thresholds"],
    script:
        "../workflow/scripts/step.py"


STEP = step("report.gallery.draw", "qc/{store}_figures")


rule quality_figures:
    """Pictures of one pair."""
    input:
        unpack(registered_pair),
    output:
        pictures=STUDY.pictures("{store}"),
    log:
        STEP.log,
    benchmark:
        STEP.benchmark
    group:
        "preprocess"
    conda:
        "../envs/report.yaml"
    resources:
        **STEP.resources,
    params:
        **STEP.params,
    script:
        "../workflow/scripts/step.py"


STEP = step("report.sheet.contact_sheet", "qc/contact_sheet-{sheet}")


rule contact_sheet:
    """The pictures of up to forty pairs in one."""
    input:
        lambda wildcards: [path for name in STUDY.sheets[wildcards.sheet] for path in STUDY.pictures(name)],
    output:
        contact_sheet=PATHS("contact_sheet"),
    log:
        STEP.log,
    benchmark:
        STEP.benchmark
    wildcard_constraints:
        sheet=r"\d+",
    conda:
        "../envs/report.yaml"
    resources:
        **STEP.resources,
    params:
        **STEP.params,
        pictures=lambda wildcards, input: {name: STUDY.pictures(name) for name in STUDY.sheets[wildcards.sheet]},
    script:
        "../workflow/scripts/step.py"


STEP = step("quality.judging.write_table", "qc/table")


rule quality_table:
    """All measurements of the study in one table."""
    input:
        decisions=[PATHS("quality", store=store) for store in STUDY.contents],
    output:
        quality_table=report(PATHS("quality_table"), caption="../workflow/report/quality.rst", category="Quality"),
    log:
        STEP.log,
    benchmark:
        STEP.benchmark
    conda:
        "../envs/preprocess.yaml"
    resources:
        **STEP.resources,
    params:
        **STEP.params,
        outlier=QC["outlier"],
    script:
        "../workflow/scripts/step.py"
