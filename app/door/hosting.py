"""What the operator says of who may reach the server, checked once, at the start."""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cflows_app.door.limits import Limits
from cflows_core.errors import ConfigError

HERE = ("localhost", "127.0.0.1", "::1")
SHORTEST = 12  # characters of a password
SECRET_LENGTH = 32  # characters of a secret that signs cookies
PASSWORD, SECRET, METRICS = "CFLOWS_PASSWORD", "CFLOWS_SECRET", "CFLOWS_METRICS_TOKEN"
OAUTH, OAUTH_KEY, OAUTH_SECRET = "PANEL_OAUTH_PROVIDER", "PANEL_OAUTH_KEY", "PANEL_OAUTH_SECRET"  # Panel's own names
USERS = "CFLOWS_OAUTH_USERS"
_ORIGIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]{0,252}(:\d{1,5})?")


@dataclass(frozen=True)
class Hosting:
    """Who may come in, and by which way. Made by `read`, which checks it.

    public: others than this machine may. password: what visitors type, or nothing. oauth: Panel's name of a provider, with `users`: who of
    its users may come in ("*": everyone, "@example.org": a domain). origins: names under which browsers reach the server. proxied: behind
    a reverse proxy that says where a request came from. certificate, key: files for TLS. encrypted: cookies are sent over TLS alone.
    secret: signs cookies and session tokens. metrics_token: lets a collector in without a login.
    """

    public: bool = False
    password: str = field(default="", repr=False)
    oauth: str = ""
    oauth_key: str = field(default="", repr=False)
    oauth_secret: str = field(default="", repr=False)
    users: tuple[str, ...] = ()
    origins: tuple[str, ...] = ()
    proxied: bool = False
    certificate: str = ""
    key: str = ""
    encrypted: bool = False
    secret: str = field(default="", repr=False)
    metrics_token: str = field(default="", repr=False)
    limits: Limits = field(default_factory=Limits)

    def names(self, port: int) -> list[str]:
        """HOST:PORT of every origin, as Bokeh wants them; one without a port is at this server's, or at the usual one before a proxy."""
        return [name for origin in self.origins for name in ([origin] if ":" in origin else [origin, f"{origin}:{port}"])]

    @property
    def login(self) -> bool:
        """Whether visitors must say who they are."""
        return bool(self.password or self.oauth)

    @classmethod
    def read(
        cls,
        address: str = HERE[0],
        *,
        public: bool = False,
        no_login: bool = False,
        password_file: str | None = None,
        origins: Sequence[str] = (),
        proxied: bool = False,
        plain_http: bool = False,
        certificate: str | None = None,
        key: str | None = None,
        limits: Sequence[str] = (),
        environment: MutableMapping[str, str] | None = None,
    ) -> Hosting:
        """What flags and the environment say. Raises ConfigError where that would let someone in who should not be.

        Secrets are taken out of `environment` (the process's own by default), so that no worker process inherits them.
        """
        environment = os.environ if environment is None else environment
        found = {name: environment.pop(name, "") for name in (PASSWORD, SECRET, METRICS, OAUTH, OAUTH_KEY, OAUTH_SECRET)}
        users = tuple(user.strip().lower() for user in environment.get(USERS, "").split(",") if user.strip())
        for origin in origins:
            if not _ORIGIN.fullmatch(origin):
                raise ConfigError(f"`--origin` is a host, or HOST:PORT, without https:// and without a path, got {origin[:80]!r}.")
        if bool(certificate) != bool(key):
            raise ConfigError("`--certificate` and `--certificate-key` go together, got one of them: give both files.")
        if not public:
            _must_stay_here(address, no_login, password_file)
            allowed = Limits.read(limits)
            return cls(origins=tuple(origins), limits=allowed, secret=secrets.token_hex(), metrics_token=found[METRICS])
        if not origins:
            raise ConfigError(
                "`--public` needs the name under which browsers reach the server: add --origin HOST, such as --origin cflows.example.org."
            )
        for file in filter(None, (certificate, key)):
            if not _is_file(file):
                raise ConfigError(f"A certificate and its key are files, got {file[:80]}: check the path.")
        password = "" if no_login else _password(found[PASSWORD], password_file)
        oauth = "" if no_login else found[OAUTH]
        _must_be_one_login(password, oauth, no_login)
        if oauth:
            _must_be_whole_oauth(found, users)
        encrypted = bool(certificate) or proxied
        if (password or oauth) and not encrypted and not plain_http:
            raise ConfigError(
                "A password must not travel in the open: give --certificate and --certificate-key, or --proxied behind a proxy with "
                "TLS, or accept it by --plain-http."
            )
        return cls(
            public=True,
            password=password,
            oauth=oauth,
            oauth_key=found[OAUTH_KEY],
            oauth_secret=found[OAUTH_SECRET],
            users=users,
            origins=tuple(origins),
            proxied=proxied,
            certificate=certificate or "",
            key=key or "",
            encrypted=encrypted and not plain_http,
            secret=_secret(found[SECRET]),
            metrics_token=found[METRICS],
            limits=Limits.read(limits),
        )

    def admits(self, user: str) -> bool:
        """Whether someone whom the login knows by this name may come in."""
        if not self.oauth:
            return bool(user)
        name = user.strip().lower()
        return bool(name) and any(each in ("*", name) or (each.startswith("@") and name.endswith(each)) for each in self.users)


def _is_file(path: str) -> bool:
    try:
        return Path(path).is_file()
    except OSError:  # a name that no disk holds
        return False


def _must_stay_here(address: str, no_login: bool, password_file: str | None) -> None:
    if address not in HERE:
        raise ConfigError(f"`--address {address}` lets other machines in: add --public, which asks who may come, or leave it at 127.0.0.1.")
    if no_login or password_file:
        raise ConfigError("`--no-login` and `--password-file` belong to --public: without it, only this machine can reach the server.")


def _password(said: str, path: str | None) -> str:
    if path is not None:
        if said:
            raise ConfigError(f"A password comes from --password-file or from {PASSWORD}, got both: leave one out.")
        try:
            said = Path(path).expanduser().read_text(encoding="utf-8").strip("\r\n")
        except (OSError, UnicodeError) as problem:
            raise ConfigError(f"`--password-file {path}` cannot be read ({problem}): check the path.") from None
    if (said or path is not None) and len(said) < SHORTEST:
        raise ConfigError(f"A password has at least {SHORTEST} characters, got {len(said)}: take a longer one.")
    return said


def _must_be_one_login(password: str, oauth: str, no_login: bool) -> None:
    if password and oauth:
        raise ConfigError(f"Visitors log in by a password or by OAuth, got both: unset {PASSWORD} or {OAUTH}.")
    if not (password or oauth or no_login):
        raise ConfigError(
            f"`--public` needs a login: put a password into {PASSWORD} or --password-file, or set {OAUTH} for OAuth; "
            "--no-login lets everyone in."
        )


def _must_be_whole_oauth(found: Mapping[str, str], users: Sequence[str]) -> None:
    missing = [name for name in (OAUTH_KEY, OAUTH_SECRET) if not found[name]] + ([] if users else [USERS])
    if missing:
        raise ConfigError(
            f"OAuth with {found[OAUTH]} needs {' and '.join(missing)} in the environment; {USERS} lists who may come in, such as "
            "ada@example.org,@example.org."
        )


def _secret(said: str) -> str:
    if said and len(said) < SECRET_LENGTH:
        raise ConfigError(
            f"{SECRET} has at least {SECRET_LENGTH} characters, got {len(said)}: take 64 random ones, or none for a new one at each start."
        )
    return said or secrets.token_hex()
