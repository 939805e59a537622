# From fine-tuned weights to the file, and from the file alone to frames.


rule encode:
    input:
        frames=frames_of,
        pixels=ancient(pixels_of),
        keyframes=keyframes_of,
        model=f"{RUN}/finetuned.safetensors",
    output:
        video=f"{RUN}/video.bnv",
        report=f"{RUN}/encode.json",
    log:
        f"{RUN}/logs/encode.log",
    benchmark:
        f"{RUN}/logs/encode.benchmark.tsv"
    threads: 1
    resources:
        **RESOURCES.beside_gpus(),
        mem_mb=RESOURCES.coding_memory(),
        runtime=RESOURCES.share("encode"),
    params:
        step_version=STEP_VERSIONS["encode"],
        keyframes=with_keyframes,
    shell:
        "boostnerv encode --frames {input.frames:q} {params.keyframes} --model {input.model:q} --output {output.video:q}"
        " --report {output.report:q} --threads {threads} 2> >(noted {log:q} >&2) >/dev/null"


rule encode_after_training:
    input:
        frames=frames_of,
        pixels=ancient(pixels_of),
        keyframes=keyframes_of,
        model=trained("model.safetensors"),
    output:
        video=f"{RUN}/video.bnv",
        report=f"{RUN}/encode.json",
    log:
        f"{RUN}/logs/encode.log",
    benchmark:
        f"{RUN}/logs/encode.benchmark.tsv"
    wildcard_constraints:
        run=any_of(PLAN.quantized_after_training),
    threads: 1
    resources:
        **RESOURCES.beside_gpus(),
        mem_mb=RESOURCES.coding_memory(),
        runtime=RESOURCES.share("encode"),
    params:
        step_version=STEP_VERSIONS["encode_after_training"],
        settings=lambda wildcards: settings(PLAN.run_of(wildcards).post_training),
        keyframes=with_keyframes,
    shell:
        "boostnerv encode-after-training --frames {input.frames:q} --model {input.model:q}"
        " --settings {params.settings:q} {params.keyframes} --output {output.video:q} --report {output.report:q}"
        " --threads {threads}"
        " 2> >(noted {log:q} >&2) >/dev/null"


ruleorder: encode_after_training > encode


rule decode:
    input:
        video=f"{RUN}/video.bnv",
    output:
        frames=temp(f"{RUN}/decoded.npy"),
        report=f"{RUN}/decode.json",
    log:
        f"{RUN}/logs/decode.log",
    benchmark:
        f"{RUN}/logs/decode.benchmark.tsv"
    threads: 1
    resources:
        **RESOURCES.beside_gpus(),
        mem_mb=RESOURCES.coding_memory(),
        runtime=RESOURCES.share("decode"),
        disk_mb=RESOURCES.frames_mb,
    params:
        step_version=STEP_VERSIONS["decode"],
    shell:
        "boostnerv decode {input.video:q} --output {output.frames:q} --report {output.report:q}"
        " --threads {threads} 2> >(noted {log:q} >&2) >/dev/null"
