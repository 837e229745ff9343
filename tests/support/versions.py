"""The contract between servers as another version has it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from google.protobuf import descriptor_pool, message_factory
from google.protobuf.descriptor_pb2 import (
    FieldDescriptorProto,
    FileDescriptorProto,
    FileDescriptorSet,
)

from scripts.protos import BASELINE, INTERNAL

LATER = "of_a_later_version"
Change = Callable[[FileDescriptorProto], None]


def released() -> FileDescriptorProto:
    """The contract of the last release, which this version must go on to understand."""
    files = FileDescriptorSet.FromString(BASELINE.read_bytes()).file
    [found] = (each for each in files if each.name == f"{INTERNAL.as_posix()}/internal.proto")
    return found


def same(_: FileDescriptorProto) -> None:
    """Change nothing."""


def without(*fields: str) -> Change:
    """A version before, which does not have these fields yet: `Message.field`."""

    def change(file: FileDescriptorProto) -> None:
        for message in file.message_type:
            kept = [each for each in message.field if f"{message.name}.{each.name}" not in fields]
            del message.field[:]
            message.field.extend(kept)

    return change


def more(file: FileDescriptorProto) -> None:
    """A version after, in which every message has a field more."""
    for message in file.message_type:
        message.field.add(
            name=LATER,
            number=1_000,
            type=FieldDescriptorProto.TYPE_STRING,
            label=FieldDescriptorProto.LABEL_OPTIONAL,
        )


class Contract:
    """The messages of the released contract with a change; each is a class that says what it has
    in that version alone.
    """

    def __init__(self, change: Change) -> None:
        file = released()
        change(file)
        self._pool = descriptor_pool.DescriptorPool()
        self._pool.AddSerializedFile(file.SerializeToString())
        self._package = file.package

    def kind(self, name: str) -> Any:
        found = self._pool.FindMessageTypeByName(f"{self._package}.{name}")
        return message_factory.GetMessageClass(found)
