# From the source video to frames.


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
