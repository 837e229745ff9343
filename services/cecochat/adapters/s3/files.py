"""Files in a bucket of S3. Below the namespace, `kept/OWNER/ID` is a file, and the name of each
empty object in `noted/PARTITION/` is a note.
"""

from __future__ import annotations

import asyncio
from base64 import b64encode
from collections.abc import AsyncGenerator, Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar
from urllib.parse import quote, urlsplit

import botocore.session  # type: ignore[import-untyped]
from botocore.config import Config  # type: ignore[import-untyped]
from botocore.exceptions import BotoCoreError, ClientError  # type: ignore[import-untyped]
from typing_extensions import override

from cecochat.domain.errors import InvalidSettings, Unavailable
from cecochat.ports.files import PIECE_BYTES, Files, Key, Noted, Upload
from cecochat.v1.events_pb2 import Attachment

CONNECT_S: Final = 2
ANSWER_S: Final = 5
TRIES: Final = 2
AT_ONCE: Final = 8
TIME_DIGITS: Final = 13
NOT_FOUND: Final = 404
REFUSED: Final = (400, 403, NOT_FOUND)

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class S3Settings:
    """Which bucket, and how to log in."""

    url: str  # of the bucket: https://HOST/BUCKET
    region: str = "us-east-1"
    access_key: str = ""
    secret_key: str = field(default="", repr=False)
    namespace: str = "cecochat"  # before the key of each object
    ca_file: Path | None = None  # None: the system's authorities


class S3Files(Files):
    """All files in one bucket. Requests are made in threads; URLs are signed without any."""

    def __init__(self, client: Any, bucket: str, origin: str, namespace: str) -> None:
        """Use `open` instead."""
        self._client = client
        self._bucket = bucket
        self._namespace = namespace
        self.origin = origin

    @classmethod
    async def open(cls, settings: S3Settings) -> S3Files:
        """See that the bucket is there. Raises `InvalidSettings`, `Unavailable`."""
        parts = urlsplit(settings.url)
        bucket = parts.path.strip("/")
        if parts.scheme not in ("http", "https") or not parts.netloc or not bucket:
            raise InvalidSettings(
                f"CECOCHAT_S3 is {settings.url!r:.200}: use the URL of a bucket, such as "
                "https://s3.eu-central-1.amazonaws.com/BUCKET"
            )
        origin = f"{parts.scheme}://{parts.netloc}"
        client = await asyncio.to_thread(_client, settings, origin)
        opened = cls(client, bucket, origin, settings.namespace)
        try:
            await _asked(partial(client.head_bucket, Bucket=bucket))
        except ClientError as error:
            raise InvalidSettings(
                f"CECOCHAT_S3: the bucket {bucket} at {origin} cannot be used ({error}): make it, "
                "and name a key that may use it"
            ) from None
        return opened

    # -- URLs

    @override
    async def upload(self, key: Key, described: Attachment, for_s: int) -> Upload:
        """The size is part of the signature, too; every HTTP client sends it by itself."""
        checksum = b64encode(described.sha256).decode()
        url = self._signed(
            "put_object",
            for_s,
            Key=self._file(key),
            ContentLength=described.size_bytes,
            ContentType=described.media_type,
            ChecksumSHA256=checksum,
        )
        headers = {"content-type": described.media_type, "x-amz-checksum-sha256": checksum}
        return Upload(url, headers)

    @override
    async def download(self, key: Key, described: Attachment, for_s: int) -> str:
        name = quote(described.name, safe="")
        return self._signed(
            "get_object",
            for_s,
            Key=self._file(key),
            ResponseContentType=described.media_type,
            ResponseContentDisposition=f"attachment; filename*=UTF-8''{name}",
        )

    def _signed(self, call: str, for_s: int, **said: Any) -> str:
        of_bucket = {"Bucket": self._bucket, **said}
        return str(self._client.generate_presigned_url(call, Params=of_bucket, ExpiresIn=for_s))

    # -- files

    @override
    async def size(self, key: Key) -> int | None:
        try:
            found = await self._ask("head_object", Key=self._file(key))
        except ClientError as error:
            if _status(error) == NOT_FOUND:
                return None
            raise _unavailable(error) from None
        return int(found["ContentLength"])

    @override
    async def read(self, key: Key) -> AsyncGenerator[bytes] | None:
        try:
            found = await self._ask("get_object", Key=self._file(key))
        except ClientError as error:
            if _status(error) == NOT_FOUND:
                return None
            raise _unavailable(error) from None
        return _pieces(found["Body"])

    @override
    async def delete(self, keys: Collection[Key]) -> None:
        await self._each("delete_object", map(self._file, keys))

    @override
    async def of(self, owner: str) -> list[Key]:
        prefix = f"{self._namespace}/kept/{owner}/"
        return [Key(owner, name.removeprefix(prefix)) for name in await self._names(prefix)]

    def _file(self, key: Key) -> str:
        return f"{self._namespace}/kept/{key.owner}/{key.id}"

    # -- notes

    @override
    async def note(self, partition: int, noted: Collection[Noted]) -> None:
        await self._each("put_object", self._notes(partition, noted))

    @override
    async def noted(self, partition: int, before_ms: int, limit: int = 1_000) -> list[Noted]:
        prefix = self._of_notes(partition)
        found = (name.removeprefix(prefix) for name in await self._names(prefix, limit))
        return [_noted(name) for name in found if name < f"{before_ms:0{TIME_DIGITS}}"]

    @override
    async def settle(self, partition: int, noted: Collection[Noted]) -> None:
        await self._each("delete_object", self._notes(partition, noted))

    def _of_notes(self, partition: int) -> str:
        return f"{self._namespace}/noted/{partition}/"

    def _notes(self, partition: int, noted: Iterable[Noted]) -> Iterator[str]:
        prefix = self._of_notes(partition)
        for at_ms, key in noted:
            yield f"{prefix}{at_ms:0{TIME_DIGITS}}.{key.owner}.{key.id}"

    @override
    async def close(self) -> None:
        await asyncio.to_thread(self._client.close)

    # -- requests

    async def _names(self, prefix: str, limit: int | None = None) -> list[str]:
        """Return the keys of objects in their order, at most `limit` of them."""
        names: list[str] = []
        more: dict[str, Any] = {}
        while True:
            try:
                page = await self._ask("list_objects_v2", Prefix=prefix, **more)
            except ClientError as error:
                raise _unavailable(error) from None
            names += [each["Key"] for each in page.get("Contents", ())]
            if not page.get("IsTruncated") or (limit is not None and len(names) >= limit):
                return names[:limit]
            more = {"ContinuationToken": page["NextContinuationToken"]}

    async def _each(self, call: str, names: Iterable[str]) -> None:
        """Make a call for each object. Not every store deletes several at once."""
        gate = asyncio.Semaphore(AT_ONCE)

        async def once(name: str) -> None:
            async with gate:
                await self._ask(call, Key=name)

        try:
            await asyncio.gather(*map(once, names))
        except ClientError as error:
            raise _unavailable(error) from None

    async def _ask(self, call: str, **said: Any) -> Any:
        return await _asked(partial(getattr(self._client, call), Bucket=self._bucket, **said))


