"""The configuration file: what it means, what is refused and how, and that no password escapes."""

import contextlib
from collections.abc import Mapping
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forecaster.addresses import masked
from forecaster.config import Config, ModelConfig, RetentionConfig, ServerConfig, TrainingConfig
from forecaster.configfile import parse, to_toml
from forecaster.durations import Step
from forecaster.errors import ConfigError

BIKES = """
database_url = "sqlite:///forecaster.db"
[server]
listen = "0.0.0.0:9000"
[datasets.bikes]
query = "SELECT station AS series_id, hour AS timestamp, rentals AS value FROM trips"
source_url = "${WAREHOUSE_URL}"
step = "1h"
horizon = "2d"
timezone = "America/New_York"
delay = "5m"
forecast_every = "1h"
retrain_every = "1d"
history = "180d"
late_data = "2h"
lower_bound = 0
"""
WAREHOUSE = {"WAREHOUSE_URL": "postgres://reader:hunter2@warehouse/sales"}
MINIMAL = 'database_url = "sqlite:///f.db"\n[datasets.x]\nstep = "{}"\nprediction_length = 3\n'


def _parse(
    text: str, environ: Mapping[str, str] | None = None, files: Mapping[str, str] | None = None
) -> Config:
    def read_file(path: str) -> str:
        if path not in (files or {}):
            raise FileNotFoundError(2, "No such file or directory", path)
        return (files or {})[path]

    return parse(text, environ or {}, read_file=read_file)


def _problems(text: str, environ: Mapping[str, str] | None = None) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        _parse(text, environ)
    return caught.value.problems


def _dataset(line: str) -> str:
    return f'database_url = "sqlite:///f.db"\n[datasets.x]\nstep = "1h"\nhorizon = "2d"\n{line}\n'


def test_the_documented_example_is_read() -> None:
    config = _parse(BIKES, WAREHOUSE)

    bikes = config.datasets["bikes"]
    assert config.database_url == "sqlite:///forecaster.db"
    assert config.server == ServerConfig(host="0.0.0.0", port=9000)
    assert (bikes.step, bikes.prediction_length) == (Step.parse("1h"), 48)
    assert bikes.source_url == "postgresql+psycopg://reader:hunter2@warehouse/sales"
    assert bikes.timezone == "America/New_York"
    assert (bikes.delay, bikes.late_data) == (timedelta(minutes=5), timedelta(hours=2))
    assert (bikes.lower_bound, bikes.upper_bound) == (0.0, None)
    assert (bikes.model, bikes.training) == (ModelConfig(), TrainingConfig())


@pytest.mark.parametrize(
    ("step", "forecast_every", "retrain_every", "history", "late_data"),
    [
        ("10s", "1m", "1d", "27h46m40s", "20s"),
        ("5m", "5m", "1d", "50000m", "10m"),
        ("1h", "1h", "1d", "10000h", "2h"),
        ("1d", "1d", "24d", "10000d", "2d"),
        ("1w", "1w", "24w", "10000w", "2w"),
        ("1mo", "30d", "744d", "73050d", "62d"),
    ],
)
def test_schedules_default_to_what_the_step_asks_for(
    step: str, forecast_every: str, retrain_every: str, history: str, late_data: str
) -> None:
    text = MINIMAL.format(step)
    settings = {
        "forecast_every": forecast_every,
        "retrain_every": retrain_every,
        "history": history,
        "late_data": late_data,
    }
    lines = "".join(f'{key} = "{value}"\n' for key, value in settings.items())

    assert _parse(text).datasets["x"] == _parse(text + lines).datasets["x"]


def test_a_file_without_datasets_is_enough_for_a_database() -> None:
    config = _parse('database_url = "sqlite:////var/lib/f.db"')

    assert config.datasets == {}
    assert config.retention == RetentionConfig()


