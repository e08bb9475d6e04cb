"""Segmentation: tissue classes, or the structures that `evaluate.segmentation` asks for, of targets and in outputs.

1. tissues     tissue classes of the target
2. segment     one participant: the tissues found in every output against those of the target
3. structures  structures of the target
4. segment_structures  one participant: the structures found in every output against those of the target
"""

SEGMENTER = segmenters.used(config)

if SEGMENTER is None:

    STEP = step("evaluate.tissues.segment_reference", "evaluate/{folder}/{scan}_tissues")

    rule tissues:
        """Tissue classes of a target, on its own grid."""
        input:
            reference=lambda wildcards: PATHS("corrected", scan_of(wildcards)),
            mask=PATHS("mask"),
            judged_by=lambda wildcards: pair_judged_by(scan_of(wildcards)),
        output:
            PATHS.both("tissues")[1],
            tissues=PATHS("tissues"),
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
            suffix=lambda wildcards: scan_of(wildcards).suffix,
        script:
            "../workflow/scripts/step.py"

    STEP = step("evaluate.tissues.segment_outputs", "evaluate/{participant}_segment")

    rule segment:
        """Tissues of every output of one test participant, against those of the target."""
        input:
            lambda wildcards: files_of_case(case(wildcards)),
            tissues=tissues_of,
        output:
            segmentation=PATHS("segmentation"),
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

else:

    STEP = step("evaluate.anatomy.segment_reference", "evaluate/{folder}/{scan}_tissues")

    rule structures:
        """Structures of a target, on its own grid."""
        input:
            SEGMENTER[1],
            reference=lambda wildcards: PATHS("corrected", scan_of(wildcards)),
            mask=PATHS("mask"),
            segmenter=SEGMENTER[0],
            judged_by=lambda wildcards: pair_judged_by(scan_of(wildcards)),
        output:
            PATHS.both("tissues")[1],
            tissues=PATHS("tissues"),
        log:
            STEP.log,
        benchmark:
            STEP.benchmark
        group:
            "evaluate"
        conda:
            "../envs/model.yaml"
        threads: STEP.threads
        resources:
            **STEP.resources,
        params:
            **STEP.params,
            device=config["train"]["device"],
        script:
            "../workflow/scripts/step.py"

    STEP = step("evaluate.anatomy.segment_outputs", "evaluate/{participant}_segment")

    rule segment_structures:
        """Structures of every output of one test participant, against those of the target."""
        input:
            lambda wildcards: files_of_case(case(wildcards)),
            SEGMENTER[1],
            tissues=tissues_of,
            segmenter=SEGMENTER[0],
        output:
            segmentation=PATHS("segmentation"),
        log:
            STEP.log,
        benchmark:
            STEP.benchmark
        group:
            "evaluate"
        conda:
            "../envs/model.yaml"
        threads: STEP.threads
        resources:
            **STEP.resources,
        params:
            **STEP.params,
            case=case,
            device=config["train"]["device"],
        script:
            "../workflow/scripts/step.py"