def _client(settings: S3Settings, origin: str) -> Any:
    return botocore.session.Session().create_client(
        "s3",
        endpoint_url=origin,
        region_name=settings.region,
        aws_access_key_id=settings.access_key or None,
        aws_secret_access_key=settings.secret_key or None,
        verify=str(settings.ca_file) if settings.ca_file else None,
        config=Config(
            signature_version="s3v4",
            s3={"addressing_style": "path"},
            connect_timeout=CONNECT_S,
            read_timeout=ANSWER_S,
            retries={"total_max_attempts": TRIES},
            max_pool_connections=AT_ONCE,
            request_checksum_calculation="when_required",  # others than S3 may not know them
            response_checksum_validation="when_required",
        ),
    )


async def _asked(request: Callable[[], T]) -> T:
    """Make a request in a thread. Raises `Unavailable`, and `ClientError` if it is refused."""
    try:
        return await asyncio.to_thread(request)
    except BotoCoreError as error:
        raise Unavailable(f"the store of files does not answer: {error}") from None
    except ClientError as error:
        if _status(error) in REFUSED:
            raise
        raise _unavailable(error) from None


async def _pieces(body: Any) -> AsyncGenerator[bytes]:
    try:
        while piece := await _asked(partial(body.read, PIECE_BYTES)):
            yield piece
    finally:
        await asyncio.to_thread(body.close)


def _status(error: ClientError) -> int:
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def _unavailable(error: ClientError) -> Unavailable:
    return Unavailable(f"the store of files refuses: {error}")


def _noted(name: str) -> Noted:
    at_ms, owner, id_ = name.split(".")
    return Noted(int(at_ms), Key(owner, id_))
