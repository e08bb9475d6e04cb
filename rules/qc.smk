"""Quality control: every scan and every pair measured, judged and drawn, after registration.

1. quality          metrics of one pair's scans and of how they lie together; beyond a threshold the pair is excluded
2. quality_figures  brain masks and the registration, for a person to look at
3. contact_sheet    the pictures of many pairs in one
4. quality_table    all measurements, with those who stand apart from the others
"""

QC = config["qc"]
# Raised on purpose when a change of the code changes the measurements.
QUALITY_VERSION = 2


rule quality:
    """Metrics of one pair, or of one scan of an unpaired study, and whether it may be used."""
    input:
        unpack(registered_pair),
    output:
        STUDY.verdict("{store}"),
    log:
        f"{ROOT}/logs/qc/{{store}}_quality.log",
    benchmark:
        f"{ROOT}/benchmarks/qc/{{store}}_quality.tsv"
    group:
        "preprocess"
    conda:
        "../envs/preprocess.yaml"
    resources:
        mem_mb=memory("quality"),
        runtime=minutes("quality"),
    params:
        version=QUALITY_VERSION,
        suffixes=lambda wildcards: {
            scan.role: scan.suffix for scan in STUDY.contents[wildcards.store] if scan is not None
        },
        thresholds=QC["thresholds"],
    script:
        "../workflow/scripts/quality.py"


rule quality_figures:
    """Pictures of one pair."""
    input:
        unpack(registered_pair),
    output:
        STUDY.pictures("{store}"),
    log:
        f"{ROOT}/logs/qc/{{store}}_figures.log",
    benchmark:
        f"{ROOT}/benchmarks/qc/{{store}}_figures.tsv"
    group:
        "preprocess"
    conda:
        "../envs/report.yaml"
    resources:
        mem_mb=memory("quality_figures"),
        runtime=minutes("quality_figures"),
    script:
        "../workflow/scripts/quality_figures.py"


rule contact_sheet:
    """The pictures of up to forty pairs in one."""
    input:
        lambda wildcards: [path for name in STUDY.sheets[wildcards.sheet] for path in STUDY.pictures(name)],
    output:
        f"{ROOT}/qc/contact_sheet-{{sheet}}.webp",
    log:
        f"{ROOT}/logs/qc/contact_sheet-{{sheet}}.log",
    benchmark:
        f"{ROOT}/benchmarks/qc/contact_sheet-{{sheet}}.tsv"
    wildcard_constraints:
        sheet=r"\d+",
    conda:
        "../envs/report.yaml"
    resources:
        mem_mb=memory("contact_sheet"),
        runtime=minutes("contact_sheet"),
    params:
        names=lambda wildcards: STUDY.sheets[wildcards.sheet],
    script:
        "../workflow/scripts/contact_sheet.py"


rule quality_table:
    """All measurements of the study in one table."""
    input:
        [STUDY.verdict(name) for name in STUDY.contents],
    output:
        report(f"{ROOT}/qc/quality.tsv", caption="../workflow/report/quality.rst", category="Quality"),
    log:
        f"{ROOT}/logs/qc/table.log",
    benchmark:
        f"{ROOT}/benchmarks/qc/table.tsv"
    conda:
        "../envs/preprocess.yaml"
    resources:
        mem_mb=memory("quality_table"),
        runtime=minutes("quality_table"),
    params:
        outlier=QC["outlier"],
    script:
        "../workflow/scripts/quality_table.py"
