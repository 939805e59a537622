"""The names of Snakemake that are used and are no public interface: this says which of them a new version lacks."""

from __future__ import annotations

import inspect

import pytest
import snakemake.api  # noqa: F401 - first, as the modules of Snakemake import each other
from snakemake.dag import DAG
from snakemake.io import contains_wildcard
from snakemake.jobs import Job, Reason
from snakemake.rules import Rule
from snakemake.workflow import Workflow


@pytest.mark.parametrize("name", ["needrun_jobs", "needrun", "job_dependencies", "reason"])
def test_the_plan_has(name: str) -> None:
    assert callable(getattr(DAG, name))


@pytest.mark.parametrize("name", ["is_local", "wildcards_dict", "attempt", "input", "output", "wildcards", "rule"])
def test_jobs_have(name: str) -> None:
    assert name in (*dir(Job), *getattr(Job, "__slots__", ()))


@pytest.mark.parametrize("name", ["derived", "forced"])
def test_reasons_have(name: str) -> None:
    assert hasattr(Reason(), name)


def test_resources_of_a_rule_are_expanded_with_wildcards_input_and_attempt() -> None:
    assert list(inspect.signature(Rule.expand_resources).parameters)[1:4] == ["wildcards", "input", "attempt"]


@pytest.mark.parametrize("name", ["is_main_process", "dag", "executor_plugin", "output_settings", "basedir"])
def test_the_workflow_has(name: str) -> None:
    fields = {*dir(Workflow), *getattr(Workflow, "__annotations__", {})}
    assert name in fields or f"self.{name}" in inspect.getsource(Workflow)


def test_wildcards_in_names_are_found() -> None:
    assert contains_wildcard("a/{b}.png")
    assert not contains_wildcard("a/b.png")
