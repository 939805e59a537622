"""Snakemake's logger plugin ``boostnerv``, found by this module's name in a folder of the import path."""

from boostnerv.workflow.console import LogHandler

__all__ = ["LogHandler"]
