# Tables and figures.


rule tabulate:
    input:
        points=RESULTS + "/points.csv",
    output:
        table=RESULTS + "/tables/points.md",
        csv=RESULTS + "/tables/points.csv",
    log:
        RESULTS + "/logs/tabulate.log",
    benchmark:
        RESULTS + "/logs/tabulate.benchmark.tsv"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        step_version=STEP_VERSIONS["tabulate"],
    shell:
        "boostnerv tabulate {input.points:q} --output {output.table:q} --csv {output.csv:q}" " 2> >(tee {log:q} >&2)"


rule plot:
    input:
        points=RESULTS + "/points.csv",
        logs=TRAIN_LOGS,
    output:
        figures=FIGURES,
    log:
        RESULTS + "/logs/plot.log",
    benchmark:
        RESULTS + "/logs/plot.benchmark.tsv"
    threads: 1
    resources:
        mem_mb=1500,
        runtime=10,
    params:
        step_version=STEP_VERSIONS["plot"],
        folder=RESULTS + "/figures",
        logs=lambda wildcards, input: " ".join(
            f"--log {shlex.quote(f'{curve_label(log)}={log}')}" for log in input.logs
        ),
    shell:
        "boostnerv plot {input.points:q} --folder {params.folder:q} {params.logs} 2> >(tee {log:q} >&2)"
