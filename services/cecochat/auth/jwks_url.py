"""Fetches an identity provider's public keys from a JWKS URL, or through OpenID Connect."""

from __future__ import annotations

import asyncio
import json
import logging
import math
import ssl
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from urllib.parse import urlsplit

import httpx
import jwt

from cecochat.auth.keys import SET_MAX_BYTES, read_set
from cecochat.domain.errors import InvalidSettings, Refusal, Unavailable
from cecochat.settings.hosts import is_loopback
from cecochat.v1 import errors_pb2

log = logging.getLogger(__name__)

REFRESH_S = 300.0  # how soon a withdrawn key is no longer accepted
AWAY_S = 30.0  # how often to try while the provider does not answer
AGAIN_S = 10.0  # the shortest time between two fetches, however many tokens name unknown keys
TIMEOUT_S = 5.0
_FAILED = (TimeoutError, httpx.HTTPError, httpx.InvalidURL, ValueError, InvalidSettings)
_HEADERS = {"accept": "application/json", "accept-encoding": "identity"}
WELL_KNOWN = "/.well-known/openid-configuration"


class JwksUrl:
    """Keeps an identity provider's keys at hand, so that verifying never waits for the network.

    `run` fetches the keys now and then, and soon after a token has named an unknown key. The last
    keys stay in force while the provider does not answer, or answers something else.
    """

    def __init__(self, client: httpx.AsyncClient, url: str, issuer: str) -> None:
        """Take the URL of the JWKS, or the issuer whose configuration names it.

        Raises `InvalidSettings`.
        """
        check_url(url or issuer)
        self._client = client
        self._url = url
        self._issuer = issuer
        self._keys: Mapping[str, jwt.PyJWK] = {}
        self._wanted = asyncio.Event()
        self._looked_s = self._fresh_s = -math.inf
        self._away = True  # the keys may be out of date
        self._said = ""  # the fault that was logged last

    def find(self, kid: str | None) -> jwt.PyJWK | None:
        """Return a key, as `Keys.find` says."""
        key = self._keys.get(kid or "")
        if key is None and kid and (self._away or self._may_look):
            self._wanted.set()
            raise Refusal(
                errors_pb2.ERROR_CODE_UNAVAILABLE,
                "the token's key is not known here yet, and is being fetched: try again",
                1_000,
            )
        return key

    @property
    def age_s(self) -> float:
        """The age of the keys, as `Keys.age_s` says."""
        return time.monotonic() - self._fresh_s

    @property
    def _may_look(self) -> bool:
        return time.monotonic() - self._looked_s > AGAIN_S

    async def fetch(self) -> None:
        """Fetch the keys now. Raises `Unavailable`, and then keeps the ones that it has."""
        try:
            async with asyncio.timeout(TIMEOUT_S):
                content = await self._get(self._url or await self._discovered())
            keys, wrong = read_set(content)
            if wrong and not keys:
                raise ValueError("; ".join(wrong))
        except _FAILED as error:
            self._away = True
            why = str(error) or type(error).__name__
            source = self._url or self._issuer
            raise Unavailable(f"no keys can be fetched from {source}: {why:.300}") from None
        finally:
            self._looked_s = time.monotonic()
        self._away, self._fresh_s = False, self._looked_s
        self._keys = keys
        self._say("; ".join(wrong))

    async def run(self) -> None:
        """Keep the keys fresh until cancelled."""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(AWAY_S if self._away else REFRESH_S):
                    await self._wanted.wait()
            await asyncio.sleep(AGAIN_S - (time.monotonic() - self._looked_s))
            self._wanted.clear()
            try:
                await self.fetch()
            except Unavailable as error:
                self._say(f"the last ones stay in force, because {error}")

    def _say(self, what: str) -> None:
        """Log a fault once, and once that it is over."""
        if what and what != self._said:
            log.warning("there is a problem with the keys of tokens: %s", what)
        elif self._said and not what:
            log.info("the keys of tokens are in order again")
        self._said = what

    async def _discovered(self) -> str:
        """Return the JWKS URL from the issuer's configuration (OpenID Connect Discovery 1.0, 4)."""
        document = json.loads(await self._get(self._issuer.rstrip("/") + WELL_KNOWN))
        match document:
            case {"issuer": self._issuer, "jwks_uri": str(url)}:
                check_url(url)
                return url
            case {"issuer": issuer, "jwks_uri": str(_)}:
                raise ValueError(f"it is the configuration of another issuer, {issuer!r:.80}")
        raise ValueError("it is not a configuration of OpenID Connect")

    async def _get(self, url: str) -> bytes:
        """Fetch a URL. Redirects are not followed: they could lead anywhere, even without TLS."""
        content = bytearray()
        async with self._client.stream("GET", url, headers=_HEADERS) as said:
            if said.status_code != httpx.codes.OK:
                raise ValueError(f"{url} answered {said.status_code}")
            async for piece in said.aiter_raw():
                content += piece
                if len(content) > SET_MAX_BYTES:
                    raise ValueError(f"{url} answers with more than {SET_MAX_BYTES} bytes")
        return bytes(content)


def check_url(url: str) -> None:
    """Raise `InvalidSettings` unless a URL is over TLS, or on this machine.

    Without TLS, anybody on the way could replace the keys.
    """
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise InvalidSettings(f"{url!r:.200} is not a URL ({error})") from None
    if not parts.hostname or parts.scheme not in ("https", "http"):
        raise InvalidSettings(f"{url!r:.200} is not a URL of keys: use https://HOST/PATH")
    if parts.scheme == "http" and not is_loopback(parts.hostname):
        raise InvalidSettings(
            f"{url!r:.200} is not over TLS, so anybody on the way could replace the keys: use https"
        )


@asynccontextmanager
async def following(url: str, issuer: str, *, needed: bool) -> AsyncIterator[JwksUrl]:
    """Keep the keys fresh during the block.

    A server that verifies no tokens does not need them, so nothing is fetched. Raises `Unavailable`
    if the first fetch fails, and `InvalidSettings`.
    """
    context = ssl.create_default_context()
    async with httpx.AsyncClient(verify=context, timeout=TIMEOUT_S, trust_env=False) as client:
        keys = JwksUrl(client, url, issuer)
        if not needed:
            yield keys
            return
        await keys.fetch()
        async with asyncio.TaskGroup() as group:
            running = group.create_task(keys.run())
            yield keys
            running.cancel()
