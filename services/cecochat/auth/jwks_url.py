"""The public keys of an identity provider: a JWKS at a URL, or one that OpenID Connect tells of."""

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
from cecochat.settings.loopback import is_loopback
from cecochat.v1 import errors_pb2

log = logging.getLogger(__name__)

REFRESH_S = 300.0  # so soon a key that is withdrawn is seen to be
AWAY_S = 30.0  # the same while the provider is away
AGAIN_S = 10.0  # between two looks, however many tokens name keys that are not known
TIMEOUT_S = 5.0
_FAILED = (TimeoutError, httpx.HTTPError, httpx.InvalidURL, ValueError, InvalidSettings)
_HEADERS = {"accept": "application/json", "accept-encoding": "identity"}
WELL_KNOWN = "/.well-known/openid-configuration"


class JwksUrl:
    """Answers from what it was last told, never from the network: `run` fetches the keys now and
    then, and soon after a token has named one that is not known. What is there stays in force while
    the provider is away or says what is no JWKS.
    """

    def __init__(self, client: httpx.AsyncClient, url: str, issuer: str) -> None:
        """One of both: where the JWKS is, or whose configuration says so. Raises
        `InvalidSettings`.
        """
        check_url(url or issuer)
        self._client = client
        self._url = url
        self._issuer = issuer
        self._keys: Mapping[str, jwt.PyJWK] = {}
        self._wanted = asyncio.Event()
        self._looked_s = self._fresh_s = -math.inf
        self._away = True  # what there is may be out of date
        self._said = ""

    def find(self, kid: str | None) -> jwt.PyJWK | None:
        """As `Keys.find`."""
        key = self._keys.get(kid or "")
        if key is None and kid and (self._away or self._may_look):
            self._wanted.set()
            raise Refusal(
                errors_pb2.ERROR_CODE_UNAVAILABLE,
                "the token's key is not known here yet and is being asked for: try again",
                1_000,
            )
        return key

    @property
    def age_s(self) -> float:
        """As `Keys.age_s`."""
        return time.monotonic() - self._fresh_s

    @property
    def _may_look(self) -> bool:
        return time.monotonic() - self._looked_s > AGAIN_S

    async def fetch(self) -> None:
        """Take what the provider says now. Raises `Unavailable`, which leaves the keys as they
        are.
        """
        try:
            async with asyncio.timeout(TIMEOUT_S):
                content = await self._get(self._url or await self._discovered())
            keys, wrong = read_set(content)
            if wrong and not keys:
                raise ValueError("; ".join(wrong))
        except _FAILED as error:
            self._away = True
            why = str(error) or type(error).__name__
            raise Unavailable(f"no keys from {self._url or self._issuer}: {why:.300}") from None
        finally:
            self._looked_s = time.monotonic()
        self._away, self._fresh_s = False, self._looked_s
        self._keys = keys
        self._say("; ".join(wrong))

    async def run(self) -> None:
        """Keep them fresh until cancelled."""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(AWAY_S if self._away else REFRESH_S):
                    await self._wanted.wait()
            await asyncio.sleep(AGAIN_S - (time.monotonic() - self._looked_s))
            self._wanted.clear()
            try:
                await self.fetch()
            except Unavailable as error:
                self._say(f"the last ones stay in force: {error}")

    def _say(self, what: str) -> None:
        """Once, until it is something else."""
        if what and what != self._said:
            log.warning("the keys of tokens: %s", what)
        elif self._said and not what:
            log.info("the keys of tokens are all as they should be again")
        self._said = what

    async def _discovered(self) -> str:
        """Where the issuer's configuration says that its keys are (OpenID Connect Discovery 4)."""
        document = json.loads(await self._get(self._issuer.rstrip("/") + WELL_KNOWN))
        match document:
            case {"issuer": self._issuer, "jwks_uri": str(url)}:
                check_url(url)
                return url
            case {"issuer": issuer, "jwks_uri": str(_)}:
                raise ValueError(f"it is the configuration of {issuer!r:.80}, not of the issuer")
        raise ValueError("it is no configuration of OpenID Connect")

    async def _get(self, url: str) -> bytes:
        """The body. No redirect is followed: it could lead anywhere, without TLS too."""
        content = bytearray()
        async with self._client.stream("GET", url, headers=_HEADERS) as said:
            if said.status_code != httpx.codes.OK:
                raise ValueError(f"{url} answered {said.status_code}")
            async for piece in said.aiter_raw():
                content += piece
                if len(content) > SET_MAX_BYTES:
                    raise ValueError(f"{url} answers with over {SET_MAX_BYTES} bytes")
        return bytes(content)


def check_url(url: str) -> None:
    """Keys that come without TLS are anybody's, except from this machine. Raises
    `InvalidSettings`.
    """
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise InvalidSettings(f"{url!r:.200} is no URL ({error})") from None
    if not parts.hostname or parts.scheme not in ("https", "http"):
        raise InvalidSettings(f"{url!r:.200} is no URL of keys: use https://HOST/PATH")
    if parts.scheme == "http" and not is_loopback(parts.hostname):
        raise InvalidSettings(
            f"{url!r:.200} is not over TLS, so that anybody on the way could give keys: use https"
        )


@asynccontextmanager
async def following(url: str, issuer: str, *, needed: bool) -> AsyncIterator[JwksUrl]:
    """The keys, kept fresh; for a server that verifies no tokens (not `needed`), none. Raises
    `Unavailable` while they cannot be had for the first time, and `InvalidSettings`.
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
