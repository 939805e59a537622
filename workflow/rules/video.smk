# From the source video to frames, and to what a model of many videos is of.


rule fetch_source:
    output:
        source=f"data/raw/{DATASET.name}/{{video}}.{{extension}}",
    log:
        f"logs/fetch_source/{DATASET.name}/{{video}}.{{extension}}.log",
    benchmark:
        f"logs/fetch_source/{DATASET.name}/{{video}}.{{extension}}.benchmark.tsv"
    wildcard_constraints:
        video="|".join(map(re.escape, FETCHED)) or "no-video",
    threads: 1
    resources:
        mem_mb=500,
        runtime=15,
    params:
        step_version=STEP_VERSIONS["fetch_source"],
        dataset=DATASET.name,
        source=lambda wildcards: settings(VIDEOS[wildcards.video].source),
    shell:
        "boostnerv fetch-source --dataset {params.dataset} --video {wildcards.video} --output {output.source:q}"
        " 2> >(tee {log:q} >&2)"


# A download that is not there stands in the plan, so that a dry run shows all of it; check_experiment refuses it
# before the first job. What is there is made by no rule, so that no --forceall can delete it.
rule downloaded_source:
    output:
        source=f"data/raw/{DATASET.name}/{{missing}}",
    log:
        f"logs/downloaded_source/{DATASET.name}/{{missing}}.log",
    benchmark:
        f"logs/downloaded_source/{DATASET.name}/{{missing}}.benchmark.tsv"
    wildcard_constraints:
        missing="|".join(map(re.escape, MISSING)) or "no-file",
    threads: 1
    resources:
        mem_mb=500,
        runtime=15,
    params:
        step_version=STEP_VERSIONS["fetch_source"],
        dataset=DATASET.name,
        video=lambda wildcards: MISSING[wildcards.missing].name,
    shell:
        "boostnerv fetch-source --dataset {params.dataset} --video {params.video} --output {output.source:q}"
        " 2> >(tee {log:q} >&2)"


rule extract_frames:
    input:
        # Every image of a folder: the folder itself looks unchanged when one of them is replaced.
        source=lambda wildcards: list(map(str, source_files(VIDEOS[wildcards.video], DATASET.name))),
    output:
        pixels=FRAMES + ".npy",
        manifest=FRAMES + ".json",
    log:
        f"logs/extract_frames/{DATASET.name}/{{video}}-{EXPERIMENT.preparation.tag}.log",
    benchmark:
        f"logs/extract_frames/{DATASET.name}/{{video}}-{EXPERIMENT.preparation.tag}.benchmark.tsv"
    threads: 2
    resources:
        mem_mb=1500,
        runtime=60,
        disk_mb=lambda wildcards: 2 * frames_mb(wildcards),
    params:
        step_version=STEP_VERSIONS["extract_frames"],
        settings=extract_settings,
        source=lambda wildcards: str(source_path(VIDEOS[wildcards.video], DATASET.name)),
    shell:
        "boostnerv extract-frames {params.source:q} --settings {params.settings:q} --output {output.pixels:q}"
        " 2> >(tee {log:q} >&2)"


rule split_patches:
    input:
        frames=FRAMES + ".json",
        pixels=ancient(FRAMES + ".npy"),
    output:
        pixels=(PATCHES or f"data/patches/{DATASET.name}/{{video}}/none") + ".npy",
        manifest=(PATCHES or f"data/patches/{DATASET.name}/{{video}}/none") + ".json",
    log:
        f"logs/split_patches/{DATASET.name}/{{video}}-{EXPERIMENT.preparation.tag}.log",
    benchmark:
        f"logs/split_patches/{DATASET.name}/{{video}}-{EXPERIMENT.preparation.tag}.benchmark.tsv"
    threads: 1
    resources:
        mem_mb=1500,
        runtime=60,
        disk_mb=frames_mb,
    params:
        step_version=STEP_VERSIONS["split_patches"],
        height=GRID.height if GRID else 0,
        width=GRID.width if GRID else 0,
    shell:
        "boostnerv split-patches --frames {input.frames:q} --height {params.height} --width {params.width}"
        " --output {output.pixels:q} 2> >(tee {log:q} >&2)"


# A data set may have more videos than a command line can name: onstart writes the list into a file.
rule gather_videos:
    input:
        manifests=expand(CUT + ".json", video=VIDEOS),
        pixels=ancient(expand(CUT + ".npy", video=VIDEOS)),
    output:
        videos=GATHERED + ".json",
    log:
        f"logs/gather_videos/{DATASET.name}/{Path(GATHERED).name}.log",
    benchmark:
        f"logs/gather_videos/{DATASET.name}/{Path(GATHERED).name}.benchmark.tsv"
    threads: 1
    resources:
        mem_mb=1500,
        runtime=60,
    params:
        step_version=STEP_VERSIONS["gather_videos"],
        statistics=statistics(),
        manifests=GATHERED + ".list",
    shell:
        "boostnerv gather-videos --list {params.manifests:q} {params.statistics} --output {output.videos:q}"
        " 2> >(tee {log:q} >&2)"


rule code_keyframes:
    input:
        videos=GATHERED + ".json",
        pixels=ancient(expand(CUT + ".npy", video=VIDEOS)),
    output:
        manifest=KEYFRAMES + ".json",
        coded=KEYFRAMES + ".bin",
        pixels=KEYFRAMES + ".npy",
    log:
        f"logs/code_keyframes/{DATASET.name}/{Path(KEYFRAMES).name}.log",
    benchmark:
        f"logs/code_keyframes/{DATASET.name}/{Path(KEYFRAMES).name}.benchmark.tsv"
    # The longest trainings wait for them.
    priority: 1
    threads: 4
    resources:
        mem_mb=3000,
        runtime=120,
    params:
        step_version=STEP_VERSIONS["code_keyframes"],
        settings=lambda wildcards: settings(CODINGS[wildcards.coding]),
    shell:
        "boostnerv code-keyframes --videos {input.videos:q} --settings {params.settings:q}"
        " --output {output.manifest:q} --threads {threads} 2> >(tee {log:q} >&2)"
