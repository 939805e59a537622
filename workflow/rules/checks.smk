# What is checked once, in the process that people start: the folder when the workflow is parsed, the experiment and the
# cluster before the first job. A dry run checks neither, so that it works anywhere.
from boostnerv.operations.cluster import Request, check_cluster
from boostnerv.operations.work_folder import begin_run, dvc_link_problem, end_run, find_lock, snakemake_command

# Calls of Snakemake that run no job, though nothing in `workflow` says so while it is parsed.
LOOKING = {
    *("--archive", "--cleanup-metadata", "--containerize", "--d3dag", "--dag", "--detailed-summary", "-D"),
    *("--filegraph", "--generate-unit-tests", "--lint", "--list", "-l", "--list-rules", "--list-target-rules"),
    *("--report", "--rulegraph", "--summary", "-S", "--unlock"),
}


def check_folder():
    """Before a run: links that it would write through, a lock that another run holds or left."""
    options = {argument.partition("=")[0] for argument in sys.argv[1:]}
    if not workflow.is_main_process or workflow.output_settings.dryrun or options & LOOKING:
        return
    problem = dvc_link_problem(Path())
    if problem:
        end(problem)
    lock = find_lock(Path(), [f"{RESULTS}/", *(FRAMES.format(video=video) + "." for video in VIDEOS)])
    if lock and "--nolock" not in options:
        end(lock.sentence(snakemake_command(sys.argv[1:])))


check_folder()


def begin(dag):
    """Before the first job of `dag`: what can never work ends the run here."""
    planned = list(dag.needrun_jobs())
    executor = workflow.executor_plugin.name
    begin_run(Path(), EXPERIMENT.name, sys.argv[1:], executor)
    # Not in onsuccess and onerror: Snakemake calls neither where it fails itself, and lets go of its lock after both.
    atexit.register(end_run, Path().absolute(), EXPERIMENT.name)
    try:
        if executor == "slurm":
            check_cluster(map(requested, one_of_a_kind(planned)))
        check_frames(dag)
        check_experiment(planned)
    except UserError as error:
        end(error)


def one_of_a_kind(planned):
    """Of the jobs that are sent away one for each rule, run and size of video: others ask for the same. Snakemake needs
    some milliseconds to tell what a job asks for, which adds up over thousands."""
    shapes, kinds = {}, {}
    for job in planned:
        if not job.is_local:
            names = job.wildcards_dict
            video = names.get("video")
            if video and video not in shapes:
                shapes[video] = shape(job.wildcards)
            kinds.setdefault((job.rule.name, names.get("run"), shapes.get(video)), job)
    return kinds.values()


def requested(job):
    """What a job asks of the cluster; memory and time are left out where only frames that are not there yet will tell
    them."""
    # Not `job.resources`, which keeps what it finds now.
    asks = job.rule.expand_resources(job.wildcards, job.input, job.attempt)
    told = job.rule.name in ("extract_frames", "extract_planes") or is_known(
        job.wildcards_dict.get("video", ALL_VIDEOS)
    )
    whole = {name: asks.get(name) for name in ("mem_mb", "runtime") if told and isinstance(asks.get(name), int)}
    wants_gpus = not {"gpu", "gres", "gpu_model"}.isdisjoint(asks.keys())
    count = gpus_of_training(job.wildcards) if "run" in job.wildcards_dict else 1
    return Request(
        job.rule.name,
        partition=asks.get("slurm_partition"),
        gpus=count if wants_gpus else 0,
        gpu_model=asks.get("gpu_model") or (CLUSTER.gpu_model if wants_gpus else None),
        mem_mb=whole.get("mem_mb"),
        runtime_min=whole.get("runtime"),
    )
