"""Which other processors the tests marked `numeric` are run as."""

import pytest

from tests.processors import ways

LAST = "every product perturbed"


@pytest.mark.parametrize(
    ("own", "expected"),
    [
        ("default", ["default, two threads", LAST]),
        ("avx2", ["default, one thread", "avx2, two threads", LAST]),
        ("avx512", ["default, one thread", "avx2, one thread", "avx512, two threads", LAST]),
        ("sve256", ["default, one thread", "sve256, two threads", LAST]),
    ],
)
def test_a_processor_is_run_as_all_that_it_can_do_and_as_no_more(
    own: str, expected: list[str]
) -> None:
    found = ways(own)

    assert [*found] == expected
    wanted = {
        each["ATEN_CPU_CAPABILITY"] for each in found.values() if "ATEN_CPU_CAPABILITY" in each
    }
    assert wanted == {name.partition(",")[0] for name in expected if "one thread" in name}
