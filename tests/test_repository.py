"""What lies around the code agrees with it: metadata, workflows, issue forms, links."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator
from typer.testing import CliRunner

from spec_local.cli.app import app
from spec_local.util.records import read_toml
from tests.documents import ROOT, blocks

PROJECT = read_toml(ROOT / "pyproject.toml")
GITHUB = ROOT / ".github"
FORMS = sorted(
    set((GITHUB / "ISSUE_TEMPLATE").glob("*.yml")) - {GITHUB / "ISSUE_TEMPLATE/config.yml"}
)
WORKFLOWS = sorted((GITHUB / "workflows").glob("*.yml"))
CHECKS = ("ruff check .", "ruff format --check .", "mypy spec_local scripts tests", "lint-imports")


def load(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def steps(workflow: Any) -> Iterator[dict[str, Any]]:
    for job in workflow["jobs"].values():
        yield from job.get("steps", ())


def commands(workflow: Any) -> Iterator[str]:
    for step in steps(workflow):
        yield from filter(None, map(str.strip, step.get("run", "").splitlines()))


def test_what_installs_without_llama_is_all_but_llama() -> None:
    project = PROJECT["project"]
    everything = {*project["dependencies"], *project["optional-dependencies"]["test"]}
    llama = {each for each in everything if each.startswith("llama-cpp-python")}
    assert len(llama) == 1
    assert set(PROJECT["dependency-groups"]["without-llama"]) == everything - llama


def test_python_versions_agree() -> None:
    found = [re.fullmatch(r".* :: (3\.\d+)", each) for each in PROJECT["project"]["classifiers"]]
    versions = [each[1] for each in found if each]
    assert PROJECT["project"]["requires-python"] == f">={versions[0]}"
    assert PROJECT["tool"]["ruff"]["target-version"] == "py" + versions[0].replace(".", "")
    jobs = load(GITHUB / "workflows" / "ci.yml")["jobs"]
    matrices = {name: jobs[name]["strategy"]["matrix"] for name in ("numpy", "tests")}
    assert jobs["checks"]["strategy"]["matrix"]["python"] == [versions[0], versions[-1]]
    for matrix in matrices.values():
        assert matrix["python"] == versions
        assert {each.split("-")[0] for each in matrix["os"]} == {"ubuntu", "macos"}


def test_one_address_for_the_repository() -> None:
    (home,) = {"/".join(url.split("/")[:5]) for url in PROJECT["project"]["urls"].values()}
    texts = [*ROOT.glob("*.md"), *GITHUB.rglob("*.yml")]
    used = {
        address
        for text in texts
        for address in re.findall(r"https://github\.com/[\w-]*/spec-local", text.read_text())
    }
    assert used == {home}


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_workflows_name_what_exists(path: Path) -> None:
    workflow = load(path)
    jobs = workflow["jobs"]
    for job in jobs.values():
        needs = job.get("needs", [])
        assert set([needs] if isinstance(needs, str) else needs) <= set(jobs)
        assert ("uses" in job) != ("steps" in job)
        assert "uses" not in job or (ROOT / job["uses"]).is_file()
        assert "steps" not in job or job["timeout-minutes"] <= 60
    for step in steps(workflow):
        assert ("uses" in step) != ("run" in step)
        assert "uses" not in step or re.fullmatch(r"[\w-]+/[\w-]+@(release/)?v\d+", step["uses"])
    text = path.read_text()
    created = set(re.findall(r"> (\S+)", text))
    for name in re.findall(r"""[\w./-]+\.(?:toml|py|txt|md)\b""", text):
        assert name in created or (ROOT / name).is_file(), name
    for extra in re.findall(r"\.\[(\w+)\]", text):
        assert extra in PROJECT["project"]["optional-dependencies"]
    for group in re.findall(r"--group (\S+)", text):
        assert group in PROJECT["dependency-groups"]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_workflows_may_read_and_one_job_may_publish(path: Path) -> None:
    workflow = load(path)
    assert workflow["permissions"] == {"contents": "read"}
    special = {
        name: job["permissions"] for name, job in workflow["jobs"].items() if "permissions" in job
    }
    assert special == ({"publish": {"id-token": "write"}} if path.name == "release.yml" else {})


def test_ci_runs_every_test_once() -> None:
    markers = [
        shlex.split(line)[-1]
        for line in commands(load(GITHUB / "workflows" / "ci.yml"))
        if line.startswith("pytest")
    ]
    assert sorted(markers) == ["llama or model", "not llama and not model"]


def test_the_checks_are_the_same_everywhere() -> None:
    ci = set(commands(load(GITHUB / "workflows" / "ci.yml")))
    local = (ROOT / ".ci" / "run").read_text().replace(".venv/bin/", "").splitlines()
    page = " ".join(blocks(ROOT / "CONTRIBUTING.md", "sh"))
    template = (GITHUB / "pull_request_template.md").read_text()
    assert set(CHECKS) <= ci
    assert set(CHECKS) <= set(local)
    assert " && ".join(CHECKS) in page
    assert all(check in template for check in CHECKS)
    hooks = [
        hook for repo in load(ROOT / ".pre-commit-config.yaml")["repos"] for hook in repo["hooks"]
    ]
    entries = {hook.get("entry", "") for hook in hooks}
    for check in CHECKS:
        words = " ".join(word for word in check.split() if word not in (".", "--check"))
        assert any(entry.startswith(words) for entry in entries), check


def test_contributors_install_what_ci_installs() -> None:
    page = " ".join(blocks(ROOT / "CONTRIBUTING.md", "sh"))
    for line in commands(load(GITHUB / "workflows" / "ci.yml")):
        if line.startswith("pip install") and "wheels/" not in line:
            assert line in page


TEXT = {"type": "string", "minLength": 1}
ATTRIBUTES: dict[str, tuple[list[str], list[str]]] = {
    "markdown": (["value"], []),
    "input": (["label"], ["description", "placeholder", "value"]),
    "textarea": (["label"], ["description", "placeholder", "value", "render"]),
    "dropdown": (["label", "options"], ["description", "multiple", "default"]),
    "checkboxes": (["label", "options"], ["description"]),
}
"""Attributes that GitHub's syntax for issue forms knows, by kind of element: needed, optional."""


