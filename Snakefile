# The workflow, as a table of contents. An experiment is one file: snakemake --profile profiles/local
# --configfile config/NAME.yaml. Without --configfile it is config/demo.yaml.
from snakemake.utils import min_version

min_version("9.9")


include: "workflow/rules/common.smk"
include: "workflow/rules/video.smk"
include: "workflow/rules/models.smk"
include: "workflow/rules/codec.smk"
include: "workflow/rules/evaluation.smk"
include: "workflow/rules/report.smk"


localrules:
    all,
    fetch_source,
    downloaded_source,
    collect,
    tabulate,
    plot,


rule all:
    input:
        points=f"{RESULTS}/points.csv",
        table=f"{RESULTS}/tables/points.md",
        figures=FIGURES,


onstart:
    check_experiment(workflow.dag.needrun_jobs())
