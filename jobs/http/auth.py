"""Access to the HTTP endpoints: basic authentication and TLS."""

import base64
import binascii
import hmac
import logging
import ssl
from hashlib import sha256
from pathlib import Path

from forecaster.config.settings import ServerConfig
from forecaster.errors import ConfigError

log = logging.getLogger("forecaster")


def is_authorized(config: ServerConfig, authorization: str | None) -> bool:
    """Return whether the header `authorization` has the user and the password of the settings.

    The time that it takes does not depend on what is wrong. True where no password is set.
    """
    if config.username is None or config.password is None:
        return True
    scheme, _, encoded = (authorization or "").partition(" ")
    try:
        given = base64.b64decode(encoded.strip(), validate=True)
    except (binascii.Error, ValueError):
        given = b""
    expected = f"{config.username}:{config.password}".encode()
    is_right = hmac.compare_digest(sha256(given).digest(), sha256(expected).digest())
    return is_right and scheme.lower() == "basic"


class Certificate:
    """The certificate and key of the server, read again when their files change."""

    def __init__(self, certificate: str, key: str) -> None:
        """ConfigError unless both can be read and belong together."""
        self._certificate, self._key = certificate, key
        self._loaded = self._contents()
        self.context = self._context()

    def refresh(self) -> None:
        """Reload the files if they have changed; while they are invalid, keep the previous pair."""
        try:
            contents = self._contents()
            if contents == self._loaded:
                return
            self._loaded = contents
            self._context()
            self.context.load_cert_chain(self._certificate, self._key, password=_no_password)
        except (ConfigError, OSError) as error:
            log.error("could not reload the TLS certificate, keeping the previous one: %s", error)
        else:
            log.info("reloaded the TLS certificate %s", self._certificate)

    def _contents(self) -> tuple[bytes, bytes]:
        try:
            return Path(self._certificate).read_bytes(), Path(self._key).read_bytes()
        except OSError as error:
            raise _unusable(f"{error.filename}: {error.strerror}") from error

    def _context(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        try:
            context.load_cert_chain(self._certificate, self._key, password=_no_password)
        except (ssl.SSLError, OSError, ValueError) as error:
            raise _unusable(str(error)) from error
        return context


def _no_password() -> str:
    """Prevent OpenSSL from asking for a password on the terminal."""
    return ""


def _unusable(reason: str) -> ConfigError:
    return ConfigError(
        [f"cannot load server.tls_certificate and server.tls_key: {reason}"],
        hint="set both under [server]: a matching pair of PEM files, the key unencrypted",
    )
