"""The configuration file: TOML to Config. All problems are reported at once."""

import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta

from forecaster.config import dataset_table, validators
from forecaster.config.settings import Config, DatasetConfig, RetentionConfig, ServerConfig
from forecaster.config.table import ParseContext, Table, shown
from forecaster.config.urls import database_url, listen
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
    context = ParseContext(environ, read_file)
    top = Table(_load(text), "", context)
    if "database_url" not in top and "database_url_file" not in top:
        top.add_problem("database_url", 'must be set, such as "sqlite:///forecaster.db"')
    url = top.take_secret("database_url", database_url)
    prune_every = top.take("prune_every", validators.period, Step(1, "day"))
    lease_ttl = top.take("lease_ttl", validators.lease_time, timedelta(seconds=15))
    server = _server(top.table("server"))
    retention = top.table("retention").read_all(RetentionConfig, _RETENTION)
    datasets = _datasets(top.table("datasets"), retention.observations)
    top.report_unknown()
    config = Config(
        database_url=url or "",
        datasets=datasets,
        server=server,
        retention=retention,
        prune_schedule=every(prune_every),
        lease_ttl=lease_ttl,
    )
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
    server = ServerConfig(
        host=host,
        port=port,
        username=table.take("username", validators.user, None),
        password=table.take_secret("password", validators.secret),
        tls_certificate=table.take("tls_certificate", validators.text, None),
        tls_key=table.take("tls_key", validators.text, None),
    )
    for key, other in (("username", "password"), ("tls_certificate", "tls_key")):
        _require_both(table, key, other)
    table.report_unknown()
    return server


def _require_both(table: Table, key: str, other: str) -> None:
    """Report where one of two settings is given, itself or as a file, and the other is not."""
    given = {name for name in (key, other) if name in table or f"{name}_file" in table}
    for name, partner in ((key, other), (other, key)):
        if partner in given and name not in given:
            table.add_problem(name, f"must be set together with {partner}")


def _datasets(table: Table, retention: timedelta | None) -> dict[str, DatasetConfig]:
    datasets = {}
    for name in table.names:
        if re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}", name):
            datasets[name] = dataset_table.read(name, table.table(name), retention)
        else:
            rule = "dataset names must be up to 100 letters, digits and _ . -"
            table.add_problem("", f"{rule}, found {shown(name)}")
    return datasets


_RETENTION: Mapping[str, Callable[[object], timedelta | int | None]] = {
    **dict.fromkeys(
        ("observations", "forecasts", "attention", "accuracy", "runs"), validators.retention
    ),
    "models": validators.count_between(0, validators.LARGEST),
}
