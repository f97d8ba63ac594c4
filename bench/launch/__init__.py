"""Unfinished runs → this process, a pool of subprocesses, or Slurm: `bench.launch.start` chooses."""
