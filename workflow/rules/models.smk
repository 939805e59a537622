# Training and fine-tuning. Their unfinished state is a param, not an output: Snakemake deletes the outputs of a
# killed job, and the state must survive it.


rule train:
    input:
        frames=frames_of,
        pixels=ancient(pixels_of),
        keyframes=keyframes_of,
    output:
        model=RUN + "/model.safetensors",
        log=RUN + "/train.jsonl",
    log:
        RUN + "/logs/train.log",
    benchmark:
        RUN + "/logs/train.benchmark.tsv"
    threads: training_threads
    resources:
        mem_mb=training_mem_mb("train"),
        runtime=training_runtime("train"),
        gpu=1,
    params:
        step_version=STEP_VERSIONS["train"],
        settings=lambda wildcards: settings(run_of(wildcards).train),
        state=state("train"),
        keyframes=with_keyframes,
    shell:
        "boostnerv train --frames {input.frames:q} {params.keyframes} --settings {params.settings:q} --state {params.state:q}"
        " --output {output.model:q} --log {output.log:q} --threads {threads} 2> >(tee {log:q} >&2)"


rule finetune:
    input:
        frames=frames_of,
        pixels=ancient(pixels_of),
        keyframes=keyframes_of,
        model=RUN + "/model.safetensors",
    output:
        model=RUN + "/finetuned.safetensors",
        log=RUN + "/finetune.jsonl",
    log:
        RUN + "/logs/finetune.log",
    benchmark:
        RUN + "/logs/finetune.benchmark.tsv"
    threads: training_threads
    resources:
        mem_mb=training_mem_mb("finetune"),
        runtime=training_runtime("finetune"),
        gpu=1,
    params:
        step_version=STEP_VERSIONS["finetune"],
        settings=lambda wildcards: settings(run_of(wildcards).finetune),
        state=state("finetune"),
        keyframes=with_keyframes,
    shell:
        "boostnerv finetune --frames {input.frames:q} {params.keyframes} --model {input.model:q} --settings {params.settings:q}"
        " --state {params.state:q} --output {output.model:q} --log {output.log:q} --threads {threads}"
        " 2> >(tee {log:q} >&2)"