def test_everything_wrong_is_said_at_once_with_its_key() -> None:
    problems = _problems(
        """
        databse_url = "sqlite:///f.db"
        retention = 3
        [server]
        listen = 8790
        [datasets."a b"]
        [datasets.bikes]
        step = "1h"
        horizonn = "2d"
        delay = 5
        timezone = "america/new_york"
        lower_bound = 3
        upper_bound = 1.0
        source_url = "duckdb:///w.db"
        [datasets.bikes.model]
        score = "scaled_dott"
        layers = true
        """
    )

    assert problems == [
        'database_url: must be set, such as "sqlite:///forecaster.db"',
        "server.listen: must be text, found 8790",
        "retention: must be a table, found 3",
        "datasets: dataset names must be letters, digits and _ . - up to 100, found 'a b'",
        "datasets.bikes.horizon: must be set, or else prediction_length, found neither",
        "datasets.bikes.timezone: must be an IANA time zone, found 'america/new_york'; "
        "did you mean 'America/New_York'?",
        'datasets.bikes.delay: must be a duration with its unit, such as "15m", found 5',
        "datasets.bikes.model.score: must be 'scaled_dot', found 'scaled_dott'; "
        "did you mean 'scaled_dot'?",
        "datasets.bikes.model.layers: must be a whole number from 1 to 16, found true",
        "datasets.bikes.lower_bound: must be below upper_bound 1.0, found 3.0",
        "datasets.bikes.query: must be set with source_url, found none",
        "datasets.bikes.horizonn: unknown setting; did you mean 'horizon'?",
        "databse_url: unknown setting; did you mean 'database_url'?",
    ]


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ('forecast_every = "15"', "forecast_every: must be a number with its unit"),
        ('forecast_every = "0s"', "forecast_every: must be longer than zero"),
        ('delay = "-5m"', "delay: must be a duration that is not negative"),
        ('history = "201y"', "history: must be at most 73050d"),
        ('history = "1mo"', "history: must be a length of time in weeks, days or less"),
        (
            "prediction_length = 48",
            "horizon: must be set, or else prediction_length, found horizon",
        ),
        ('timezone = "localtime"', "timezone: must be an IANA time zone"),
        ('timezone = "../../etc/passwd"', "timezone: must be an IANA time zone"),
        ("timezone = 2024-01-01", "timezone: must be text, found a date or time"),
        ("lower_bound = true", "lower_bound: must be a number, found true"),
        ("lower_bound = nan", "lower_bound: must be a finite number, found nan"),
        ("lower_bound = inf", "lower_bound: must be a finite number, found inf"),
        ('lower_bound = "0"', "lower_bound: must be a number, found '0'"),
        ("query = []", "query: must be text, found an array"),
        ('query = " "', "query: must be text, found ' '"),
        ("series_columns = []", "series_columns: must be the name of a column"),
        ('series_columns = ["a", ["b"]]', "series_columns: must be the name of a column"),
        ('series_columns = "value"', "series_columns: must differ from the other columns"),
        ("model = 1", "model: must be a table, found 1"),
        ("model.dropout = 1", "model.dropout: must be from 0 to below 1, found 1"),
        ("model = {patch_length = 5, context_length = 4}", "model.patch_length: must be at most"),
        ("training.steps = 0", "training.steps: must be a whole number from 1"),
        ("training.seed = 1.0", "training.seed: must be a whole number from 0"),
        ('training.device = "gpu"', "training.device: must be 'auto', 'cpu', 'cuda' or 'cuda:N'"),
        ('history = "${NOPE}"', "history: needs the environment variable NOPE, found it unset"),
        ('history = "${A B}"', "history: must name variables as ${NAME}"),
    ],
)
def test_a_wrong_setting_is_named_with_its_rule(line: str, problem: str) -> None:
    [found] = _problems(_dataset(line))

    assert found.startswith(f"datasets.x.{problem}")


@pytest.mark.parametrize(
    ("step", "horizon"), [("7m", "1h"), ("1d", "36h"), ("1mo", "90d"), ("1s", "1d")]
)
def test_a_horizon_must_be_a_whole_and_bounded_number_of_steps(step: str, horizon: str) -> None:
    text = f'database_url = "sqlite:///f"\n[datasets.x]\nstep = "{step}"\nhorizon = "{horizon}"'

    [problem] = _problems(text)

    assert problem.startswith("datasets.x.horizon: must be ")


@pytest.mark.parametrize(
    ("listen", "host", "port"),
    [("localhost:0", "localhost", 0), ("[::1]:8790", "::1", 8790), ("0.0.0.0:1", "0.0.0.0", 1)],
)
def test_listen_is_a_host_and_a_port(listen: str, host: str, port: int) -> None:
    config = _parse(f'database_url = "sqlite:///f"\nserver.listen = "{listen}"')

    assert config.server == ServerConfig(host=host, port=port)


@pytest.mark.parametrize("listen", ["8790", ":8790", "h:70000", "h:", "::1:80", "h:-1", "a b:1"])
def test_any_other_listen_is_refused(listen: str) -> None:
    [problem] = _problems(f'database_url = "sqlite:///f"\nserver.listen = "{listen}"')

    assert problem.startswith('server.listen: must be "host:port"')


def test_retention_is_a_duration_or_forever() -> None:
    config = _parse(
        'database_url = "sqlite:///f"\nretention = {forecasts = "forever", runs = "2w"}'
    )

    assert config.retention.forecasts is None
    assert config.retention.runs == timedelta(days=14)


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
    config = _parse(_dataset(f'query = "{text}"'), {"NAME": "bikes", "EMPTY": ""})

    assert config.datasets["x"].query == value


