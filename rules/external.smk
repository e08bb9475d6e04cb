"""Methods of others: outputs that are given as files or made by a command, brought to the target.

1. run_external    a command on a source as it was acquired
2. fit_external    the intensity curve of outputs, of training participants
3. place_external  an output on the target's native grid, in intensities of the target
4. scale_external  as applied: an output where its program left it, on the training targets' scale
"""

if any(found.command for found in STUDY.methods.external.values()):
    STEP = step(
        "predict.external.run_external",
        "predict/{folder}/{scan}_{suffix}_external-{method}",
        kind="prediction",
        gpus=gpus,
        minutes=max(found.minutes for found in STUDY.methods.external.values() if found.command) + 5,
    )

    rule run_external:
        """What another program makes of a source."""
        input:
            lambda wildcards: STUDY.methods.external[wildcards.method].files,
            source=lambda wildcards: STUDY.native(scan_of(wildcards)),
            mask=PATHS("mask"),
        output:
            PATHS.both("external")[1],
            output=PATHS("external"),
        log:
            STEP.log,
        benchmark:
            STEP.benchmark
        wildcard_constraints:
            method="|".join(name for name, found in STUDY.methods.external.items() if found.command),
        conda:
            "../envs/model.yaml"
        threads: STEP.threads
        resources:
            **STEP.resources,
        params:
            **STEP.params,
            command=lambda wildcards: list(STUDY.methods.external[wildcards.method].command),
            minutes=lambda wildcards: STUDY.methods.external[wildcards.method].minutes,
            said=lambda wildcards: STUDY.methods.external[wildcards.method].said(),
        script:
            "../workflow/scripts/step.py"


if any(found.fitted for found in STUDY.methods.external.values()):
    STEP = step("study.steps.fit_external", "train/{method}_fold-{fold}_seed-{seed}")

    rule fit_external:
        """The curve from outputs to targets."""
        input:
            behind_external,
            splits=PATHS("splits"),
        output:
            **model_files(),
        log:
            STEP.log,
        benchmark:
            STEP.benchmark
        wildcard_constraints:
            method="|".join(name for name, found in STUDY.methods.external.items() if found.fitted),
        conda:
            "../envs/model.yaml"
        resources:
            **STEP.resources,
        params:
            **STEP.params,
            train=external_pairs("train"),
            val=external_pairs("val"),
        script:
            "../workflow/scripts/step.py"


if STUDY.methods.external:
    STEP = step("predict.external.place_external", "predict/{folder}/{scan}_{label}_{suffix}")

    rule place_external:
        """An output of another program for one test participant."""
        input:
            models("card"),
            unpack(lambda wildcards: external_pair(scan_of(wildcards), method_of(wildcards))),
            acquired=lambda wildcards: STUDY.native(STUDY.pair_of(scan_of(wildcards)).target),
            models=models("model"),
            judged_by=lambda wildcards: pair_judged_by(scan_of(wildcards)),
        output:
            PATHS.both("prediction")[1],
            prediction=PATHS("prediction"),
        log:
            STEP.log,
        benchmark:
            STEP.benchmark
        wildcard_constraints:
            label=labels(lambda method: method in STUDY.methods.external),
        group:
            "evaluate"
        conda:
            "../envs/model.yaml"
        resources:
            **STEP.resources,
        params:
            **STEP.params,
            method=method_of,
            space=lambda wildcards: STUDY.methods.external[method_of(wildcards)].world,
            normalization=config["preprocess"]["normalize"]["method"],
            said=lambda wildcards: STUDY.methods.external[method_of(wildcards)].said(),
        script:
            "../workflow/scripts/step.py"


if any(method in STUDY.methods.external for method in STUDY.as_applied):
    STEP = step("predict.external.scale_external", "predict/{folder}/{scan}_{label}_{suffix}_alone")

    rule scale_external:
        """An output of another program as it would be without a target."""
        input:
            models("card"),
            external=lambda wildcards: STUDY.external(method_of(wildcards), scan_of(wildcards).participant),
            source_mask=PATHS("mask"),
            typical=typical_of,
            models=models("model"),
            judged_by=applied_judged_by,
        output:
            PATHS.both("enhanced")[1],
            enhanced=PATHS("enhanced"),
        log:
            STEP.log,
        benchmark:
            STEP.benchmark
        wildcard_constraints:
            scan=OWN_GRID,
            label=labels(lambda method: method in STUDY.as_applied and method in STUDY.methods.external),
        group:
            "evaluate"
        conda:
            "../envs/model.yaml"
        resources:
            **STEP.resources,
        params:
            **STEP.params,
            method=method_of,
            normalization=config["preprocess"]["normalize"]["method"],
            said=lambda wildcards: STUDY.methods.external[method_of(wildcards)].said(),
        script:
            "../workflow/scripts/step.py"
