"""How much visitors may ask of the server: limits that a lecture hall behind one address keeps, and a counter of what came from where."""

from __future__ import annotations

import ipaddress
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields, replace

from cflows_core.errors import ConfigError

ADDRESSES = 10_000  # remembered at a time; the one that was quiet longest is forgotten first
MINUTE = 60.0


def _limit(default: int, doc: str) -> int:
    return field(default=default, metadata={"doc": doc})


@dataclass(frozen=True)
class Limits:
    """What the operator allows; 0: no limit.

    An address is that of a visitor's connection, which a whole lecture hall may share: so limits an address are those of a hall.

    >>> Limits.read(["visitors=50", "memory=0"]).visitors
    50
    """

    visitors: int = _limit(300, "pages open at a time, in all")
    visits: int = _limit(600, "pages opened a minute, from one address")
    requests: int = _limit(12_000, "requests a minute, from one address")
    connections: int = _limit(300, "websockets open at a time, from one address")
    logins: int = _limit(60, "wrong passwords a minute, from one address")
    message: int = _limit(1, "megabytes of one message, or of one request's body")
    memory: int = _limit(4096, "megabytes of the server's process, beyond which nobody new is let in")

    @classmethod
    def read(cls, texts: Sequence[str]) -> Limits:
        """The limits with what texts `NAME=NUMBER` say. Raises ConfigError."""
        known = {each.name: each for each in fields(cls)}
        said: dict[str, int] = {}
        for text in texts:
            name, _, number = (part.strip() for part in text.partition("="))
            if name not in known:
                raise ConfigError(f"A limit is one of {', '.join(known)}, got {text[:80]!r}: write for example visitors=50.")
            if not (number.isascii() and number.isdecimal()) or len(number) > 9:
                raise ConfigError(f"The limit `{name}` is a whole number, 0 for none ({known[name].metadata['doc']}), got {number[:80]!r}.")
            said[name] = int(number)
        return replace(cls(), **said)


class Counter:
    """Counts what comes from each address, and tells when there is too much: a bucket an address that fills evenly over a minute.

    allowed: a minute, and at once; 0: any number.
    """

    def __init__(self, allowed: int, clock: Callable[[], float] = time.monotonic):
        self.allowed, self._clock = allowed, clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()  # address -> what is left in its bucket, and when

    def wait(self, address: str) -> float:
        """Seconds until the next one may come; 0: now. Takes nothing."""
        if not self.allowed:
            return 0.0
        return max(0.0, (1.0 - self._left(place(address))) * MINUTE / self.allowed)

    def take(self, address: str) -> float:
        """The same, and counts one that may come now."""
        wait = self.wait(address)
        if self.allowed and not wait:
            name = place(address)
            self._buckets[name] = self._left(name) - 1.0, self._clock()
            self._buckets.move_to_end(name)
            while len(self._buckets) > ADDRESSES:
                self._buckets.popitem(last=False)
        return wait

    def _left(self, name: str) -> float:
        left, at = self._buckets.get(name, (float(self.allowed), self._clock()))
        return min(float(self.allowed), left + (self._clock() - at) * self.allowed / MINUTE)


def place(address: str) -> str:
    """What counts as one address: an IPv4 address, or an IPv6 network of 64 bits, any of whose addresses a single visitor can take.

    >>> place("2001:db8::1:2"), place("192.0.2.7")
    ('2001:db8::/64', '192.0.2.7')
    """
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return address[:64]
    if found.version == 6 and found.ipv4_mapped is None:
        return str(ipaddress.ip_network((found, 64), strict=False))
    return str(found if found.version == 4 else found.ipv4_mapped)
