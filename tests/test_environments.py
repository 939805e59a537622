"""The recipes of images and of a conda environment agree with pyproject.toml, constraints.txt and the Makefile."""

from __future__ import annotations

import re
import shlex
import tomllib
from dataclasses import dataclass, replace
from importlib import metadata
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
IMAGES = RECIPES[:2]
LOCKS = ("containers/requirements.txt", "containers/torch-cpu.txt", "containers/torch-cuda.txt")
IMAGE_MARKERS = {
    "python_version": "3.11",
    "python_full_version": "3.11.13",
    "sys_platform": "linux",
    "platform_system": "Linux",
    "platform_machine": "x86_64",
}
# What only the builds of torch for GPUs need; torch says the versions.
OF_CUDA = re.compile(r"nvidia-|cuda-|triton$")


@dataclass(frozen=True)
class Recipe:
    """What a file installs: requirements are words of pip, `copied` paths of the checkout, None where all is there."""

    python: str
    requirements: tuple[str, ...]
    constraints: tuple[str, ...] = ()
    locks: tuple[str, ...] = ()
    unchecked: tuple[str, ...] = ()  # commands that may fetch files of any hash
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


def pip_words(words: list[str]) -> tuple[list[str], list[str], list[str]]:
    """Requirements, constraints and requirements files of the words of a `pip install`, or of a requirements file."""
    requirements, constraints, locks = [], [], []
    rest = iter(words)
    for word in rest:
        if word in ("-c", "--constraint"):
            constraints.append(next(rest))
        elif word in ("-r", "--requirement"):
            locks.append(next(rest))
        elif word == "--extra-index-url":
            next(rest)
        elif not word.startswith("-"):
            requirements.append(word)
    return requirements, constraints, locks


def installed(script: str, arguments: dict[str, str]) -> dict[str, tuple[str, ...]]:
    """What a shell script installs, as fields of a recipe."""
    found: dict[str, list[str]] = {key: [] for key in ("requirements", "constraints", "locks", "unchecked", "packages")}
    for words in commands(_filled(script, arguments)):
        if words[:2] == ["pip", "install"]:
            parts = pip_words(words[2:])
            for key, part in zip(("requirements", "constraints", "locks"), parts, strict=True):
                found[key] += part
            fetches_nothing = {"--no-deps", "--no-build-isolation"} <= set(words) and all(
                name.startswith(".") for name in parts[0]
            )
            if "--require-hashes" not in words and not fetches_nothing:
                found["unchecked"].append(" ".join(words))
        elif words[:2] == ["apt-get", "install"]:
            found["packages"] += pip_words(words[2:])[0]
    return {key: tuple(values) for key, values in found.items()}


def _filled(script: str, arguments: dict[str, str]) -> str:
    """A script with the values of arguments of the build, as either file writes them, and whole lines."""
    whole = script.replace("\\\n", " ")
    return re.sub(r"\$(\w+)|{{ (\w+) }}", lambda found: arguments[found[1] or found[2]], whole)


def read_dockerfile(text: str) -> Recipe:
    steps = instructions(text)

    def all_of(name: str) -> list[str]:
        return [value for instruction, value in steps if instruction == name]

    (base,) = all_of("FROM")
    arguments = dict(value.split("=", 1) for value in all_of("ARG"))
    return Recipe(
        python=_python_of(base),
        **installed("\n".join(all_of("RUN")), arguments),
        copied=tuple(source for value in all_of("COPY") for source in value.split()[:-1]),
        base=base,
        arguments=tuple(arguments.items()),
        labels=tuple((name, value) for name, value in (w.split("=", 1) for w in shlex.split(*all_of("LABEL")))),
    )


def read_definition(text: str) -> Recipe:
    parts = sections(text)
    header = dict(line.split(": ") for line in parts[""])
    assert header["Bootstrap"] == "docker"
    arguments = dict(line.split("=", 1) for line in parts["arguments"])
    return Recipe(
        python=_python_of(header["From"]),
        **installed("\n".join(parts["post"]), arguments),
        copied=tuple(line.split()[0] for line in parts["files"]),
        base=header["From"],
        arguments=tuple(arguments.items()),
        labels=tuple((name, value) for name, value in (line.split(" ", 1) for line in parts["labels"])),
    )


def read_conda(text: str) -> Recipe:
    content = yaml.safe_load(text)
    assert content["channels"] == ["conda-forge", "nodefaults"]
    named = [entry for entry in content["dependencies"] if isinstance(entry, str)]
    (pip,) = (entry["pip"] for entry in content["dependencies"] if isinstance(entry, dict))
    (python,) = (entry.partition("=")[2] for entry in named if entry.startswith("python="))
    requirements, constraints, _ = pip_words([word for line in pip for word in shlex.split(line)])
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
    image = found.copied is not None
    if (found.constraints, found.locks) != (((), (LOCKS[1], LOCKS[0])) if image else (("constraints.txt",), ())):
        problems.append(f"constraints {found.constraints}, requirements {found.locks}")
    problems += [f"without hashes: {command}" for command in found.unchecked]
    torch = [word for word in found.requirements if word.startswith("torch")]
    if torch != ([] if image else [TORCH]):
        problems.append(f"torch {torch}, not {TORCH}")
    package = [word for word in found.requirements if word.startswith(".")]
    extras = [set(re.findall(r"[\w-]+", word)) for word in package]
    if extras != [EXTRAS] or EXTRAS - set(PROJECT["optional-dependencies"]):
        problems.append(f"the package as {package}, not with {sorted(EXTRAS)}")
    for word in set(found.requirements) - set(torch) - set(package):
        name, _, version = word.partition("==")
        if PINS.get(canonicalize_name(name)) != version:
            problems.append(f"{word}, constraints.txt has {PINS.get(canonicalize_name(name))}")
    needed = {*LOCKS, "pyproject.toml", PROJECT["readme"], *PROJECT["license-files"], "boostnerv"}
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
    assert len(found.requirements) == (1 if path in IMAGES else 2)


