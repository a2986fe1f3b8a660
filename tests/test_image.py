"""The container image prefers the torch of TORCH_INDEX, and asks the default index for the rest."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote
from zipfile import ZipFile

import pytest

ROOT = Path(__file__).resolve().parent.parent
PINNED = dict(
    line.split("==") for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line
)
TORCH = PINNED["torch"]


@pytest.mark.parametrize("cpu_builds", [True, False])
def test_only_torch_comes_from_the_index_of_torch_builds(tmp_path: Path, cpu_builds: bool) -> None:
    default, builds = tmp_path / "default", tmp_path / "builds"
    publish(default, "torch", TORCH, requires="filelock")
    publish(default, "filelock", PINNED["filelock"])
    publish(builds, "torch", f"{TORCH}+cpu", requires="filelock")
    publish(builds, "filelock", "0.1")  # an index of torch builds is behind with all else

    chosen = install_torch(default, {"TORCH_INDEX": builds.as_uri()} if cpu_builds else {})

    assert chosen == {
        "torch": f"{TORCH}+cpu" if cpu_builds else TORCH,
        "filelock": PINNED["filelock"],
    }


def publish(index: Path, name: str, version: str, requires: str = "") -> None:
    """Put a wheel without modules into an index of files."""
    wheel = index / name / f"{name}-{version}-py3-none-any.whl"
    wheel.parent.mkdir(parents=True)
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    with ZipFile(wheel, "w") as file:
        folder = f"{name}-{version}.dist-info"
        file.writestr(
            f"{folder}/METADATA", metadata + (f"Requires-Dist: {requires}\n" if requires else "")
        )
        file.writestr(f"{folder}/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        file.writestr(f"{folder}/RECORD", "")
    (wheel.parent / "index.html").write_text(f'<a href="{quote(wheel.name)}">{wheel.name}</a>')


def install_torch(default: Path, arguments: Mapping[str, str]) -> dict[str, str]:
    """Return the releases that the image's command would install, given its build arguments."""
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ")
    [command] = re.findall(r"^RUN --mount=\S+ +(pip install .* torch)$", text, re.MULTILINE)
    report = default.parent / "report.json"
    others = {name: text for name, text in os.environ.items() if not name.startswith("PIP_")}
    pip = {"CONFIG_FILE": os.devnull, "INDEX_URL": default.as_uri(), "REPORT": str(report),
           "DRY_RUN": "1", "IGNORE_INSTALLED": "1", "DISABLE_PIP_VERSION_CHECK": "1"}  # fmt: skip
    done = subprocess.run(
        ["sh", "-c", re.sub(r"^pip", f"{sys.executable} -m pip", command)],
        cwd=ROOT, capture_output=True, text=True,
        env={**others, **{f"PIP_{name}": text for name, text in pip.items()}, **arguments},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    installed = [item["metadata"] for item in json.loads(report.read_text())["install"]]
    return {item["name"]: item["version"] for item in installed}
