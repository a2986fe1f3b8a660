"""Settings of the pages: where, for whom, under which certificate."""

import pytest

from forecaster.config.dump import to_toml
from forecaster.config.settings import ServerConfig
from tests.config.configs import parsed, problems_of

TOP = 'database_url = "sqlite:///f.db"\n[server]\n'


def server(lines: str) -> ServerConfig:
    return parsed(TOP + lines, files={"/run/password": "sesame\n"}).server


def test_pages_are_for_this_machine_and_for_everybody_on_it_by_default() -> None:
    assert server("") == ServerConfig(host="127.0.0.1", port=8790)


def test_a_password_may_be_in_a_file_and_is_never_written_back() -> None:
    config = parsed(
        TOP + 'username = "prometheus"\npassword_file = "/run/password"',
        files={"/run/password": "sesame\n"},
    )

    assert (config.server.username, config.server.password) == ("prometheus", "sesame")
    assert 'password = "***"' in to_toml(config)
    assert "sesame" not in to_toml(config) + repr(config)


@pytest.mark.parametrize(
    ("lines", "problem"),
    [
        ('username = "a"', "server.password: must be set together with username"),
        ('password = "a"', "server.username: must be set together with password"),
        ('password_file = "/run/password"', "server.username: must be set together with password"),
        ('tls_certificate = "a"', "server.tls_key: must be set together with tls_certificate"),
        ('tls_key = "a"', "server.tls_certificate: must be set together with tls_key"),
        ('username = "a:b"\npassword = "c"', "server.username: must be text without a colon"),
        ('username = "a"\npassword = 12345', "server.password: must be text, found something else"),
    ],
)  # fmt: skip
def test_half_of_a_pair_is_a_problem(lines: str, problem: str) -> None:
    problems = problems_of(TOP + lines, files={"/run/password": "sesame\n"})

    assert [each for each in problems if each.startswith(problem)]
    assert "12345" not in "".join(problems)
