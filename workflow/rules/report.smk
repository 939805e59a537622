# Tables and figures.


rule tabulate:
    input:
        points=f"{RESULTS}/points.csv",
    output:
        table=f"{RESULTS}/tables/points.md",
        csv=report(
            f"{RESULTS}/tables/points.csv",
            caption="../report/means.rst",
            category="Points",
            labels={"points": "means over seeds and videos", "as": "CSV"},
        ),
        html=report(
            f"{RESULTS}/tables/points.html",
            caption="../report/table.rst",
            category="Points",
            labels={"points": "the table", "as": "page"},
        ),
        metrics=f"{RESULTS}/metrics.json",
    log:
        f"{RESULTS}/logs/tabulate.log",
    benchmark:
        f"{RESULTS}/logs/tabulate.benchmark.tsv"
    threads: 1
    resources:
        mem_mb=grown(1000),
        runtime=minutes(short),
    params:
        step_version=STEP_VERSIONS["tabulate"],
    shell:
        "boostnerv tabulate {input.points:q} --output {output.table:q} --csv {output.csv:q} --html {output.html:q}"
        " --metrics {output.metrics:q} 2> >(noted {log:q} >&2)"


rule plot:
    input:
        points=f"{RESULTS}/points.csv",
        logs=train_logs,
    output:
        figures=[in_report(figure) for figure in FIGURES],
    log:
        f"{RESULTS}/logs/plot.log",
    benchmark:
        f"{RESULTS}/logs/plot.benchmark.tsv"
    threads: 1
    resources:
        mem_mb=grown(1500),
        runtime=minutes(short),
    params:
        step_version=STEP_VERSIONS["plot"],
        folder=lambda wildcards, output: str(Path(output.figures[0]).parent),
        logs=LOGS_LIST,
    shell:
        "boostnerv plot {input.points:q} --folder {params.folder:q} --logs {params.logs:q} 2> >(noted {log:q} >&2)"
