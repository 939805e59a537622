"""Functions that a reader can hold in the head: few parameters, and not too many lines."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import boostnerv

PACKAGE = Path(boostnerv.__file__).parent
MOST_PARAMETERS = 6
MOST_LINES = 60
# A docstring that says whose arguments these are gives the reason for more.
REASON = re.compile(r"[Tt]akes the arguments of")

Function = ast.FunctionDef | ast.AsyncFunctionDef


def functions(*, verbs: bool) -> Iterator[tuple[str, Function]]:
    """Functions and methods of the package by ``file:name``; the verbs of the command line, whose flags are the
    interface, or all others."""
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, Function) and _is_verb(node) == verbs:
                yield f"{path.relative_to(PACKAGE)}:{node.name}", node


def _is_verb(function: Function) -> bool:
    return any(
        isinstance(decorator, ast.Call)
        and isinstance(decorator.func, ast.Attribute)
        and decorator.func.attr == "command"
        for decorator in function.decorator_list
    )


def parameters(function: Function) -> list[str]:
    names = [*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs]
    return [argument.arg for argument in names if argument.arg not in ("self", "cls")]


def test_no_function_has_more_than_six_parameters_without_a_reason() -> None:
    too_many = {
        name: len(parameters(function))
        for name, function in functions(verbs=False)
        if len(parameters(function)) > MOST_PARAMETERS and not REASON.search(ast.get_docstring(function) or "")
    }
    assert too_many == {}


def test_no_function_has_more_than_sixty_lines() -> None:
    too_long = {}
    for name, function in functions(verbs=False):
        assert function.end_lineno is not None
        lines = function.end_lineno - function.lineno + 1
        if lines > MOST_LINES:
            too_long[name] = lines
    assert too_long == {}


def test_verbs_are_thin() -> None:
    """After its flags and its help, a verb makes objects of the flags and calls a step."""
    lines = {name: verb.body[-1].end_lineno - verb.body[0].end_lineno for name, verb in functions(verbs=True)}
    assert len(lines) > 25
    assert {name: count for name, count in lines.items() if count > 40} == {}