def record(properties: dict[str, Any], required: Iterable[str] = ()) -> dict[str, Any]:
    """The schema of an object with these properties and no others."""
    return {
        "type": "object",
        "properties": properties,
        "required": list(required),
        "additionalProperties": False,
    }


def element(kind: str) -> dict[str, Any]:
    """The schema of one kind of element in a form's body."""
    required, optional = ATTRIBUTES[kind]
    option = TEXT if kind == "dropdown" else {"type": "object", "required": ["label"]}
    special = {
        "options": {"type": "array", "minItems": 1, "uniqueItems": True, "items": option},
        "multiple": {"type": "boolean"},
        "default": {"type": "integer"},
    }
    attributes = {name: special.get(name, TEXT) for name in (*required, *optional)}
    properties = {"type": {"const": kind}, "attributes": record(attributes, required)}
    if kind != "markdown":
        properties["id"] = {"type": "string", "pattern": "^[A-Za-z0-9_-]+$"}
        properties["validations"] = record({"required": {"type": "boolean"}})
    return record(properties, ["type", "attributes"])


FORM = record(
    {
        "name": TEXT,
        "description": TEXT,
        "title": TEXT,
        "labels": {"type": "array", "items": TEXT},
        "body": {
            "type": "array",
            "items": {"oneOf": [element(kind) for kind in ATTRIBUTES]},
            "contains": {"not": {"properties": {"type": {"const": "markdown"}}}},
        },
    },
    ["name", "description", "body"],
)


def test_there_are_forms() -> None:
    assert {path.stem for path in FORMS} == {"slow", "different-text", "crash"}
    config = load(GITHUB / "ISSUE_TEMPLATE" / "config.yml")
    assert set(config) == {"blank_issues_enabled", "contact_links"}
    assert all(set(link) == {"name", "url", "about"} for link in config["contact_links"])


@pytest.mark.parametrize("path", FORMS, ids=lambda path: path.stem)
def test_forms_are_as_github_wants_them(path: Path) -> None:
    form = load(path)
    assert [error.message for error in Draft202012Validator(FORM).iter_errors(form)] == []
    asked = [each for each in form["body"] if each["type"] != "markdown"]
    for values in ([each["id"] for each in asked], [each["attributes"]["label"] for each in asked]):
        assert len(set(values)) == len(values)


@pytest.mark.parametrize(
    "damage", [{"body": []}, {"name": ""}, {"colour": "red"}, {"body": [{"type": "input"}]}]
)
def test_a_damaged_form_is_found(damage: dict[str, Any]) -> None:
    form = {**load(FORMS[0]), **damage}
    assert not Draft202012Validator(FORM).is_valid(form)


@pytest.mark.parametrize("path", FORMS, ids=lambda path: path.stem)
def test_forms_ask_for_commands_that_exist(path: Path) -> None:
    texts = [text for each in load(path)["body"] for text in each["attributes"].values()]
    whole = " ".join(" ".join(map(str, texts)).split())
    found = re.findall(r"`(spec-local [^`]+)`", whole)
    assert found
    for command in found:
        done = CliRunner().invoke(app, [*shlex.split(command)[1:], "--help"])
        assert done.exit_code == 0, done.output


@pytest.mark.parametrize(
    "page", [*ROOT.glob("*.md"), *ROOT.glob("examples/*.md")], ids=lambda path: path.name
)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text(encoding="utf-8")):
        assert target.startswith("https://") or (page.parent / target).exists(), target
