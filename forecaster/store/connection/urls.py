"""Database addresses: parsed without ever repeating a password, and shown masked."""

from pathlib import Path
from urllib.parse import quote, quote_plus

from sqlalchemy import URL, make_url

from forecaster.config.urls import is_secret
from forecaster.errors import UnsupportedDatabase

_HINT = (
    "write sqlite:///FILE or postgresql://USER:PASSWORD@HOST/DATABASE; "
    "percent-encode @ : / ? # % in the password"
)
_MASK = "***"


def parse_url(text: str) -> URL:
    """Return the parsed address; UnsupportedDatabase when it is none, without quoting it."""
    try:
        url = make_url(text)
    except Exception:
        # The cause would quote parts of the address, and with them of the password.
        raise UnsupportedDatabase("database URL cannot be parsed", hint=_HINT) from None
    if "@" in (url.host or ""):
        raise UnsupportedDatabase("database URL must contain one @, found several", hint=_HINT)
    if url.drivername in {"postgres", "postgresql"}:
        return url.set(drivername="postgresql+psycopg")
    return url


def store_url(text: str) -> URL:
    """Return the parsed address of a database that can be Forecaster's own."""
    url = parse_url(text)
    if url.drivername not in {"sqlite", "sqlite+pysqlite", "postgresql+psycopg"}:
        raise UnsupportedDatabase(
            f"database must be sqlite or postgresql, found {url.drivername}", hint=_HINT
        )
    if url.get_backend_name() == "sqlite" and _is_in_memory(url):
        raise UnsupportedDatabase(
            "in-memory SQLite is not supported, the database must be a file", hint=_HINT
        )
    return url


def masked(url: URL) -> str:
    """Return the address as it is configured, with every secret in it replaced."""
    shown = url.set(
        drivername=url.drivername.removesuffix("+psycopg"),
        password=_MASK if url.password else None,
        query={name: _MASK if is_secret(name) else value for name, value in url.query.items()},
    )
    return shown.render_as_string(hide_password=True)


def is_missing_file(url: URL) -> bool:
    """Return whether the address is that of a SQLite file that is yet to be made, in its folder."""
    if url.get_backend_name() != "sqlite":
        return False
    path = Path(url.database or "")
    return path.parent.is_dir() and not path.exists()


def redact(text: str, url: URL) -> str:
    """Return `text` with every secret of `url` in it replaced, encoded or not."""
    for secret in _secrets(url):
        for spelling in (secret, quote(secret), quote_plus(secret)):
            text = text.replace(spelling, _MASK)
    return text


def _is_in_memory(url: URL) -> bool:
    database = url.database or ""
    return not database or ":memory:" in database or url.query.get("mode") == "memory"


def _secrets(url: URL) -> list[str]:
    secrets = [url.password, *(url.query[name] for name in url.query if is_secret(name))]
    return [str(secret) for secret in secrets if secret]
