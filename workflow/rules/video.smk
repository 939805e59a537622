# From the source video to frames, and to what a model of many videos is of.


rule fetch_source:
    output:
        source=f"data/raw/{DATASET}/{{video}}.{{extension}}",
    log:
        f"logs/fetch_source/{DATASET}/{{video}}.{{extension}}.log",
    benchmark:
        f"logs/fetch_source/{DATASET}/{{video}}.{{extension}}.benchmark.tsv"
    wildcard_constraints:
        video=any_of(PLAN.fetched),
    threads: 1
    resources:
        mem_mb=RESOURCES.memory(500),
        runtime=RESOURCES.minutes(no_time),
    params:
        step_version=STEP_VERSIONS["fetch_source"],
        dataset=DATASET,
        source=lambda wildcards: settings(PLAN.videos[wildcards.video].source),
    shell:
        "boostnerv fetch-source --dataset {params.dataset} --video {wildcards.video} --output {output.source:q}"
        " 2> >(noted {log:q} >&2)"


# A download or an own video that is not there stands in the plan, so that a dry run shows all of it; check_experiment
# refuses it before the first job. What is there is made by no rule, so that no --forceall can delete it.
rule downloaded_source:
    output:
        source=f"data/raw/{DATASET}/{{missing}}",
    log:
        f"logs/downloaded_source/{DATASET}/{{missing}}.log",
    benchmark:
        f"logs/downloaded_source/{DATASET}/{{missing}}.benchmark.tsv"
    wildcard_constraints:
        missing=any_of(PLAN.missing),
    threads: 1
    resources:
        mem_mb=RESOURCES.memory(500),
        runtime=RESOURCES.minutes(no_time),
    params:
        step_version=STEP_VERSIONS["fetch_source"],
        dataset=DATASET,
        video=lambda wildcards: PLAN.missing[wildcards.missing].name,
        sentence=PLAN.missing_sentence,
    message:
        "{params.sentence}"
    shell:
        "boostnerv fetch-source --dataset {params.dataset} --video {params.video} --output {output.source:q}"
        " 2> >(noted {log:q} >&2)"


rule extract_frames:
    input:
        source=PLAN.source_inputs(can_be_input),
    output:
        pixels=f"{FRAMES}.npy",
        manifest=f"{FRAMES}.json",
    log:
        f"logs/extract_frames/{DATASET}/{{video}}-{TAG}.log",
    benchmark:
        f"logs/extract_frames/{DATASET}/{{video}}-{TAG}.benchmark.tsv"
    threads: 2
    resources:
        mem_mb=RESOURCES.memory(1500),
        runtime=RESOURCES.minutes(RESOURCES.extraction_seconds),
        disk_mb=lambda wildcards: 2 * RESOURCES.frames_mb(wildcards),
    params:
        step_version=STEP_VERSIONS["extract_frames"],
        settings=PLAN.extract_settings(can_be_input),
        source=PLAN.source_argument,
    shell:
        "boostnerv extract-frames {params.source:q} --settings {params.settings:q} --output {output.pixels:q}"
        " 2> >(noted {log:q} >&2)"


# Only planned where an experiment measures Y, U and V, or feeds an anchor with them.
rule extract_planes:
    input:
        source=PLAN.source_inputs(can_be_input),
    output:
        planes=f"{PLANES}.yuv",
        manifest=f"{PLANES}.json",
    log:
        f"logs/extract_planes/{DATASET}/{{video}}-{TAG}.log",
    benchmark:
        f"logs/extract_planes/{DATASET}/{{video}}-{TAG}.benchmark.tsv"
    threads: 2
    resources:
        mem_mb=RESOURCES.memory(1500),
        runtime=RESOURCES.minutes(RESOURCES.extraction_seconds),
        disk_mb=lambda wildcards: 2 * RESOURCES.frames_mb(wildcards),
    params:
        step_version=STEP_VERSIONS["extract_planes"],
        settings=PLAN.extract_settings(can_be_input),
        source=PLAN.source_argument,
    shell:
        "boostnerv extract-planes {params.source:q} --settings {params.settings:q} --output {output.planes:q}"
        " 2> >(noted {log:q} >&2)"


rule split_patches:
    input:
        frames=f"{FRAMES}.json",
        pixels=ancient(f"{FRAMES}.npy"),
    output:
        pixels=(PLAN.patches or f"data/patches/{DATASET}/{{video}}/none") + ".npy",
        manifest=(PLAN.patches or f"data/patches/{DATASET}/{{video}}/none") + ".json",
    log:
        f"logs/split_patches/{DATASET}/{{video}}-{TAG}.log",
    benchmark:
        f"logs/split_patches/{DATASET}/{{video}}-{TAG}.benchmark.tsv"
    threads: 1
    resources:
        mem_mb=RESOURCES.memory(1500),
        runtime=RESOURCES.minutes(RESOURCES.extraction_seconds),
        disk_mb=RESOURCES.frames_mb,
    params:
        step_version=STEP_VERSIONS["split_patches"],
        height=PLAN.grid.height if PLAN.grid else 0,
        width=PLAN.grid.width if PLAN.grid else 0,
    shell:
        "boostnerv split-patches --frames {input.frames:q} --height {params.height} --width {params.width}"
        " --output {output.pixels:q} 2> >(noted {log:q} >&2)"


# A data set may have more videos than a command line can name: onstart writes the list into a file.
rule gather_videos:
    input:
        manifests=PLAN.of_all(".json"),
        pixels=ancient(PLAN.of_all(".npy")),
    output:
        videos=f"{GATHERED}.json",
    log:
        f"logs/gather_videos/{DATASET}/{Path(GATHERED).name}.log",
    benchmark:
        f"logs/gather_videos/{DATASET}/{Path(GATHERED).name}.benchmark.tsv"
    threads: 1
    resources:
        mem_mb=RESOURCES.memory(1500),
        runtime=RESOURCES.minutes(RESOURCES.seconds_of_all(5e-8)),
    params:
        step_version=STEP_VERSIONS["gather_videos"],
        statistics=PLAN.statistics_options,
        manifests=f"{GATHERED}.list",
    shell:
        "boostnerv gather-videos --list {params.manifests:q} {params.statistics} --output {output.videos:q}"
        " 2> >(noted {log:q} >&2)"


rule code_keyframes:
    input:
        videos=f"{GATHERED}.json",
        pixels=ancient(PLAN.of_all(".npy")),
    output:
        manifest=f"{KEYFRAMES}.json",
        coded=f"{KEYFRAMES}.bin",
        pixels=f"{KEYFRAMES}.npy",
    log:
        f"logs/code_keyframes/{DATASET}/{Path(KEYFRAMES).name}.log",
    benchmark:
        f"logs/code_keyframes/{DATASET}/{Path(KEYFRAMES).name}.benchmark.tsv"
    # The longest trainings wait for them.
    priority: 1
    threads: 4
    resources:
        mem_mb=RESOURCES.memory(3000),
        runtime=RESOURCES.minutes(RESOURCES.seconds_of_all(2e-6), least=30),
    params:
        step_version=STEP_VERSIONS["code_keyframes"],
        settings=lambda wildcards: settings(PLAN.codings[wildcards.coding]),
    shell:
        "boostnerv code-keyframes --videos {input.videos:q} --settings {params.settings:q}"
        " --output {output.manifest:q} --threads {threads} 2> >(noted {log:q} >&2)"
