"""The recipes of images and of a conda environment agree with pyproject.toml, constraints.txt and the Makefile."""

from __future__ import annotations

import re
import shlex
import tomllib
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
PINS = {
    canonicalize_name(name): version
    for name, _, version in (line.partition("==") for line in (ROOT / "constraints.txt").read_text().splitlines())
    if version
}
TORCH = re.search(r"^TORCH \?= (\S+)$", (ROOT / "Makefile").read_text(), re.MULTILINE)[1]  # type: ignore[index]
EXTRAS = {"workflow", "report"}
RECIPES = ("containers/Dockerfile", "containers/boostnerv.def", "environment.yaml")


@dataclass(frozen=True)
class Recipe:
    """What a file installs: requirements are words of pip, `copied` paths of the checkout, None where all is there."""

    python: str
    requirements: tuple[str, ...]
    constraints: tuple[str, ...]
    copied: tuple[str, ...] | None = None
    base: str = ""
    arguments: tuple[tuple[str, str], ...] = ()
    labels: tuple[tuple[str, str], ...] = ()
    packages: tuple[str, ...] = ()


def instructions(dockerfile: str) -> list[tuple[str, str]]:
    """Instructions of a Dockerfile with their text, comments and continuations of lines taken out."""
    lines = [line for line in dockerfile.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    joined = "\n".join(lines).replace("\\\n", " ").splitlines()
    return [(name, text.strip()) for name, _, text in (line.partition(" ") for line in joined)]


def sections(definition: str) -> dict[str, list[str]]:
    """Lines of every section of an Apptainer definition; those of the header stand under no name."""
    found: dict[str, list[str]] = {"": []}
    section = ""
    for line in filter(None, map(str.strip, definition.splitlines())):
        if line.startswith("%"):
            section = line[1:]
            assert section not in found, f"section {section} stands twice"
            found[section] = []
        elif not line.startswith("#"):
            found[section].append(line)
    return found


def commands(script: str) -> list[list[str]]:
    """Words of every command of a shell script without conditions."""
    return [shlex.split(line) for line in re.split(r"&&|\n", script) if line.strip()]


def pip_words(words: list[str]) -> tuple[list[str], list[str]]:
    """Requirements and constraints files of the words of a `pip install`, or of a requirements file."""
    requirements, constraints = [], []
    rest = iter(words)
    for word in rest:
        if word in ("-c", "--constraint"):
            constraints.append(next(rest))
        elif word == "--index-url":
            next(rest)
        elif not word.startswith("-"):
            requirements.append(word)
    return requirements, constraints


def installed(script: str, arguments: dict[str, str]) -> tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]:
    """Requirements, constraints files and packages of Debian that a shell script installs."""
    requirements, constraints, packages = [], [], []
    for words in commands(script):
        if words[:2] == ["pip", "install"]:
            named, files = pip_words([_filled(word, arguments) for word in words[2:]])
            # The package on top of its requirements, which have their own line.
            requirements += [name for name in named if name != "."]
            constraints += files
        elif words[:2] == ["apt-get", "install"]:
            packages += pip_words(words[2:])[0]
    return tuple(requirements), tuple(constraints), tuple(packages)


def _filled(word: str, arguments: dict[str, str]) -> str:
    """The value of a word that is an argument of the build, as either file writes it."""
    found = re.fullmatch(r"\$(\w+)|{{ (\w+) }}", word)
    return arguments[found[1] or found[2]] if found else word


def read_dockerfile(text: str) -> Recipe:
    steps = instructions(text)

    def all_of(name: str) -> list[str]:
        return [value for instruction, value in steps if instruction == name]

    (base,) = all_of("FROM")
    arguments = dict(value.split("=", 1) for value in all_of("ARG"))
    requirements, constraints, packages = installed("\n".join(all_of("RUN")), arguments)
    return Recipe(
        python=_python_of(base),
        requirements=requirements,
        constraints=constraints,
        copied=tuple(source for value in all_of("COPY") for source in value.split()[:-1]),
        base=base,
        arguments=tuple(arguments.items()),
        labels=tuple((name, value) for name, value in (w.split("=", 1) for w in shlex.split(*all_of("LABEL")))),
        packages=packages,
    )


def read_definition(text: str) -> Recipe:
    parts = sections(text)
    header = dict(line.split(": ") for line in parts[""])
    assert header["Bootstrap"] == "docker"
    arguments = dict(line.split("=", 1) for line in parts["arguments"])
    requirements, constraints, packages = installed("\n".join(parts["post"]), arguments)
    return Recipe(
        python=_python_of(header["From"]),
        requirements=requirements,
        constraints=constraints,
        copied=tuple(line.split()[0] for line in parts["files"]),
        base=header["From"],
        arguments=tuple(arguments.items()),
        labels=tuple((name, value) for name, value in (line.split(" ", 1) for line in parts["labels"])),
        packages=packages,
    )


def read_conda(text: str) -> Recipe:
    content = yaml.safe_load(text)
    assert content["channels"] == ["conda-forge", "nodefaults"]
    named = [entry for entry in content["dependencies"] if isinstance(entry, str)]
    (pip,) = (entry["pip"] for entry in content["dependencies"] if isinstance(entry, dict))
    (python,) = (entry.partition("=")[2] for entry in named if entry.startswith("python="))
    requirements, constraints = pip_words([word for line in pip for word in shlex.split(line)])
    packages = tuple(name for name in named if name not in ("pip", f"python={python}"))
    return Recipe(python, tuple(requirements), tuple(constraints), packages=packages)


