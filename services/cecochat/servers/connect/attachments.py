"""Uploads and downloads of what messages carry: who may make them, and where their bytes go."""

from __future__ import annotations

import time
from functools import partial
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Histogram

from cecochat.auth.tokens import Identity, Verifier
from cecochat.domain.changes.attachments import check_described, check_id
from cecochat.domain.cluster.configuration import Config
from cecochat.domain.cluster.media import allows, media_types
from cecochat.domain.errors import Invalid, Refusal
from cecochat.domain.log import ids
from cecochat.domain.log.chain import PartitionOf
from cecochat.domain.log.ids import ChatId, UserId, is_group
from cecochat.domain.session.bucket import Rates
from cecochat.domain.session.intake import CLIENT_MESSAGE_ID_MAX_BYTES
from cecochat.internal.v1.internal_pb2 import Query
from cecochat.ports.files import Files, Noted, key_of
from cecochat.runtime import exchange
from cecochat.runtime.clock import now_ms
from cecochat.runtime.http import App
from cecochat.servers.connect.answering import Answering, Call
from cecochat.servers.connect.passing import Passing
from cecochat.uploads.receipts import For, Receipts
from cecochat.v1 import errors_pb2
from cecochat.v1.attachments_pb2 import (
    CreateUploadRequest,
    CreateUploadResponse,
    FinishUploadRequest,
    FinishUploadResponse,
    GetDownloadRequest,
    GetDownloadResponse,
    Header,
)
from cecochat.v1.events_pb2 import Attachment, Event
from cecochat.v1.history_pb2 import GetMessagesRequest, GetMessagesResponse

SERVICE: Final = "cecochat.v1.Attachments"
UPLOAD_S: Final = 900
DOWNLOAD_S: Final = 300
ANSWER_S: Final = 15.0
YOUNG_MS: Final = 5_000
BEHIND_RETRY_MS: Final = 50
DAY_S: Final = 86_400
UPLOAD_COST: Final = 5
"""How many calls it counts as to begin an upload."""


