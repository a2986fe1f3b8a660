"""The configuration file: TOML to Config. All problems are reported at once."""

import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from itertools import permutations

from forecaster.config import dataset_table, validators
from forecaster.config.settings import Config, DatasetConfig, RetentionConfig, ServerConfig
from forecaster.config.table import ParseContext, Table, shown
from forecaster.config.urls import listen
from forecaster.errors import ConfigError
from forecaster.times.durations import Step
from forecaster.times.schedules import every

HINT = "fix these settings, then run `forecaster check`"


@dataclass(frozen=True, slots=True)
class ParsedConfig:
    """The settings that could be read, with a default in place of each invalid one."""

    config: Config
    problems: list[str]

    def finished(self) -> Config:
        """Return the settings; ConfigError lists everything that is wrong with them."""
        if self.problems:
            raise ConfigError(self.problems, hint=HINT)
        return self.config


def parse(text: str, environ: Mapping[str, str], *, read_file: Callable[[str], str]) -> Config:
    """Return the settings; ConfigError lists everything that is wrong with them.

    `read_file` gives the content of the files that `*_file` settings name.
    """
    return draft(text, environ, read_file=read_file).finished()


def draft(
    text: str, environ: Mapping[str, str], *, read_file: Callable[[str], str]
) -> ParsedConfig:
    """Return as many settings as can be read; ConfigError only if the file is not TOML."""
    return read(_load(text), environ, read_file=read_file)


def read(
    settings: Mapping[str, object], environ: Mapping[str, str], *, read_file: Callable[[str], str]
) -> ParsedConfig:
    """Return as many settings as can be read of what a file holds, its tables as dictionaries."""
    context = ParseContext(environ, read_file)
    top = Table(settings, "", context)
    if "database_url" not in top:
        top.add_problem("database_url", 'must be set, such as "sqlite:///forecaster.db"')
    prune_every = top.take("prune_every", validators.period, Step(1, "day"))
    values = top.read_fields(Config, database_url="")
    config = Config(
        **values,
        prune_schedule=every(prune_every),
        server=_server(top.table("server")),
        retention=(retention := top.table("retention").read_all(RetentionConfig)),
        datasets=_datasets(top.table("datasets"), retention.observations),
    )
    for table in (*context.tables[1:], top):
        table.report_unknown()
    return ParsedConfig(config, context.problems)


def _load(text: str) -> dict[str, object]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        reason = str(error)
    except (ValueError, RecursionError):
        reason = "a number too long or tables nested too deeply"
    raise ConfigError([f"invalid TOML: {reason[:1].lower()}{reason[1:]}"])


def _server(table: Table) -> ServerConfig:
    default = ServerConfig()
    host, port = table.take("listen", listen, (default.host, default.port))
    for pair in (("username", "password"), ("tls_certificate", "tls_key")):
        for key, other in permutations(pair):
            if other in table and key not in table:
                table.add_problem(key, f"must be set together with {other}")
    return table.read_all(ServerConfig, host=host, port=port)


def _datasets(table: Table, retention: timedelta | None) -> dict[str, DatasetConfig]:
    datasets = {}
    for name in table:
        if re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}", name):
            datasets[name] = dataset_table.read(name, table.table(name), retention)
        else:
            table.known.append(name)
            rule = "dataset names must be up to 100 letters, digits and _ . -"
            table.add_problem("", f"{rule}, found {shown(name)}")
    return datasets
