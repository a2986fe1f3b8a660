"""The workflows of GitHub run what the Makefile has, on the Python versions that are declared."""

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

ROOT = Path(__file__).resolve().parent.parent
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
FORMS = sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("[!c]*.yml"))
SCHEMAS = {
    ".github/dependabot.yml": "dependabot",
    ".github/ISSUE_TEMPLATE/config.yml": "github-issue-config",
    **{path.relative_to(ROOT).as_posix(): "github-workflows" for path in WORKFLOWS},
    **{path.relative_to(ROOT).as_posix(): "github-issue-forms" for path in FORMS},
}


def jobs() -> Iterator[tuple[str, dict[str, Any]]]:
    for path in WORKFLOWS:
        for name, job in yaml.safe_load(path.read_text(encoding="utf-8"))["jobs"].items():
            yield f"{path.stem}:{name}", job


def steps() -> Iterator[dict[str, Any]]:
    for _, job in jobs():
        yield from job["steps"]


def classified_versions() -> set[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    found = (re.fullmatch(r".* :: (3\.\d+)", text) for text in project["classifiers"])
    return {match[1] for match in found if match}


@pytest.mark.parametrize("document", SCHEMAS)
def test_a_document_has_the_schema_of_its_kind(document: str) -> None:
    import check_jsonschema  # compiles grammars for seconds, which only this test needs

    options = ["--builtin-schema", f"vendor.{SCHEMAS[document]}", str(ROOT / document)]

    done = CliRunner().invoke(check_jsonschema.main, options)

    assert done.exit_code == 0, done.output


def test_every_command_of_a_step_is_a_target_of_the_makefile() -> None:
    commands = [line for step in steps() for line in step.get("run", "").splitlines()]
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):.*## ", makefile, re.MULTILINE))

    assert commands
    assert [
        line for line in commands if not re.fullmatch(r"make [a-z-]+( [A-Z_]+=\S+)*", line)
    ] == []
    assert {line.split()[1] for line in commands} <= targets


def test_the_tests_run_on_each_declared_version_of_python() -> None:
    matrix = dict(jobs())["ci:tests"]["strategy"]["matrix"]

    assert set(matrix["python"]) == classified_versions()
    versions = {step["with"]["python-version"] for step in steps() if "with" in step
                if "python-version" in step["with"]}  # fmt: skip
    assert versions - {"${{ matrix.python }}"} <= classified_versions()


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.name)
def test_a_workflow_may_only_read_the_repository(workflow: Path) -> None:
    content = yaml.safe_load(workflow.read_text(encoding="utf-8"))

    assert content["permissions"] == {"contents": "read"}
    assert "concurrency" in content


def test_every_job_ends_and_runs_on_a_named_system() -> None:
    for name, job in jobs():
        assert job["timeout-minutes"] <= 120, name
        assert re.fullmatch(r"[a-z]+-\d+\.\d+", job["runs-on"]), name


def test_every_action_has_a_version() -> None:
    used = [step["uses"] for step in steps() if "uses" in step]

    assert used
    assert [name for name in used if not re.fullmatch(r"[\w./-]+@(v\d+|[0-9a-f]{40})", name)] == []


def test_tests_with_servers_have_them_installed_and_required() -> None:
    for name, job in jobs():
        runs = [step.get("run") for step in job["steps"]]
        if {"make test", "make test-all", "make coverage", "make first-steps"} & {*runs}:
            assert "make services" in runs, name
            assert job["env"]["REQUIRE_SERVICES"] == "1", name