def test_secrets_may_be_in_files() -> None:
    text = BIKES.replace("source_url", "source_url_file").replace("${WAREHOUSE_URL}", "/run/url")
    text = text.replace("database_url", "database_url_file").replace("sqlite:///", "/run/")

    config = _parse(text, files={"/run/url": "mysql://u:p@h/d\n", "/run/forecaster.db": SECRET_URL})

    assert config.database_url == SECRET_URL
    assert config.datasets["bikes"].source_url == "mysql://u:p@h/d"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('database_url_file = "/no"', "database_url_file: must name a file that can be read"),
        ("database_url_file = 1", "database_url_file: must be text, found 1"),
        (
            'database_url = "sqlite:///f"\ndatabase_url_file = "/run/url"',
            "database_url: must be given once",
        ),
    ],
)
def test_a_secret_that_cannot_be_read_is_a_problem(text: str, problem: str) -> None:
    with pytest.raises(ConfigError) as caught:
        _parse(text, files={"/run/url": "sqlite:///f"})

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
        assert "hunter2" not in "\n".join(_problems(text))
    assert "hunter2" not in "\n".join(_problems('database_url = "${URL}"', {"URL": url}))
    with pytest.raises(ConfigError) as caught:
        _parse('database_url_file = "/run/url"', files={"/run/url": url})
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    "url", ["sqlite://", "sqlite:///", "sqlite:///:memory:", "sqlite://f.db", "", "f.db"]
)
def test_the_database_must_have_a_place(url: str) -> None:
    [problem] = _problems(f'database_url = "{url}"')

    assert problem.startswith("database_url: must ")


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg", "POSTGRESQL"])
def test_every_spelling_of_postgresql_means_one_driver(scheme: str) -> None:
    config = _parse(f'database_url = "{scheme}://bob:p%40w@[::1]:5432/db?sslmode=require"')

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


@pytest.mark.parametrize(
    ("text", "place"),
    [("a = \n", "line 1, column 5"), ("[x\n", "line 1, column 3"), ('a = "x', "end of document")],
)
def test_a_malformed_file_is_located(text: str, place: str) -> None:
    [problem] = _problems(text)

    assert problem.startswith("the file must be TOML: ")
    assert place in problem


def test_the_resolved_settings_read_back_with_passwords_masked() -> None:
    text = BIKES + '[datasets."co2.v2"]\nstep = "1w"\nprediction_length = 13\nquery = """\n'
    text += 'SELECT \'\\u007f \\\\ \\"\' -- $${x}\n"""\n'
    config = _parse(text, WAREHOUSE)

    written = to_toml(config)

    again = _parse(written)
    assert "hunter2" not in written
    assert to_toml(again) == written
    assert again.datasets["co2.v2"] == config.datasets["co2.v2"]
    assert again.datasets["bikes"].source_url == ("postgresql+psycopg://reader:***@warehouse/sales")
    assert (again.server, again.retention) == (config.server, config.retention)


KEYS = st.sampled_from(
    ["database_url", "server", "retention", "datasets", "listen", "step", "horizon", "model",
     "query", "source_url", "source_url_file", "timezone", "history", "x", "lower_bound", "seed",
     "series_columns", "training", "prediction_length", "device", '"a b"']
)  # fmt: skip
VALUES = st.one_of(
    st.sampled_from(
        ['"1h"', '"2d"', '"sqlite:///f"', '"${X}"', '"postgresql://a:b@c"', "1", "0", "-1", "1e400",
         "nan", "true", "[]", "{}", "[[1]]", "2024-01-01", "12:00:00", '"1mo"', "0x" + "f" * 400,
         '"UTC"', '["a", "b"]', '"h:1"', '""']
    ),
    st.integers().map(str),
    st.floats().map(repr),
)  # fmt: skip
LINES = st.one_of(
    st.tuples(KEYS, VALUES).map(" = ".join),
    st.lists(KEYS, min_size=1, max_size=4).map(lambda keys: f"[{'.'.join(keys)}]"),
    st.sampled_from(["[datasets.x]", 'step = "1h"', 'horizon = "2d"']),
)


@given(st.lists(LINES, max_size=8).map("\n".join) | st.text(max_size=40))
def test_any_text_is_read_or_refused_with_a_config_error(text: str) -> None:
    with contextlib.suppress(ConfigError):
        config = _parse(text)
        assert to_toml(_parse(to_toml(config))) == to_toml(config)


@pytest.mark.parametrize(
    "text", ["a = " + "[" * 100_000, "a = " + "9" * 5_000, "a." * 2_000 + "b = 1"]
)
def test_monstrous_files_are_refused_too(text: str) -> None:
    assert _problems(text)
