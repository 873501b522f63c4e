"""A script that srun starts: it takes its place from SLURM_*, and rank 0 names the first node."""
import os

place = {name: os.environ[name] for name in ("SLURM_PROCID", "SLURM_NTASKS", "SLURM_LOCALID",
                                             "SLURM_NODEID", "SLURM_NNODES", "SLURM_JOB_ID")}
assert place["SLURM_JOB_ID"].isdigit(), place
print("task {SLURM_PROCID} of {SLURM_NTASKS}, local {SLURM_LOCALID}, node {SLURM_NODEID} of "
      "{SLURM_NNODES}".format(**place))