def _python_of(image: str) -> str:
    found = re.fullmatch(r"python:(\d+\.\d+\.\d+)-slim-\w+", image)
    assert found, f"{image} is no version of the slim image of Python"
    return found[1]


READERS = dict(zip(RECIPES, (read_dockerfile, read_definition, read_conda), strict=True))


def recipe(path: str) -> Recipe:
    return READERS[path]((ROOT / path).read_text())


def disagreements(found: Recipe) -> list[str]:
    """What a recipe does otherwise than pyproject.toml, constraints.txt and the Makefile."""
    problems = []
    if not SpecifierSet(PROJECT["requires-python"]).contains(found.python):
        problems.append(f"Python {found.python}, not {PROJECT['requires-python']}")
    if found.constraints != ("constraints.txt",):
        problems.append(f"constraints {found.constraints}")
    torch = [word for word in found.requirements if word.startswith("torch")]
    if torch != [TORCH]:
        problems.append(f"torch {torch}, not {TORCH}")
    package = [word for word in found.requirements if word.startswith(".")]
    extras = [set(re.findall(r"[\w-]+", word)) for word in package]
    if extras != [EXTRAS] or EXTRAS - set(PROJECT["optional-dependencies"]):
        problems.append(f"the package as {package}, not with {sorted(EXTRAS)}")
    for word in set(found.requirements) - set(torch) - set(package):
        name, _, version = word.partition("==")
        if PINS.get(canonicalize_name(name)) != version:
            problems.append(f"{word}, constraints.txt has {PINS.get(canonicalize_name(name))}")
    needed = {"pyproject.toml", "constraints.txt", PROJECT["readme"], *PROJECT["license-files"], "boostnerv"}
    if found.copied is not None and set(found.copied) != needed:
        problems.append(f"copies {sorted(found.copied)}, not {sorted(needed)}")
    if found.labels and dict(found.labels)["org.opencontainers.image.version"] != PROJECT["version"]:
        problems.append(f"version {dict(found.labels)['org.opencontainers.image.version']}, not {PROJECT['version']}")
    if "git" not in found.packages:
        problems.append("no git")
    return problems


@pytest.mark.parametrize("path", RECIPES)
def test_a_recipe_agrees_with_the_project(path: str) -> None:
    found = recipe(path)
    assert disagreements(found) == []
    assert len(found.requirements) == 2


@pytest.mark.parametrize("path", RECIPES)
@pytest.mark.parametrize(
    ("old", "new", "word"),
    [
        (TORCH, "torch==2.12.0", "torch"),
        ("[workflow,report]", "[workflow]", "package"),
        ("[workflow,report]", "[workflow,report]' 'numpy==2.0.0", "numpy==2.0.0"),
        ("-c constraints.txt", "", "constraints"),
        ("-c constraints.txt", "-c others.txt", "others.txt"),
        ("3.11", "3.10", "Python 3.10"),
    ],
)
def test_a_difference_is_seen(path: str, old: str, new: str, word: str) -> None:
    text = (ROOT / path).read_text()
    if path == "environment.yaml":
        new = new.replace("' '", "\n      - ")
        old, new = (old, new) if new else ("      - -c constraints.txt\n", "")
    assert old in text
    assert any(word in problem for problem in disagreements(READERS[path](text.replace(old, new))))


def test_the_two_images_are_the_same() -> None:
    docker, apptainer = (recipe(path) for path in RECIPES[:2])
    assert docker.arguments == (("TORCH", TORCH), ("TORCH_INDEX", "https://download.pytorch.org/whl/cpu"))
    assert replace(docker, copied=None) == replace(apptainer, copied=None)
    assert sorted(docker.copied or ()) == sorted(apptainer.copied or ())


def test_the_context_holds_what_is_copied_and_nothing_else() -> None:
    patterns = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if not line.startswith("#")]
    assert patterns[0] == "*"
    let_in = {pattern[1:] for pattern in patterns if pattern.startswith("!")}
    assert let_in == set(recipe(RECIPES[0]).copied or ())
    assert all((ROOT / name).exists() for name in let_in)


def test_the_snakefile_names_the_image_that_the_definition_makes() -> None:
    (image,) = re.findall(r'^container: "(.*)"$', (ROOT / "Snakefile").read_text(), re.MULTILINE)
    assert f"apptainer build {image} containers/boostnerv.def" in (ROOT / RECIPES[1]).read_text()
    assert "/containers/*.sif" in (ROOT / ".gitignore").read_text().splitlines()


@pytest.mark.parametrize("extra", [None, *sorted(EXTRAS)])
def test_every_requirement_is_pinned_to_a_version_that_it_allows(extra: str | None) -> None:
    """torch is chosen by TORCH."""
    named = PROJECT["dependencies"] if extra is None else PROJECT["optional-dependencies"][extra]
    for requirement in map(Requirement, named):
        version = TORCH.partition("==")[2] if requirement.name == "torch" else PINS[canonicalize_name(requirement.name)]
        assert requirement.specifier.contains(version), requirement


def test_no_recipe_has_a_secret_or_fetches_a_script() -> None:
    for path in RECIPES:
        assert not re.search(r"curl|wget|token|password|secret", (ROOT / path).read_text(), re.IGNORECASE)
