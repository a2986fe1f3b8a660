"""The configuration file: what it means, and what is refused and how."""

import contextlib
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forecaster.config.dump import to_toml
from forecaster.config.settings import (
    ModelConfig,
    RetentionConfig,
    ServerConfig,
    TrainingConfig,
)
from forecaster.errors import ConfigError
from forecaster.times.durations import Step
from tests.config.configs import (
    BIKES,
    MINIMAL,
    WAREHOUSE,
    dataset,
    parsed,
    problems_of,
)


def test_the_documented_example_is_read() -> None:
    config = parsed(BIKES, WAREHOUSE)

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
        ("90m", "90m", "1d", "15000h", "3h"),
        ("4h", "4h", "4d", "40000h", "8h"),
        ("12h", "12h", "1w", "5000d", "1d"),
        ("1d", "1d", "1w", "10000d", "2d"),
        ("6d", "6d", "1w", "60000d", "12d"),
        ("1w", "1w", "1mo", "10000w", "2w"),
        ("2w", "2w", "1mo", "73050d", "4w"),
        ("4w", "4w", "4w", "73050d", "8w"),
        ("1mo", "1mo", "1mo", "73050d", "62d"),
        ("3mo", "3mo", "3mo", "73050d", "184d"),
        ("1y", "1y", "1y", "73050d", "732d"),
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

    assert parsed(text).datasets["x"] == parsed(text + lines).datasets["x"]


def test_a_file_without_datasets_is_enough_for_a_database() -> None:
    config = parsed('database_url = "sqlite:////var/lib/f.db"')

    assert config.datasets == {}
    assert config.retention == RetentionConfig()


@pytest.mark.fault(18)
def test_everything_wrong_is_said_at_once_with_its_key() -> None:
    problems = problems_of(
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
        "datasets: dataset names must be up to 100 letters, digits and _ . -, found 'a b'",
        'datasets.bikes.horizon: must be set, such as "2d", or prediction_length in steps',
        "datasets.bikes.timezone: must be an IANA time zone, found 'america/new_york'; "
        "did you mean 'America/New_York'?",
        'datasets.bikes.delay: must be a duration with its unit, such as "15m", found 5',
        "datasets.bikes.model.score: must be 'scaled_dot' or 'dot' or 'general' or 'additive' or "
        "'location' or 'local' or the path of a plug-in, such as 'package.module:Name', "
        "found 'scaled_dott'; did you mean 'scaled_dot'?",
        "datasets.bikes.model.layers: must be a whole number from 1 to 16, found true",
        "datasets.bikes.lower_bound: must be below upper_bound 1.0, found 3.0",
        "datasets.bikes.query: must be set together with source_url",
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
        ("prediction_length = 48", "horizon: cannot be combined with prediction_length"),
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
        ('history = "${A B}"', "history: must refer to variables as ${NAME}"),
    ],
)
def test_a_wrong_setting_is_named_with_its_rule(line: str, problem: str) -> None:
    [found] = problems_of(dataset(line))

    assert found.startswith(f"datasets.x.{problem}")


@pytest.mark.parametrize("ttl", ["0s", "500ms", "601s"])
def test_a_lease_lasts_from_a_second_to_ten_minutes(ttl: str) -> None:
    assert problems_of(f'lease_ttl = "{ttl}"\n' + dataset("")) == [
        f"lease_ttl: must be from 1s to 10m, found '{ttl}'"
    ]
    assert parsed('lease_ttl = "3s"\n' + dataset("")).lease_ttl == timedelta(seconds=3)


@pytest.mark.parametrize(
    ("step", "horizon"), [("7m", "1h"), ("1d", "36h"), ("1mo", "90d"), ("1s", "1d")]
)
def test_a_horizon_must_be_a_whole_and_bounded_number_of_steps(step: str, horizon: str) -> None:
    text = f'database_url = "sqlite:///f"\n[datasets.x]\nstep = "{step}"\nhorizon = "{horizon}"'

    [problem] = problems_of(text)

    assert problem.startswith("datasets.x.horizon: must be ")


@pytest.mark.parametrize(
    ("listen", "host", "port"),
    [("localhost:0", "localhost", 0), ("[::1]:8790", "::1", 8790), ("0.0.0.0:1", "0.0.0.0", 1)],
)
def test_listen_is_a_host_and_a_port(listen: str, host: str, port: int) -> None:
    config = parsed(f'database_url = "sqlite:///f"\nserver.listen = "{listen}"')

    assert config.server == ServerConfig(host=host, port=port)


@pytest.mark.parametrize("listen", ["8790", ":8790", "h:70000", "h:", "::1:80", "h:-1", "a b:1"])
def test_any_other_listen_is_refused(listen: str) -> None:
    [problem] = problems_of(f'database_url = "sqlite:///f"\nserver.listen = "{listen}"')

    assert problem.startswith('server.listen: must be "host:port"')


def test_history_is_not_longer_than_observations_are_kept() -> None:
    kept = '[retention]\nobservations = "90d"\n'
    query = 'query = "SELECT 1"\n'

    assert problems_of(dataset(query + 'history = "95d"') + kept) == [
        "datasets.x.history: must be at most retention.observations 90d, found 95d"
    ]
    assert parsed(dataset(query) + kept).datasets["x"].history == timedelta(days=90)
    assert parsed(dataset('history = "95d"') + kept).datasets["x"].history == timedelta(days=95)


def test_retention_is_a_duration_or_forever() -> None:
    config = parsed(
        'database_url = "sqlite:///f"\nretention = {forecasts = "forever", runs = "2w"}'
    )

    assert config.retention.forecasts is None
    assert config.retention.runs == timedelta(days=14)


@pytest.mark.parametrize(
    ("text", "place"),
    [("a = \n", "line 1, column 5"), ("[x\n", "line 1, column 3"), ('a = "x', "end of document")],
)
def test_a_malformed_file_is_located(text: str, place: str) -> None:
    [problem] = problems_of(text)

    assert problem.startswith("invalid TOML: ")
    assert place in problem


def test_the_resolved_settings_read_back_with_passwords_masked() -> None:
    text = BIKES + '[datasets."co2.v2"]\nstep = "1w"\nprediction_length = 13\nquery = """\n'
    text += 'SELECT \'\\u007f \\\\ \\"\' -- $${x}\n"""\n'
    config = parsed(text, WAREHOUSE)

    written = to_toml(config)

    again = parsed(written)
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


@pytest.mark.fault(18)
@given(st.lists(LINES, max_size=8).map("\n".join) | st.text(max_size=40))
def test_any_text_is_read_or_refused_with_a_config_error(text: str) -> None:
    with contextlib.suppress(ConfigError):
        config = parsed(text)
        assert to_toml(parsed(to_toml(config))) == to_toml(config)


@pytest.mark.parametrize(
    "text", ["a = " + "[" * 100_000, "a = " + "9" * 5_000, "a." * 2_000 + "b = 1"]
)
def test_monstrous_files_are_refused_too(text: str) -> None:
    assert problems_of(text)


def test_a_horizon_is_judged_where_the_step_is_wrong_too() -> None:
    problems = problems_of(
        'database_url = "sqlite:///x.db"\n[datasets.a]\nstep = "often"\nhorizon = "-2d"\n'
    )

    assert [problem.partition(":")[0] for problem in problems] == [
        "datasets.a.step",
        "datasets.a.horizon",
    ]
