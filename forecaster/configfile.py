"""The configuration file: TOML to Config. All problems are reported at once."""

import re
import tomllib
from collections.abc import Callable, Mapping
from datetime import timedelta

from forecaster import datasetfile, settings
from forecaster.addresses import database_url, listen
from forecaster.config import Config, DatasetConfig, RetentionConfig, ServerConfig
from forecaster.errors import ConfigError
from forecaster.sections import Surroundings, Table, shown

_HINT = "mend these settings, then run `forecaster check`"


def parse(text: str, environ: Mapping[str, str], *, read_file: Callable[[str], str]) -> Config:
    """Return the settings; ConfigError lists everything that is wrong with them.

    `read_file` gives the content of the files that `*_file` settings name.
    """
    surroundings = Surroundings(environ, read_file)
    top = Table(_load(text), "", surroundings)
    if "database_url" not in top and "database_url_file" not in top:
        top.refuse("database_url", 'must be set, such as "sqlite:///forecaster.db"')
    url = top.take_secret("database_url", database_url)
    prune_every = top.take("prune_every", settings.positive_duration, timedelta(days=1))
    server = _server(top.table("server"))
    retention = _retention(top.table("retention"))
    datasets = _datasets(top.table("datasets"), retention.observations)
    top.close()
    if surroundings.problems or url is None:
        raise ConfigError(surroundings.problems, hint=_HINT)
    return Config(
        database_url=url,
        datasets=datasets,
        server=server,
        retention=retention,
        prune_every=prune_every,
    )


def _load(text: str) -> dict[str, object]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        reason = str(error)
    except (ValueError, RecursionError):
        reason = "a number too long or tables nested too deeply"
    raise ConfigError([f"the file must be TOML: {reason[:1].lower()}{reason[1:]}"])


def _server(table: Table) -> ServerConfig:
    default = ServerConfig()
    host, port = table.take("listen", listen, (default.host, default.port))
    table.close()
    return ServerConfig(host=host, port=port)


def _retention(table: Table) -> RetentionConfig:
    default = RetentionConfig()
    retention = RetentionConfig(
        observations=table.take("observations", settings.retention, default.observations),
        forecasts=table.take("forecasts", settings.retention, default.forecasts),
        attention=table.take("attention", settings.retention, default.attention),
        accuracy=table.take("accuracy", settings.retention, default.accuracy),
        runs=table.take("runs", settings.retention, default.runs),
        models=table.take("models", settings.count_between(0, settings.LARGEST), default.models),
    )
    table.close()
    return retention


def _datasets(table: Table, kept: timedelta | None) -> dict[str, DatasetConfig]:
    datasets = {}
    for name in table.names:
        if re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}", name):
            datasets[name] = datasetfile.read(name, table.table(name), kept)
        else:
            rule = "dataset names must be letters, digits and _ . - up to 100"
            table.refuse("", f"{rule}, found {shown(name)}")
    return datasets
