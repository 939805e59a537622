# Quality of decoded frames at full resolution, classical codecs on the same frames, and all points in one table.


rule evaluate:
    input:
        frames=frames_of,
        pixels=ancient(pixels_of),
        planes=PLAN.planes_of(".json"),
        codes=ancient(PLAN.planes_of(".yuv")),
        video=f"{RUN}/video.bnv",
        decoded=f"{RUN}/decoded.npy",
        encode_report=f"{RUN}/encode.json",
        decode_report=f"{RUN}/decode.json",
        train_log=trained("train.jsonl"),
        finetune_log=finetune_log,
    output:
        quality=f"{RUN}/quality.json",
        frames=f"{RUN}/frames.csv",
        preview=f"{RESULTS}/previews/{{video}}/{{run}}.mp4",
    log:
        f"{RUN}/logs/evaluate.log",
    benchmark:
        f"{RUN}/logs/evaluate.benchmark.tsv"
    threads: 1
    resources:
        **RESOURCES.beside_gpus(),
        mem_mb=RESOURCES.memory(2000),
        runtime=RESOURCES.share("evaluate"),
    params:
        step_version=STEP_VERSIONS["evaluate"],
        identity=PLAN.identity,
        vmaf=PLAN.vmaf_option,
        planes=planning.planes_option,
        finetune_log=planning.finetune_log_option,
    shell:
        "boostnerv evaluate --frames {input.frames:q} --file {input.video:q} --decoded {input.decoded:q}"
        " --encode-report {input.encode_report:q} --decode-report {input.decode_report:q}"
        " --train-log {input.train_log:q} {params.finetune_log} {params.planes} --identity {params.identity:q}"
        " --output {output.quality:q} --frames-csv {output.frames:q} --preview {output.preview:q} {params.vmaf}"
        " --threads {threads}"
        " 2> >(noted {log:q} >&2) >/dev/null"


rule evaluate_model:
    input:
        frames=frames_of,
        pixels=ancient(pixels_of),
        keyframes=keyframes_of,
        model=f"{RUN}/model.safetensors",
        train_log=f"{RUN}/train.jsonl",
    output:
        quality=f"{RUN}/model-quality.json",
        frames=f"{RUN}/model-frames.csv",
        preview=f"{RESULTS}/previews/{{video}}/{{run}}.mp4",
    log:
        f"{RUN}/logs/evaluate_model.log",
    benchmark:
        f"{RUN}/logs/evaluate_model.benchmark.tsv"
    wildcard_constraints:
        run=any_of(PLAN.measured_as_trained),
    threads: RESOURCES.training_threads
    resources:
        **RESOURCES.gpus(one_gpu),
        mem_mb=RESOURCES.training_memory("train"),
        runtime=RESOURCES.share("evaluate"),
        disk_mb=RESOURCES.frames_mb,
    params:
        step_version=STEP_VERSIONS["evaluate_model"],
        identity=PLAN.identity,
        keyframes=with_keyframes,
        vmaf=PLAN.vmaf_option,
    shell:
        "boostnerv evaluate-model --frames {input.frames:q} {params.keyframes} --model {input.model:q} --train-log {input.train_log:q}"
        " --identity {params.identity:q} --output {output.quality:q} --frames-csv {output.frames:q}"
        " --preview {output.preview:q} {params.vmaf} --threads {threads} 2> >(noted {log:q} >&2) >/dev/null"


# Both make the preview of a run; what is measured as trained has no file to evaluate.
ruleorder: evaluate_model > evaluate


rule encode_anchor:
    input:
        frames=f"{FRAMES}.json",
        pixels=ancient(f"{FRAMES}.npy"),
        planes=PLAN.planes_of_anchor(".json"),
        codes=ancient(PLAN.planes_of_anchor(".yuv")),
    output:
        point=f"{RESULTS}/anchors/{{video}}/{{anchor}}.json",
        stream=f"{RESULTS}/anchors/{{video}}/{{anchor}}.stream",
        frames=f"{RESULTS}/anchors/{{video}}/{{anchor}}.csv",
        preview=f"{RESULTS}/previews/{{video}}/{{anchor}}.mp4",
    log:
        f"{RESULTS}/logs/encode_anchor/{{video}}-{{anchor}}.log",
    benchmark:
        f"{RESULTS}/logs/encode_anchor/{{video}}-{{anchor}}.benchmark.tsv"
    threads: 1
    resources:
        mem_mb=RESOURCES.memory(3000),
        runtime=RESOURCES.minutes(RESOURCES.coding_seconds, least=60),
    params:
        step_version=STEP_VERSIONS["encode_anchor"],
        settings=lambda wildcards: settings(PLAN.anchors[wildcards.anchor][0]),
        quality=lambda wildcards: PLAN.anchors[wildcards.anchor][1],
        experiment=EXPERIMENT.name,
        vmaf=PLAN.vmaf_option,
        planes=planning.planes_option,
    shell:
        "boostnerv encode-anchor --frames {input.frames:q} --settings {params.settings:q}"
        " --quality {params.quality} --experiment {params.experiment} {params.planes} --stream {output.stream:q}"
        " --output {output.point:q} --frames-csv {output.frames:q} --preview {output.preview:q} {params.vmaf}"
        " --threads {threads} 2> >(noted {log:q} >&2)"


# There may be more results than a command line can name: onstart writes the list into a file.
rule collect:
    input:
        runs=PLAN.all_results,
        anchors=PLAN.all_anchor_results,
    output:
        points=report(
            f"{RESULTS}/points.csv",
            caption="../report/points.rst",
            category="Points",
            labels={"points": "every run, every column", "as": "CSV"},
        ),
    log:
        f"{RESULTS}/logs/collect.log",
    benchmark:
        f"{RESULTS}/logs/collect.benchmark.tsv"
    threads: 1
    resources:
        mem_mb=RESOURCES.memory(1000),
        runtime=RESOURCES.minutes(no_time),
    params:
        step_version=STEP_VERSIONS["collect"],
        results=PLAN.points_list,
    shell:
        "boostnerv collect --list {params.results:q} --output {output.points:q} 2> >(noted {log:q} >&2)"
