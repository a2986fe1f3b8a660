"""Addresses in settings: databases and where the server listens. No password leaves this module."""

import re

from forecaster.config.validators import InvalidSetting, text

_SCHEME = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9_+.-]{0,40})://(?P<rest>.*)", re.DOTALL)
_POSTGRESQL = ("postgres", "postgresql", "postgresql+psycopg")
_PARAMETER = re.compile(r"(?P<name>[?&][^=&?]*+=)[^&]*+")
_SECRET_WORDS = ("pass", "secret", "token", "key")
_HOST = r"(?:\[[0-9A-Fa-f:.%]+\]|[^\s:/@\[\]]+)"


def masked(url: str) -> str:
    """Return a URL, malformed or not, with its passwords replaced by `***`."""
    head, slashes, rest = url.partition("://")
    userinfo, at, place = rest.rpartition("@")
    if at and not rest.startswith("/") and ":" in userinfo:
        # Everything up to the last @ may belong to a password that was not percent-encoded.
        rest = f"{userinfo.partition(':')[0]}:***@{place}"

    def mask(match: re.Match[str]) -> str:
        return f"{match['name']}***" if is_secret(match["name"]) else match[0]

    return head + slashes + _PARAMETER.sub(mask, rest)


def is_secret(name: str) -> bool:
    """Return whether a parameter of this name holds a secret."""
    return any(word in name.lower() for word in _SECRET_WORDS)


def database_url(value: object) -> str:
    """Read the URL of a database that can store Forecaster's tables."""
    scheme, rest = _split(value)
    if scheme == "sqlite":
        return _sqlite(rest)
    if scheme not in _POSTGRESQL:
        raise InvalidSetting(
            "must begin with sqlite:///, postgresql:// or postgresql+psycopg://",
            actual=f"{scheme}://",
        )
    return _postgresql(rest)


def source_url(value: object) -> str:
    """Read the address of any database that SQLAlchemy has a dialect for."""
    scheme, rest = _split(value)
    return _postgresql(rest) if scheme in _POSTGRESQL else f"{scheme}://{rest}"


def listen(value: object) -> tuple[str, int]:
    """Read `host:port`; an IPv6 host stands in brackets."""
    match = re.fullmatch(rf"(?P<host>{_HOST}):(?P<port>[0-9]{{1,5}})", text(value))
    if match is None or int(match["port"]) > 65_535:
        raise InvalidSetting('must be "host:port", such as "127.0.0.1:8790"')
    return match["host"].strip("[]"), int(match["port"])


def _split(value: object) -> tuple[str, str]:
    match = _SCHEME.fullmatch(text(value))
    if match is None:
        raise InvalidSetting(
            'must be a database URL, such as "sqlite:///forecaster.db"', actual="no scheme://"
        )
    if re.search(r"[\x00-\x20\x7f]", match["rest"]) and match["scheme"] != "sqlite":
        raise InvalidSetting("must be a database URL without spaces", actual="spaces in it")
    return match["scheme"].lower(), match["rest"]


def _sqlite(rest: str) -> str:
    path = rest.removeprefix("/").partition("?")[0]
    if not rest.startswith("/") or "\0" in rest:
        raise InvalidSetting(
            "must have a path after three slashes, such as sqlite:///forecaster.db",
            actual="sqlite:// without a path",
        )
    if not path or ":memory:" in rest or "mode=memory" in rest:
        raise InvalidSetting("must name a file, such as sqlite:///forecaster.db", actual="memory")
    return f"sqlite://{rest}"


def _postgresql(rest: str) -> str:
    address = rest.partition("?")[0]
    if address.count("@") > 1:
        raise InvalidSetting("must contain one @, in a password as %40", actual="several")
    authority = address.rpartition("@")[2].partition("/")[0]
    if not re.fullmatch(rf"(?:{_HOST})?(?::[0-9]{{1,5}})?", authority):
        raise InvalidSetting(
            "must be postgresql://USER:PASSWORD@HOST:PORT/DATABASE, with @ : / ? # of a password "
            "percent-encoded",
            actual="another form",
        )
    return f"postgresql+psycopg://{rest}"
