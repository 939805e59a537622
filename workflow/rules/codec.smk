# From fine-tuned weights to the file, and from the file alone to frames.


rule encode:
    input:
        frames=frames_of,
        pixels=ancient(pixels_of),
        keyframes=keyframes_of,
        model=RUN + "/finetuned.safetensors",
    output:
        video=RUN + "/video.bnv",
        report=RUN + "/encode.json",
    log:
        RUN + "/logs/encode.log",
    benchmark:
        RUN + "/logs/encode.benchmark.tsv"
    threads: 1
    resources:
        mem_mb=lambda wildcards, attempt: attempt * 2000,
        runtime=coding_runtime,
    params:
        step_version=STEP_VERSIONS["encode"],
        keyframes=with_keyframes,
    shell:
        "boostnerv encode --frames {input.frames:q} {params.keyframes} --model {input.model:q} --output {output.video:q}"
        " --report {output.report:q} --threads {threads} 2> >(tee {log:q} >&2) >/dev/null"


rule encode_after_training:
    input:
        frames=frames_of,
        pixels=ancient(pixels_of),
        keyframes=keyframes_of,
        model=trained("model.safetensors"),
    output:
        video=RUN + "/video.bnv",
        report=RUN + "/encode.json",
    log:
        RUN + "/logs/encode.log",
    benchmark:
        RUN + "/logs/encode.benchmark.tsv"
    wildcard_constraints:
        run="|".join(map(re.escape, AFTER_TRAINING)) or "no-run",
    threads: 1
    resources:
        mem_mb=lambda wildcards, attempt: attempt * 2000,
        runtime=coding_runtime,
    params:
        step_version=STEP_VERSIONS["encode_after_training"],
        settings=lambda wildcards: settings(run_of(wildcards).post_training),
        keyframes=with_keyframes,
    shell:
        "boostnerv encode-after-training --frames {input.frames:q} --model {input.model:q}"
        " --settings {params.settings:q} {params.keyframes} --output {output.video:q} --report {output.report:q}"
        " --threads {threads}"
        " 2> >(tee {log:q} >&2) >/dev/null"


ruleorder: encode_after_training > encode


rule decode:
    input:
        video=RUN + "/video.bnv",
    output:
        frames=temp(RUN + "/decoded.npy"),
        report=RUN + "/decode.json",
    log:
        RUN + "/logs/decode.log",
    benchmark:
        RUN + "/logs/decode.benchmark.tsv"
    threads: 1
    resources:
        mem_mb=lambda wildcards, attempt: attempt * 2000,
        runtime=coding_runtime,
        disk_mb=frames_mb,
    params:
        step_version=STEP_VERSIONS["decode"],
    shell:
        "boostnerv decode {input.video:q} --output {output.frames:q} --report {output.report:q}"
        " --threads {threads} 2> >(tee {log:q} >&2) >/dev/null"
