"""Run the tests marked `numeric` as other processors would: `python -m tests.processors`.

PyTorch, MKL and oneDNN choose their code by the instruction set, and can be told to do with less
than the processor has. Each worker below runs all of these tests in one such way, side by side;
what this processor lacks is said and left out. `make test-all` runs every test as this processor
does, with one thread; words behind the command go to pytest.
"""

import os
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parent
MARK = "mark.numeric"
SELECTED = "numeric and not (slow or postgres)"
FEW = {"HYPOTHESIS_PROFILE": "few"}
ONE = {"OMP_NUM_THREADS": "1", **FEW}
TWO = {"OMP_NUM_THREADS": "2", "OMP_WAIT_POLICY": "PASSIVE", **FEW}  # others work beside
LIMITS = {
    "default": {"MKL_ENABLE_INSTRUCTIONS": "SSE4_2", "ONEDNN_MAX_CPU_ISA": "SSE41"},
    "avx2": {"MKL_ENABLE_INSTRUCTIONS": "AVX2", "ONEDNN_MAX_CPU_ISA": "AVX2"},
    "avx512": {"MKL_ENABLE_INSTRUCTIONS": "AVX512", "ONEDNN_MAX_CPU_ISA": "AVX512_CORE"},
}
"""What PyTorch may use of x86, from the least on, and the same for its libraries."""


def capability() -> str:
    """What PyTorch finds in this processor, such as `avx2`, or `default` on another kind."""
    os.environ.pop("ATEN_CPU_CAPABILITY", None)  # is believed, even where it is not there
    import torch

    return torch.backends.cpu.get_cpu_capability().lower()


def ways(own: str) -> dict[str, dict[str, str]]:
    """Return the environments to run in, by what they are; avx512 implies avx2."""
    names = [*LIMITS]
    lower = names[: names.index(own)] if own in names else ["default"]
    return {
        **{
            f"{name}, one thread": {"ATEN_CPU_CAPABILITY": name, **LIMITS[name], **ONE}
            for name in lower
        },
        f"{own}, two threads": TWO,
        "every product perturbed": {"PERTURB_PRODUCTS": "1", **ONE},
    }


def main(*words: str) -> int:
    """Run the tests in every way, and return the exit status of pytest."""
    own = capability()
    found = ways(own)
    for number, name in enumerate(found):
        sys.stdout.write(f"gw{number}: {name}\n")
    for name in LIMITS:
        if not any(each.startswith(f"{name},") for each in found):
            sys.stdout.write(f"SKIPPED {name}: this processor has {own}\n")
    sys.stdout.flush()
    workers = [
        "--tx=popen" + "".join(f"//env:{key}={value}" for key, value in environment.items())
        for environment in found.values()
    ]
    files = [str(path) for path in sorted(TESTS.rglob("test_*.py")) if MARK in path.read_text()]
    return pytest.main(["--dist=each", *workers, "-m", SELECTED, *words, *files])


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
