"""The options for reading a file: declared once, used by every command that reads one."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import cached_property, wraps
from inspect import Parameter, signature
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from forecaster.config.settings import DatasetConfig, readers
from forecaster.errors import ConfigError
from jobs.files.layout import Dialect
from jobs.terminal.options import checked, zone

if TYPE_CHECKING:
    from forecaster.ingestion.normalize import Columns

FormatOption = Annotated[
    Literal["csv", "parquet", "ndjson"] | None,
    typer.Option("--format", help="Default: from the file name's suffix."),
]
StepOption = Annotated[
    str | None,
    typer.Option(
        metavar="DURATION", help="Interval between rows of a file, such as 1h. Default: detected."
    ),
]


def _option(metavar: str | None, text: str) -> Any:
    return typer.Option(metavar=metavar, help=text)


@dataclass(frozen=True, kw_only=True)  # no slots: what is parsed is kept
class FileOptions:
    """Options for reading a file; None where not given. ConfigError for invalid values."""

    series_column: Annotated[
        list[str] | None, _option("NAME", "Column that identifies the series; repeatable.")
    ] = None
    timestamp_column: Annotated[str | None, _option("NAME", "Column of the timestamp.")] = None
    value_column: Annotated[str | None, _option("NAME", "Column of the value.")] = None
    timezone: Annotated[str | None, _option("ZONE", "Time zone of timestamps without one.")] = None
    timestamp_marks: Annotated[
        Literal["instant", "start", "end"] | None,
        _option(None, "What timestamps mark: an instant, or the start or end of a period."),
    ] = None
    timestamp_format: Annotated[
        str | None, _option("FORMAT", "Format of timestamps in text, such as %d/%m/%Y %H:%M.")
    ] = None
    decimal: Annotated[str | None, _option(".|,", "Decimal separator in text.")] = None
    max_rejected: Annotated[
        float | None, _option("SHARE", "Largest allowed share of rejected rows.")
    ] = None
    separator: Annotated[str | None, _option("CHAR", "Column separator of CSV, or tab.")] = None
    encoding: Annotated[str | None, _option("NAME", "Encoding of CSV, such as latin-1.")] = None
    columns: Annotated[str | None, _option("NAME,…", "Column names of CSV without a header.")] = (
        None
    )
    series: Annotated[
        str | None, _option("NAME", "Series name of all rows, if no column has it.")
    ] = None

    def __post_init__(self) -> None:
        """Check all values before anything is read."""
        _ = zone(self.timezone), self.spelling, self.dialect

    @property
    def given(self) -> list[str]:
        """The options that were given."""
        return [f"--{name.replace('_', '-')}" for name, value in asdict(self).items() if value]

    def key(self) -> "Columns":
        """Return which columns have the series, the timestamp and the value."""
        from forecaster.ingestion.normalize import Columns

        usual = Columns()
        return Columns(
            series=tuple(self.series_column or usual.series),
            timestamp=self.timestamp_column or usual.timestamp,
            value=self.value_column or usual.value,
            ends=self.timestamp_marks == "end",
        )

    def on(self, dataset: DatasetConfig) -> DatasetConfig:
        """Return a dataset with its settings overridden by the given options."""
        options: dict[str, Any] = {
            "series_columns": tuple(self.series_column or ()),
            "timestamp_column": self.timestamp_column,
            "value_column": self.value_column,
            "timezone": zone(self.timezone),
            "timestamp_marks": self.timestamp_marks,
        }
        changed = {name: value for name, value in options.items() if value}
        return replace(dataset, **changed, **self.spelling)

    @cached_property
    def spelling(self) -> dict[str, Any]:
        """The options for text in a file, by setting; ConfigError lists all mistakes."""
        read = readers(DatasetConfig)
        settings: dict[str, Any] = {}
        problems: list[str] = []
        for name in ("timestamp_format", "decimal", "max_rejected"):
            try:
                value = checked(f"--{name.replace('_', '-')}", getattr(self, name), read[name])
                settings |= {} if value is None else {name: value}
            except ConfigError as error:
                problems += error.problems
        if problems:
            raise ConfigError(problems)
        return settings

    @cached_property
    def dialect(self) -> Dialect:
        """The CSV dialect of a file; ConfigError lists all mistakes."""
        sign = {"tab": "\t", "\\t": "\t"}.get(self.separator or "", self.separator)
        names = tuple(name.strip() for name in self.columns.split(",")) if self.columns else ()
        problems = [
            f"--{name} must not be empty"
            for name in ("separator", "encoding", "columns")
            if getattr(self, name) == ""
        ]
        if sign and (len(sign) != 1 or not sign.isascii() or sign in '"\r\n'):
            problems.append(
                f"--separator must be a single character or tab, found {self.separator}"
            )
        try:
            "".encode(self.encoding or "utf-8")
        except (LookupError, ValueError):
            problems.append(
                f"--encoding must be a text encoding known to Python, found {self.encoding}"
            )
        if len(set(names)) < len(names):
            problems.append(f"--columns must be distinct names, found {self.columns}")
        if problems:
            raise ConfigError(problems, hint="for example --separator ';' --encoding latin-1")
        return Dialect(separator=sign, encoding=self.encoding, columns=names, series=self.series)


def takes_file_options(command: Callable[..., None]) -> Callable[..., None]:
    """Let a command that has a parameter `of_file` take all FileOptions in its place."""
    options, own = signature(FileOptions).parameters, signature(command)

    @wraps(command)
    def unfolded(**given: Any) -> None:
        of_file = FileOptions(**{name: given.pop(name) for name in options})
        command(**given, of_file=of_file)

    parameters = [
        parameter.replace(kind=Parameter.KEYWORD_ONLY)
        for name, declared in own.parameters.items()
        for parameter in (options.values() if name == "of_file" else [declared])
    ]
    unfolded.__signature__ = own.replace(  # type: ignore[attr-defined] # what typer reads
        parameters=parameters
    )
    return unfolded
