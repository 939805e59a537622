"""What the Snakemake workflow plans from an experiment: names of files, inputs, resources, and checks before a run.

The rules in ``workflow/rules`` wire this to Snakemake and compute nothing.
"""
