"""The backend on S3, or on what speaks its API, which stores the files of messages."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cecochat.ports.closing import closing
from cecochat.ports.files import Files
from cecochat.settings.backends import Backend
from cecochat.settings.settings import Settings
from cecochat.settings.tls import secret
from cecochat.settings.variables import setting


@dataclass(frozen=True, slots=True)
class S3Variables:
    """The settings for S3 in the environment."""

    s3: str = setting(
        "",
        "URL of a bucket for attachments, such as https://s3.eu-central-1.amazonaws.com/BUCKET, "
        "which clients reach, too; empty: a folder, or in a cluster none",
    )
    s3_region: str = setting("us-east-1", "its region")
    s3_access_key: str = setting("", "id of the access key")
    s3_secret_key_file: Path | None = setting(  # noqa: RUF009
        None, "file with the secret of the access key", needs="s3_access_key"
    )


@asynccontextmanager
async def files(settings: Settings) -> AsyncGenerator[Files]:
    """Open the bucket."""
    from cecochat.adapters.s3.files import S3Files, S3Settings

    variables = settings.of(S3Variables)
    opened = await S3Files.open(
        S3Settings(
            variables.s3,
            region=variables.s3_region,
            access_key=variables.s3_access_key,
            secret_key=secret(variables.s3_secret_key_file) or "",
            namespace=settings.namespace,
            ca_file=settings.backends_ca_file,
        )
    )
    async with closing(opened):
        yield opened


BACKEND: Final = Backend(
    name="s3",
    ports={"files": files},
    chosen_by="s3",
    variables=S3Variables,
    shared=True,
    keeps_in="S3",
)
