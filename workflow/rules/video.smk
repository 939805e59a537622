# From the source video to frames, and to what a model of many videos is of.


rule fetch_source:
    output:
        source=f"data/raw/{DATASET.name}/{{video}}.{{extension}}",
    log:
        f"logs/fetch_source/{DATASET.name}/{{video}}.{{extension}}.log",
    benchmark:
        f"logs/fetch_source/{DATASET.name}/{{video}}.{{extension}}.benchmark.tsv"
    wildcard_constraints:
        video=any_of(FETCHED),
    threads: 1
    resources:
        mem_mb=grown(500),
        runtime=minutes(short),
    params:
        step_version=STEP_VERSIONS["fetch_source"],
        dataset=DATASET.name,
        source=lambda wildcards: settings(VIDEOS[wildcards.video].source),
    shell:
        "boostnerv fetch-source --dataset {params.dataset} --video {wildcards.video} --output {output.source:q}"
        " 2> >(noted {log:q} >&2)"


# A download or an own video that is not there stands in the plan, so that a dry run shows all of it; check_experiment
# refuses it before the first job. What is there is made by no rule, so that no --forceall can delete it.
rule downloaded_source:
    output:
        source=f"data/raw/{DATASET.name}/{{missing}}",
    log:
        f"logs/downloaded_source/{DATASET.name}/{{missing}}.log",
    benchmark:
        f"logs/downloaded_source/{DATASET.name}/{{missing}}.benchmark.tsv"
    wildcard_constraints:
        missing=any_of(MISSING),
    threads: 1
    resources:
        mem_mb=grown(500),
        runtime=minutes(short),
    params:
        step_version=STEP_VERSIONS["fetch_source"],
        dataset=DATASET.name,
        video=lambda wildcards: MISSING[wildcards.missing].name,
        sentence=missing_sentence,
    message:
        "{params.sentence}"
    shell:
        "boostnerv fetch-source --dataset {params.dataset} --video {params.video} --output {output.source:q}"
        " 2> >(noted {log:q} >&2)"


rule extract_frames:
    input:
        source=source_inputs,
    output:
        pixels=f"{FRAMES}.npy",
        manifest=f"{FRAMES}.json",
    log:
        f"logs/extract_frames/{DATASET.name}/{{video}}-{EXPERIMENT.preparation.tag}.log",
    benchmark:
        f"logs/extract_frames/{DATASET.name}/{{video}}-{EXPERIMENT.preparation.tag}.benchmark.tsv"
    threads: 2
    resources:
        mem_mb=grown(1500),
        runtime=minutes(extraction_seconds),
        disk_mb=lambda wildcards: 2 * frames_mb(wildcards),
    params:
        step_version=STEP_VERSIONS["extract_frames"],
        settings=extract_settings,
        source=source_of,
    shell:
        "boostnerv extract-frames {params.source:q} --settings {params.settings:q} --output {output.pixels:q}"
        " 2> >(noted {log:q} >&2)"


# Only planned where an experiment measures Y, U and V, or feeds an anchor with them.
rule extract_planes:
    input:
        source=source_inputs,
    output:
        planes=f"{PLANES}.yuv",
        manifest=f"{PLANES}.json",
    log:
        f"logs/extract_planes/{DATASET.name}/{{video}}-{EXPERIMENT.preparation.tag}.log",
    benchmark:
        f"logs/extract_planes/{DATASET.name}/{{video}}-{EXPERIMENT.preparation.tag}.benchmark.tsv"
    threads: 2
    resources:
        mem_mb=grown(1500),
        runtime=minutes(extraction_seconds),
        disk_mb=lambda wildcards: 2 * frames_mb(wildcards),
    params:
        step_version=STEP_VERSIONS["extract_planes"],
        settings=extract_settings,
        source=source_of,
    shell:
        "boostnerv extract-planes {params.source:q} --settings {params.settings:q} --output {output.planes:q}"
        " 2> >(noted {log:q} >&2)"


rule split_patches:
    input:
        frames=f"{FRAMES}.json",
        pixels=ancient(f"{FRAMES}.npy"),
    output:
        pixels=(PATCHES or f"data/patches/{DATASET.name}/{{video}}/none") + ".npy",
        manifest=(PATCHES or f"data/patches/{DATASET.name}/{{video}}/none") + ".json",
    log:
        f"logs/split_patches/{DATASET.name}/{{video}}-{EXPERIMENT.preparation.tag}.log",
    benchmark:
        f"logs/split_patches/{DATASET.name}/{{video}}-{EXPERIMENT.preparation.tag}.benchmark.tsv"
    threads: 1
    resources:
        mem_mb=grown(1500),
        runtime=minutes(extraction_seconds),
        disk_mb=frames_mb,
    params:
        step_version=STEP_VERSIONS["split_patches"],
        height=GRID.height if GRID else 0,
        width=GRID.width if GRID else 0,
    shell:
        "boostnerv split-patches --frames {input.frames:q} --height {params.height} --width {params.width}"
        " --output {output.pixels:q} 2> >(noted {log:q} >&2)"


# A data set may have more videos than a command line can name: onstart writes the list into a file.
rule gather_videos:
    input:
        manifests=of_all(".json"),
        pixels=ancient(of_all(".npy")),
    output:
        videos=f"{GATHERED}.json",
    log:
        f"logs/gather_videos/{DATASET.name}/{Path(GATHERED).name}.log",
    benchmark:
        f"logs/gather_videos/{DATASET.name}/{Path(GATHERED).name}.benchmark.tsv"
    threads: 1
    resources:
        mem_mb=grown(1500),
        runtime=minutes(seconds_of_all(5e-8)),
    params:
        step_version=STEP_VERSIONS["gather_videos"],
        statistics=statistics(),
        manifests=f"{GATHERED}.list",
    shell:
        "boostnerv gather-videos --list {params.manifests:q} {params.statistics} --output {output.videos:q}"
        " 2> >(noted {log:q} >&2)"


rule code_keyframes:
    input:
        videos=f"{GATHERED}.json",
        pixels=ancient(of_all(".npy")),
    output:
        manifest=f"{KEYFRAMES}.json",
        coded=f"{KEYFRAMES}.bin",
        pixels=f"{KEYFRAMES}.npy",
    log:
        f"logs/code_keyframes/{DATASET.name}/{Path(KEYFRAMES).name}.log",
    benchmark:
        f"logs/code_keyframes/{DATASET.name}/{Path(KEYFRAMES).name}.benchmark.tsv"
    # The longest trainings wait for them.
    priority: 1
    threads: 4
    resources:
        mem_mb=grown(3000),
        runtime=minutes(seconds_of_all(2e-6), least=30),
    params:
        step_version=STEP_VERSIONS["code_keyframes"],
        settings=lambda wildcards: settings(CODINGS[wildcards.coding]),
    shell:
        "boostnerv code-keyframes --videos {input.videos:q} --settings {params.settings:q}"
        " --output {output.manifest:q} --threads {threads} 2> >(noted {log:q} >&2)"
