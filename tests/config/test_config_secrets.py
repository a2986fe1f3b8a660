"""Environment variables, secrets and addresses in the configuration: no password escapes."""

import pytest

from forecaster.config.urls import masked
from forecaster.errors import ConfigError
from tests.config.configs import (
    BIKES,
    dataset,
    parsed,
    problems_of,
)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("${NAME}", "bikes"),
        ("${NAME:-cars}", "bikes"),
        ("${UNSET:-cars}", "cars"),
        ("${EMPTY:-cars}", "cars"),
        ("${UNSET:-}x", "x"),
        ("$${NAME}", "${NAME}"),
        ("$NAME $$ {NAME}", "$NAME $$ {NAME}"),
        ("a ${NAME}, ${NAME}", "a bikes, bikes"),
    ],
)
def test_environment_variables_are_put_in(text: str, value: str) -> None:
    config = parsed(dataset(f'query = "{text}"'), {"NAME": "bikes", "EMPTY": ""})

    assert config.datasets["x"].query == value


def test_secrets_may_be_in_files() -> None:
    text = BIKES.replace("source_url", "source_url_file").replace("${WAREHOUSE_URL}", "/run/url")
    text = text.replace("database_url", "database_url_file").replace("sqlite:///", "/run/")

    config = parsed(text, files={"/run/url": "mysql://u:p@h/d\n", "/run/forecaster.db": SECRET_URL})

    assert config.database_url == SECRET_URL
    assert config.datasets["bikes"].source_url == "mysql://u:p@h/d"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('database_url_file = "/no"', "database_url_file: must be the path of a readable file"),
        ("database_url_file = 1", "database_url_file: must be text, found 1"),
        (
            'database_url = "sqlite:///f"\ndatabase_url_file = "/run/url"',
            "database_url: cannot be combined with",
        ),
    ],
)
def test_a_secret_that_cannot_be_read_is_a_problem(text: str, problem: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parsed(text, files={"/run/url": "sqlite:///f"})

    assert caught.value.problems[0].startswith(problem)


SECRET_URL = "postgresql+psycopg://bob:hunter2@db/prod"
MALFORMED = [
    "postgrezql://bob:hunter2@h/db",
    "postgresql:/bob:hunter2@h/db",
    "postgresql://bob:hunter2@h:hunter2/db",
    "postgresql://bob:hunter2@x@h/db",
    "postgresql://bob:hunter2?x@h/db",
    "postgresql://bob:hunter2 x@h/db",
    "postgresql://bob:hunter2#@[h/db",
    "bob:hunter2",
    "mysql://bob:hunter2@h/db",
    "sqlite://bob:hunter2@h",
]


@pytest.mark.parametrize("url", MALFORMED)
def test_no_problem_repeats_a_password(url: str) -> None:
    for text in (
        f'database_url = "{url}"',
        f'database_url = "sqlite:///f"\nserver.listen = "x://{url}"',
        f'database_url = "sqlite:///f"\n[datasets."x://{url}"]',
        f'"x://{url}" = 1',
    ):
        assert "hunter2" not in "\n".join(problems_of(text))
    assert "hunter2" not in "\n".join(problems_of('database_url = "${URL}"', {"URL": url}))
    with pytest.raises(ConfigError) as caught:
        parsed('database_url_file = "/run/url"', files={"/run/url": url})
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("line", ['database_url = "hunter2${X}"', 'server.password = "hunter2${"'])
def test_no_problem_repeats_a_secret_with_a_variable_in_it(line: str) -> None:
    assert "hunter2" not in "\n".join(problems_of(line, {"X": "x"}))


@pytest.mark.parametrize(
    "url", ["sqlite://", "sqlite:///", "sqlite:///:memory:", "sqlite://f.db", "", "f.db"]
)
def test_the_database_must_have_a_place(url: str) -> None:
    [problem] = problems_of(f'database_url = "{url}"')

    assert problem.startswith("database_url: must ")


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg", "POSTGRESQL"])
def test_every_spelling_of_postgresql_means_one_driver(scheme: str) -> None:
    config = parsed(f'database_url = "{scheme}://bob:p%40w@[::1]:5432/db?sslmode=require"')

    assert config.database_url == "postgresql+psycopg://bob:p%40w@[::1]:5432/db?sslmode=require"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        (SECRET_URL, "postgresql+psycopg://bob:***@db/prod"),
        ("postgresql://bob:hunter2@x/y@h/db", "postgresql://bob:***@h/db"),
        ("postgresql://h/db?password=hunter2&user=bob", "postgresql://h/db?password=***&user=bob"),
        ("postgresql://bob@h:5432/db", "postgresql://bob@h:5432/db"),
        ("sqlite:///C:/a@b.db", "sqlite:///C:/a@b.db"),
        ("mssql://:hunter2@h", "mssql://:***@h"),
    ],
)
def test_passwords_are_masked(url: str, shown: str) -> None:
    assert masked(url) == shown
