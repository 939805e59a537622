# Tables, figures, and all of it as one page.


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
        metrics=f"{RESULTS}/metrics.json",
        bd_table=f"{RESULTS}/tables/bd-rate.md",
        bd_csv=report(
            f"{RESULTS}/tables/bd-rate.csv",
            caption="../report/bd-rate.rst",
            category="Points",
            labels={"points": "BD-rates of all pairs", "as": "CSV"},
        ),
        published=report(
            f"{RESULTS}/tables/published.csv",
            caption="../report/published.rst",
            category="Points",
            labels={"points": "beside published figures", "as": "CSV"},
        ),
    log:
        f"{RESULTS}/logs/tabulate.log",
    benchmark:
        f"{RESULTS}/logs/tabulate.benchmark.tsv"
    threads: 1
    resources:
        mem_mb=RESOURCES.memory(1000),
        runtime=RESOURCES.minutes(no_time),
    params:
        step_version=STEP_VERSIONS["tabulate"],
    shell:
        "boostnerv tabulate {input.points:q} --output {output.table:q} --csv {output.csv:q}"
        " --metrics {output.metrics:q} --bd-markdown {output.bd_table:q} --bd-csv {output.bd_csv:q}"
        " --published {output.published:q} 2> >(noted {log:q} >&2)"


rule plot:
    input:
        points=f"{RESULTS}/points.csv",
        logs=PLAN.train_logs,
    output:
        figures=[in_report(figure) for figure in PLAN.figures],
    log:
        f"{RESULTS}/logs/plot.log",
    benchmark:
        f"{RESULTS}/logs/plot.benchmark.tsv"
    threads: 1
    resources:
        mem_mb=RESOURCES.memory(1500),
        runtime=RESOURCES.minutes(no_time),
    params:
        step_version=STEP_VERSIONS["plot"],
        folder=lambda wildcards, output: str(Path(output.figures[0]).parent),
        logs=PLAN.logs_list,
    shell:
        "boostnerv plot {input.points:q} --folder {params.folder:q} --logs {params.logs:q} 2> >(noted {log:q} >&2)"


rule plot_runs:
    input:
        results=PLAN.results_of,
        files=PLAN.files_of_results,
        frames=lambda wildcards: f"{FRAMES}.json" if wildcards.video in PLAN.videos else [],
        pixels=lambda wildcards: ancient(f"{FRAMES}.npy") if wildcards.video in PLAN.videos else [],
    output:
        figures=[in_report(f"{RESULTS}/figures/{name}") for name in run_figure_files(["{video}"])],
    log:
        f"{RESULTS}/logs/plot_runs/{{video}}.log",
    benchmark:
        f"{RESULTS}/logs/plot_runs/{{video}}.benchmark.tsv"
    threads: 1
    resources:
        mem_mb=RESOURCES.memory(3000),
        runtime=RESOURCES.minutes(no_time),
    params:
        step_version=STEP_VERSIONS["plot_runs"],
        folder=lambda wildcards, output: str(Path(output.figures[0]).parent),
        frames=planning.frames_option,
    shell:
        "boostnerv plot-runs {input.results:q} {params.frames} --folder {params.folder:q} --threads {threads}"
        " 2> >(noted {log:q} >&2)"


rule preview_source:
    input:
        frames=frames_of,
        pixels=ancient(pixels_of),
    output:
        preview=f"{RESULTS}/previews/{{video}}/source.mp4",
    log:
        f"{RESULTS}/logs/preview_source/{{video}}.log",
    benchmark:
        f"{RESULTS}/logs/preview_source/{{video}}.benchmark.tsv"
    threads: 1
    resources:
        mem_mb=RESOURCES.memory(1000),
        runtime=RESOURCES.minutes(no_time),
    params:
        step_version=STEP_VERSIONS["preview_source"],
        many=lambda wildcards: "--many" if wildcards.video == PLAN.all_videos else "",
    shell:
        "boostnerv preview-source --frames {input.frames:q} {params.many} --output {output.preview:q} 2> >(noted {log:q} >&2)"


# Settings of runs are read from the file that onstart writes, as they may be longer than a command line.
rule page:
    input:
        points=f"{RESULTS}/points.csv",
        logs=PLAN.train_logs,
        previews=PLAN.previews,
    output:
        page=report(
            f"{RESULTS}/report/index.html",
            caption="../report/page.rst",
            category="Points",
            labels={"points": "all results", "as": "page"},
        ),
    log:
        f"{RESULTS}/logs/page.log",
    benchmark:
        f"{RESULTS}/logs/page.benchmark.tsv"
    threads: 1
    resources:
        mem_mb=RESOURCES.memory(1500),
        runtime=RESOURCES.minutes(no_time),
    params:
        step_version=STEP_VERSIONS["page"],
        config_sha256=config_hash(EXPERIMENT),
        folder=lambda wildcards, input: str(Path(input.points).parent),
        experiment=PLAN.experiment_json,
    shell:
        "boostnerv page {input.points:q} --folder {params.folder:q} --experiment {params.experiment:q}"
        " --output {output.page:q} 2> >(noted {log:q} >&2) >/dev/null"
