# Training and fine-tuning. Their unfinished state is a param, not an output: Snakemake deletes the outputs of a
# killed job, and the state must survive it.


rule train:
    input:
        frames=frames_of,
        pixels=ancient(pixels_of),
        keyframes=keyframes_of,
    output:
        model=f"{RUN}/model.safetensors",
        log=f"{RUN}/train.jsonl",
    log:
        f"{RUN}/logs/train.log",
    benchmark:
        f"{RUN}/logs/train.benchmark.tsv"
    threads: RESOURCES.training_threads
    resources:
        **RESOURCES.gpus(RESOURCES.gpus_of_training),
        mem_mb=RESOURCES.training_memory("train"),
        runtime=RESOURCES.share("train"),
        processes=RESOURCES.gpus_of_training,
    params:
        step_version=STEP_VERSIONS["train"],
        settings=lambda wildcards: settings(PLAN.run_of(wildcards).train),
        state=PLAN.state("train"),
        keyframes=with_keyframes,
    shell:
        "boostnerv train --frames {input.frames:q} {params.keyframes} --settings {params.settings:q} --state {params.state:q}"
        " --output {output.model:q} --log {output.log:q} --threads {threads}"
        " --processes {resources.processes} 2> >(noted {log:q} >&2)"


rule finetune:
    input:
        frames=frames_of,
        pixels=ancient(pixels_of),
        keyframes=keyframes_of,
        model=f"{RUN}/model.safetensors",
    output:
        model=f"{RUN}/finetuned.safetensors",
        log=f"{RUN}/finetune.jsonl",
    log:
        f"{RUN}/logs/finetune.log",
    benchmark:
        f"{RUN}/logs/finetune.benchmark.tsv"
    threads: RESOURCES.training_threads
    resources:
        **RESOURCES.gpus(one_gpu),
        mem_mb=RESOURCES.training_memory("finetune"),
        runtime=RESOURCES.share("finetune"),
    params:
        step_version=STEP_VERSIONS["finetune"],
        settings=lambda wildcards: settings(PLAN.run_of(wildcards).finetune),
        state=PLAN.state("finetune"),
        keyframes=with_keyframes,
    shell:
        "boostnerv finetune --frames {input.frames:q} {params.keyframes} --model {input.model:q} --settings {params.settings:q}"
        " --state {params.state:q} --output {output.model:q} --log {output.log:q} --threads {threads}"
        " 2> >(noted {log:q} >&2)"