@pytest.mark.parametrize("path", IMAGES)
@pytest.mark.parametrize(
    ("old", "new", "word"),
    [
        ("[workflow,report]", "[workflow]", "package"),
        ("[workflow,report]", "[workflow,report]' 'numpy==2.0.0", "numpy==2.0.0"),
        ("--require-hashes", "", "without hashes: pip install --no-deps"),
        ("--no-build-isolation '.", "'.", "without hashes: pip install --no-deps .[workflow,report]"),
        ("-r containers/requirements.txt", "", "requirements"),
        ("containers/requirements.txt", "constraints.txt", "constraints.txt"),
        ("3.11", "3.10", "Python 3.10"),
    ],
)
def test_a_difference_of_an_image_is_seen(path: str, old: str, new: str, word: str) -> None:
    text = (ROOT / path).read_text()
    assert old in text
    assert any(word in problem for problem in disagreements(READERS[path](text.replace(old, new))))


@pytest.mark.parametrize(
    ("old", "new", "word"),
    [
        (TORCH, "torch==2.12.0", "torch"),
        ("[workflow,report]", "[workflow]", "package"),
        ("[workflow,report]", "[workflow,report]\n      - numpy==2.0.0", "numpy==2.0.0"),
        ("      - -c constraints.txt\n", "", "constraints"),
        ("-c constraints.txt", "-c others.txt", "others.txt"),
        ("3.11", "3.10", "Python 3.10"),
    ],
)
def test_a_difference_of_the_conda_environment_is_seen(old: str, new: str, word: str) -> None:
    text = (ROOT / "environment.yaml").read_text()
    assert old in text
    assert any(word in problem for problem in disagreements(read_conda(text.replace(old, new))))


def locked(path: str) -> dict[str, tuple[str, list[str]]]:
    """Package → version and SHA-256 digests, of a requirements file with hashes."""
    lines = re.sub(r"^#.*\n", "", (ROOT / path).read_text(), flags=re.MULTILINE).replace("\\\n", " ").splitlines()
    found = {}
    for line in lines:
        requirement, *hashes = line.split()
        name, _, version = requirement.partition("==")
        assert re.fullmatch(r"[\w.+!-]+", version), line
        digests = [re.fullmatch(r"--hash=sha256:([0-9a-f]{64})", word) for word in hashes]
        assert digests, line
        assert all(digests), line
        assert name not in found
        found[canonicalize_name(name)] = (version, [digest[1] for digest in digests if digest])
    return found


@pytest.mark.parametrize("path", LOCKS)
def test_locked_versions_are_the_pinned_ones(path: str) -> None:
    versions = {name: version for name, (version, _) in locked(path).items()}
    torch = versions.pop("torch", None)
    build = {"containers/torch-cpu.txt": f"{TORCH}+cpu", "containers/torch-cuda.txt": TORCH}.get(path)
    assert torch == (build.removeprefix("torch==") if build else None)
    others = {name: version for name, version in versions.items() if not OF_CUDA.match(name)}
    assert others == {name: PINS[name] for name in others}
    assert (len(others) < len(versions)) == (path == "containers/torch-cuda.txt")


def test_all_that_images_need_is_locked() -> None:
    """What the package and its extras name, what that needs in turn, and what builds the package."""
    names = set(locked("containers/requirements.txt")) | set(locked("containers/torch-cpu.txt"))
    needed = [*PROJECT["dependencies"], *(name for extra in EXTRAS for name in PROJECT["optional-dependencies"][extra])]
    left = {Requirement(requirement) for requirement in [*needed, "setuptools"]}
    seen: set[tuple[str, frozenset[str]]] = set()
    while left:
        requirement = left.pop()
        key = (canonicalize_name(requirement.name), frozenset(requirement.extras))
        if key in seen or OF_CUDA.match(key[0]):
            continue
        seen.add(key)
        assert key[0] in names, requirement
        left |= _requirements_of(requirement)
    assert {name for name, _ in seen} == names


def _requirements_of(requirement: Requirement) -> set[Requirement]:
    """What an installed package with these extras needs here."""
    listed = map(Requirement, metadata.requires(requirement.name) or [])
    extras = [{"extra": extra} for extra in requirement.extras] or [{"extra": ""}]
    environments = [IMAGE_MARKERS | extra for extra in extras]
    return {each for each in listed if each.marker is None or any(map(each.marker.evaluate, environments))}


@pytest.mark.parametrize(
    "damage",
    ["numpy==2.0.0", "numpy==2.0.0 \\\n    --hash=md5:00", "numpy>=2 \\\n    --hash=sha256:" + 64 * "0"],
)
def test_a_requirement_without_a_hash_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: str) -> None:
    (tmp_path / "lock.txt").write_text(f"{damage}\n")
    monkeypatch.setattr("tests.test_environments.ROOT", tmp_path)
    with pytest.raises(AssertionError):
        locked("lock.txt")


def test_the_two_images_are_the_same() -> None:
    docker, apptainer = (recipe(path) for path in IMAGES)
    assert docker.arguments == (("BUILD", "cpu"),)
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
