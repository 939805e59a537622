# Quality of decoded frames at full resolution, classical codecs on the same frames, and all points in one table.


rule evaluate:
    input:
        frames=frames_of,
        pixels=ancient(pixels_of),
        video=RUN + "/video.bnv",
        decoded=RUN + "/decoded.npy",
        encode_report=RUN + "/encode.json",
        decode_report=RUN + "/decode.json",
        train_log=trained("train.jsonl"),
        finetune_log=finetune_log,
    output:
        quality=RUN + "/quality.json",
        frames=RUN + "/frames.csv",
    log:
        RUN + "/logs/evaluate.log",
    benchmark:
        RUN + "/logs/evaluate.benchmark.tsv"
    threads: 1
    resources:
        mem_mb=lambda wildcards, attempt: attempt * 2000,
        runtime=evaluation_runtime,
    params:
        step_version=STEP_VERSIONS["evaluate"],
        identity=identity,
        finetune_log=lambda wildcards, input: (
            f"--finetune-log {shlex.quote(input.finetune_log)}" if input.finetune_log else ""
        ),
    shell:
        "boostnerv evaluate --frames {input.frames:q} --file {input.video:q} --decoded {input.decoded:q}"
        " --encode-report {input.encode_report:q} --decode-report {input.decode_report:q}"
        " --train-log {input.train_log:q} {params.finetune_log} --identity {params.identity:q}"
        " --output {output.quality:q} --frames-csv {output.frames:q} --threads {threads}"
        " 2> >(tee {log:q} >&2) >/dev/null"


rule evaluate_model:
    input:
        frames=frames_of,
        pixels=ancient(pixels_of),
        keyframes=keyframes_of,
        model=RUN + "/model.safetensors",
        train_log=RUN + "/train.jsonl",
    output:
        quality=RUN + "/model-quality.json",
        frames=RUN + "/model-frames.csv",
    log:
        RUN + "/logs/evaluate_model.log",
    benchmark:
        RUN + "/logs/evaluate_model.benchmark.tsv"
    threads: training_threads
    resources:
        mem_mb=training_mem_mb("train"),
        runtime=evaluation_runtime,
        disk_mb=frames_mb,
        gpu=1,
    params:
        step_version=STEP_VERSIONS["evaluate_model"],
        identity=identity,
        keyframes=with_keyframes,
    shell:
        "boostnerv evaluate-model --frames {input.frames:q} {params.keyframes} --model {input.model:q} --train-log {input.train_log:q}"
        " --identity {params.identity:q} --output {output.quality:q} --frames-csv {output.frames:q}"
        " --threads {threads} 2> >(tee {log:q} >&2) >/dev/null"


rule encode_anchor:
    input:
        frames=FRAMES + ".json",
        pixels=ancient(FRAMES + ".npy"),
    output:
        point=RESULTS + "/anchors/{video}/{anchor}.json",
        stream=RESULTS + "/anchors/{video}/{anchor}.stream",
    log:
        RESULTS + "/logs/encode_anchor/{video}-{anchor}.log",
    benchmark:
        RESULTS + "/logs/encode_anchor/{video}-{anchor}.benchmark.tsv"
    threads: 1
    resources:
        mem_mb=lambda wildcards, attempt: attempt * 3000,
        runtime=lambda wildcards, attempt: attempt * 60,
    params:
        step_version=STEP_VERSIONS["encode_anchor"],
        settings=lambda wildcards: settings(ANCHORS[wildcards.anchor][0]),
        quality=lambda wildcards: ANCHORS[wildcards.anchor][1],
        experiment=EXPERIMENT.name,
    shell:
        "boostnerv encode-anchor --frames {input.frames:q} --settings {params.settings:q}"
        " --quality {params.quality} --experiment {params.experiment} --stream {output.stream:q}"
        " --output {output.point:q} --threads {threads} 2> >(tee {log:q} >&2)"


rule collect:
    input:
        runs=MEASURED,
        anchors=expand(RESULTS + "/anchors/{video}/{anchor}.json", video=VIDEOS, anchor=ANCHORS),
    output:
        points=RESULTS + "/points.csv",
    log:
        RESULTS + "/logs/collect.log",
    benchmark:
        RESULTS + "/logs/collect.benchmark.tsv"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        step_version=STEP_VERSIONS["collect"],
    shell:
        "boostnerv collect {input.runs:q} {input.anchors:q} --output {output.points:q} 2> >(tee {log:q} >&2)"
