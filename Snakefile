# The workflow, as a table of contents. An experiment is one file: snakemake --profile profiles/local
# --configfile config/NAME.yaml. Without --configfile it is config/demo.yaml.
from snakemake.utils import min_version

min_version("9.9")


# An image of your own making, taken only with --software-deployment-method apptainer: docs/workflow.md.
container: "containers/boostnerv.sif"


report: "workflow/report/workflow.rst"


include: "workflow/rules/common.smk"
include: "workflow/rules/resources.smk"
include: "workflow/rules/checks.smk"
include: "workflow/rules/video.smk"
include: "workflow/rules/training.smk"
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
    page,


rule all:
    input:
        points=f"{RESULTS}/points.csv",
        table=f"{RESULTS}/tables/points.md",
        metrics=f"{RESULTS}/metrics.json",
        figures=PLAN.wanted_figures,
        page=f"{RESULTS}/report/index.html",


onstart:
    begin(workflow.dag)


onsuccess:
    # What finished trainings keep for a workflow that is killed (see docs/design.md).
    forget_finished(Path(RESULTS))
