# What is checked once, in the process that people start: the folder when the workflow is parsed, the experiment and the
# cluster before the first job. A dry run checks neither, so that it works anywhere.
from boostnerv.operations.cluster import check_cluster
from boostnerv.operations.work_folder import begin_run, end_run
from boostnerv.workflow import checks

if workflow.is_main_process and not workflow.output_settings.dryrun:
    try:
        checks.check_folder(PLAN, sys.argv[1:])
    except UserError as error:
        end(error)


def begin(dag):
    """Before the first job of `dag`: what can never work ends the run here."""
    jobs = list(dag.needrun_jobs())
    executor = workflow.executor_plugin.name
    begin_run(Path(), EXPERIMENT.name, sys.argv[1:], executor)
    # Not in onsuccess and onerror: Snakemake calls neither where it fails itself, and lets go of its lock after both.
    atexit.register(end_run, Path().absolute(), EXPERIMENT.name)
    try:
        if executor == "slurm":
            check_cluster(checks.requests(PLAN, RESOURCES, jobs))
        checks.check_frames(dag)
        checks.check_experiment(PLAN, jobs)
    except UserError as error:
        end(error)