class AttachmentMetrics:
    """The metrics of these calls."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.seconds = Histogram(
            "cecochat_attachment_call_seconds",
            "Time to answer a call for an attachment, by call and code.",
            ["call", "code"],
            registry=registry,
        )
        self.uploaded = Counter(
            "cecochat_uploaded_bytes", "Bytes of uploads that were finished.", registry=registry
        )


class Attachments:
    """Answers the calls of `cecochat.v1.Attachments`. Without `files` it refuses all of them."""

    def __init__(
        self,
        files: Files | None,
        receipts: Receipts,
        passing: Passing,
        partition_of: PartitionOf,
        verifier: Verifier,
        metrics: AttachmentMetrics,
    ) -> None:
        self._given = files
        self._receipts = receipts
        self._passing = passing
        self._partition_of = partition_of
        self._metrics = metrics
        self._rates = Rates("asks for attachments")
        self._quotas = Rates("uploads so many bytes")
        self._config = Config()
        self.answering = Answering(verifier, metrics.seconds, ANSWER_S)
        self.offered = (
            Call("CreateUpload", CreateUploadRequest, CreateUploadResponse, self._create),
            Call("FinishUpload", FinishUploadRequest, FinishUploadResponse, self._finish),
            Call("GetDownload", GetDownloadRequest, GetDownloadResponse, self._download),
        )

    def configure(self, config: Config) -> None:
        """Follow a new configuration."""
        self._config = config

    @property
    def _files(self) -> Files:
        if self._given is None:
            raise Refusal(
                errors_pb2.ERROR_CODE_UNIMPLEMENTED,
                "this system has no store for attachments: send text alone",
            )
        return self._given

    def _charge(self, caller: Identity, calls: int = 1) -> None:
        if caller.scopes:
            return  # a service of the back end, whose calls are counted there
        config = self._config.of(caller.user_id)
        rate, burst = config.attachments_rate_per_user, config.attachments_burst
        self._rates.check(caller.user_id, time.monotonic(), rate, burst, calls)

    def _charge_bytes(self, caller: Identity, size_bytes: int) -> None:
        if caller.scopes:
            return
        a_day = self._config.of(caller.user_id).attachments_bytes_per_user
        now_s = time.monotonic()
        self._quotas.check(caller.user_id, now_s, a_day / DAY_S, a_day, size_bytes)

    # -- uploads

    async def _create(self, caller: Identity, request: CreateUploadRequest) -> bytes:
        files, for_ = self._files, self._for(caller, request)
        self._charge(caller, UPLOAD_COST)
        described = _described(request.attachment)
        self._check_allowed(for_.user_id, described)
        self._charge_bytes(caller, described.size_bytes)
        at_ms = now_ms()
        described.id = self._receipts.begin(for_, described, at_ms)
        key = key_of(for_.user_id, described.id)
        await files.note(self._partition(for_), [Noted(at_ms, key)])
        upload = await files.upload(key, described, UPLOAD_S)
        return CreateUploadResponse(
            attachment=described,
            url=upload.url,
            headers=[Header(name=name, value=value) for name, value in upload.headers.items()],
            expires_in_s=UPLOAD_S,
        ).SerializeToString()

    async def _finish(self, caller: Identity, request: FinishUploadRequest) -> bytes:
        files, for_ = self._files, self._for(caller, request)
        self._charge(caller)
        attachment = request.attachment
        self._receipts.check_begun(for_, attachment)
        size = await files.size(key_of(for_.user_id, attachment.id))
        if size != attachment.size_bytes:
            there = "is not there" if size is None else f"has {size} bytes"
            raise Refusal(
                errors_pb2.ERROR_CODE_NOT_FOUND,
                f"the file of {attachment.id} {there}: upload all of it before you finish",
            )
        self._metrics.uploaded.inc(size)
        attachment.receipt = self._receipts.finish(attachment)
        return FinishUploadResponse(attachment=attachment).SerializeToString()

    def _for(self, caller: Identity, request: CreateUploadRequest | FinishUploadRequest) -> For:
        """Return the message that a request is about. Raises `Refusal`."""
        chat_id = ids.chat_id(request.chat_id)
        ids.check_same_app(caller.user_id, chat_id)
        if not is_group(chat_id):
            ids.authorise(caller.user_id, chat_id)
        if not 1 <= len(request.client_message_id.encode()) <= CLIENT_MESSAGE_ID_MAX_BYTES:
            raise Invalid(
                "client_message_id is empty or too long: use 1 to "
                f"{CLIENT_MESSAGE_ID_MAX_BYTES} bytes"
            )
        return For(caller.user_id, chat_id, request.client_message_id)

    def _partition(self, for_: For) -> int:
        """Return the partition that will accept the message."""
        return self._partition_of(UserId(for_.chat_id) if is_group(for_.chat_id) else for_.user_id)

    def _check_allowed(self, user_id: UserId, described: Attachment) -> None:
        config = self._config.of(user_id)
        max_bytes = min(config.attachments_max_bytes, config.attachments_bytes_per_user)
        if described.size_bytes > max_bytes:
            raise Refusal(
                errors_pb2.ERROR_CODE_TOO_LARGE,
                f"the file has {described.size_bytes} bytes, and {max_bytes} are allowed: attach a "
                "smaller one",
            )
        if not allows(media_types(config.attachments_types), described.media_type):
            raise Invalid(
                f"files of the type {described.media_type} are not allowed: use one of "
                f"{config.attachments_types}"
            )

    # -- downloads

    async def _download(self, caller: Identity, request: GetDownloadRequest) -> bytes:
        files = self._files
        self._charge(caller)
        chat_id = ids.chat_id(request.chat_id)
        check_id(request.attachment_id)
        message = await self._message(caller.user_id, chat_id, request)
        if not message.id and is_young(request.message_id):
            raise Refusal(
                errors_pb2.ERROR_CODE_BEHIND,
                f"the history does not hold the message {request.message_id} yet: ask again",
                BEHIND_RETRY_MS,
            )
        for each in message.message.attachments:
            if each.id == request.attachment_id:
                key = key_of(UserId(message.user_id), each.id)
                url = await files.download(key, each, DOWNLOAD_S)
                return GetDownloadResponse(
                    attachment=each, url=url, expires_in_s=DOWNLOAD_S
                ).SerializeToString()
        raise Refusal(
            errors_pb2.ERROR_CODE_NOT_FOUND,
            f"there is no message {request.message_id} with the attachment "
            f"{request.attachment_id} that {caller.user_id} may read",
        )

    async def _message(
        self, user_id: UserId, chat_id: ChatId, request: GetDownloadRequest
    ) -> Event:
        """Return the message as the user sees it now; an empty one if they see none. The history
        decides that. Raises `Refusal`.
        """
        asked = GetMessagesRequest(chat_id=chat_id, before=request.message_id + 1, limit=1)
        if request.HasField("token"):
            asked.token.CopyFrom(request.token)
        answer = await self._passing.ask(
            Query(user_id=user_id, call="GetMessages", request=asked.SerializeToString())
        )
        page = GetMessagesResponse.FromString(answer)
        found = (each for each in page.messages if each.id == request.message_id)
        return next(found, Event())


def is_young(message_id: int) -> bool:
    """Return whether a message is so new that the history may not hold it yet."""
    return ids.time_ms(message_id) > now_ms() - YOUNG_MS


def _described(attachment: Attachment) -> Attachment:
    """Return what is said of a file, and nothing else. Raises `Refusal`."""
    check_described(attachment)
    return Attachment(
        name=attachment.name,
        media_type=attachment.media_type,
        size_bytes=attachment.size_bytes,
        sha256=attachment.sha256,
    )


def add(app: App, attachments: Attachments) -> None:
    """Add the calls to an application, each as `POST /cecochat.v1.Attachments/NAME`."""
    for call in attachments.offered:
        respond = partial(attachments.answering.respond, call)
        exchange.add_route(app, f"/{SERVICE}/{call.name}", call.response, respond)
