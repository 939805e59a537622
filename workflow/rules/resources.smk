# What the machine of a job is told beside the resources of each rule (`boostnerv.workflow.resources`).
import signal

# Jobs of the cluster get the variable from here, wherever they run.
if PLAN.cluster.scratch:
    os.environ.update(BOOSTNERV_SCRATCH=PLAN.cluster.scratch)
# SLURM signals all processes of a job that nears its limit. A training saves and ends; those around it wait for that.
if not workflow.is_main_process:
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
