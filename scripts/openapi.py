"""Makes the OpenAPI document of what is served over HTTP, from the protos and their comments.

protoc-gen-connect-openapi does much of this in Go. Not every proxy has its module, and it knows
neither our errors nor `GET /v1/connect`.
"""

from __future__ import annotations

import json
import re
import tempfile
from pathlib import Path
from typing import Any

from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor, MethodDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorSet

from cecochat.domain.errors import Refusal
from cecochat.runtime.grpc import status_of
from cecochat.runtime.unary import STATUS, UNSUPPORTED_MEDIA_TYPE
from cecochat.servers.connect.lookups import CONNECT
from cecochat.v1 import attachments_pb2, backend_pb2, directory_pb2, errors_pb2, history_pb2
from scripts.protos import descriptors

FILE = "services/cecochat/v1/openapi.json"
SERVICES = (
    attachments_pb2.DESCRIPTOR.services_by_name["Attachments"],
    directory_pb2.DESCRIPTOR.services_by_name["Directory"],
    history_pb2.DESCRIPTOR.services_by_name["History"],
    backend_pb2.DESCRIPTOR.services_by_name["Backend"],
)
SERVERS = {
    "Attachments": ("http://127.0.0.1:8080", "A connect server, or the edge in front of it."),
    "Directory": ("http://127.0.0.1:8080", "A connect server, or the edge in front of it."),
    "History": ("http://127.0.0.1:8089", "`history_http` of the lookup."),
    "Backend": ("http://127.0.0.1:8080", "A connect server, or the edge in front of it."),
}
ABOUT = (
    "Calls are unary ones of the Connect protocol (https://connectrpc.com/docs/protocol), so any "
    "of its clients can make them, with JSON or protobuf. `GET /v1/connect` is plain JSON."
)
CODES = (
    "INVALID_ARGUMENT", "UNAUTHENTICATED", "TOKEN_EXPIRED", "TOKEN_REVOKED", "FORBIDDEN",
    "NOT_FOUND", "RATE_LIMITED", "TOO_LARGE", "INTERNAL", "UNIMPLEMENTED", "UNAVAILABLE", "BEHIND",
    "TIMEOUT",
)  # fmt: skip
"""The errors of calls; the others are those of streams."""
KINDS: dict[int, dict[str, Any]] = {
    FieldDescriptor.TYPE_INT64: {"type": "string", "format": "int64", "pattern": r"^-?\d+$"},
    FieldDescriptor.TYPE_INT32: {"type": "integer", "format": "int32"},
    FieldDescriptor.TYPE_DOUBLE: {"type": "number", "format": "double"},
    FieldDescriptor.TYPE_BOOL: {"type": "boolean"},
    FieldDescriptor.TYPE_STRING: {"type": "string"},
    FieldDescriptor.TYPE_BYTES: {"type": "string", "contentEncoding": "base64"},
}
Comments = dict[str, str]
"""Full name of a declaration -> its comment."""


def text() -> str:
    """Return the document as it is committed."""
    return json.dumps(document(), indent=2) + "\n"


def document() -> dict[str, Any]:
    """Return the document."""
    comments = _comments()
    methods = [method for service in SERVICES for method in service.methods]
    messages = {each for method in methods for each in (method.input_type, method.output_type)}
    messages.add(errors_pb2.Error.DESCRIPTOR)
    paths = {f"/{each.containing_service.full_name}/{each.name}": each for each in methods}
    return {
        "openapi": "3.1.0",
        "info": {"title": "CecoChat", "version": "v1", "description": ABOUT},
        "security": [{"token": []}],
        "paths": {
            CONNECT: _connect(),
            **{path: _call(method, comments) for path, method in paths.items()},
        },
        "components": {
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
            "schemas": {
                **{each.full_name: _schema(each, comments) for each in _reached(messages)},
                "connect.Error": CONNECT_ERROR,
                "Route": _route(comments),
                "Refusal": REFUSAL,
            },
        },
    }


# -- paths


def _call(method: MethodDescriptor, comments: Comments) -> dict[str, Any]:
    service = method.containing_service
    url, about = SERVERS[service.name]
    post = {
        "operationId": f"{service.name}_{method.name}",
        "summary": comments.get(method.full_name) or comments[method.input_type.full_name],
        "description": comments[service.full_name],
        "parameters": [
            _header("connect-protocol-version", {"const": "1"}),
            _header("connect-timeout-ms", {"type": "string", "pattern": r"^\d{1,10}$"}),
        ],
        "requestBody": {"required": True, "content": _content(method.input_type)},
        "responses": {"200": _answer("The answer.", _content(method.output_type)), **_errors()},
    }
    return {"servers": [{"url": url, "description": about}], "post": post}


def _connect() -> dict[str, Any]:
    url, about = SERVERS["Directory"]
    refusal = {"application/json": {"schema": _ref("Refusal")}}
    get = {
        "operationId": "connect",
        "summary": "The same as Directory/Lookup, with names as in the protos.",
        "responses": {
            "200": _answer("Where the user of the token has to go.", _json_of("Route")),
            "default": _answer("A refusal.", refusal),
        },
    }
    return {"servers": [{"url": url, "description": about}], "get": get}


def _header(name: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"name": name, "in": "header", "required": False, "schema": schema}


def _content(message: Descriptor) -> dict[str, Any]:
    return {**_json_of(message.full_name), "application/proto": {}}


def _json_of(name: str) -> dict[str, Any]:
    return {"application/json": {"schema": _ref(name)}}


def _answer(description: str, content: dict[str, Any]) -> dict[str, Any]:
    return {"description": description, "content": content}


def _errors() -> dict[str, Any]:
    """Return the responses of errors, by their status."""
    named: dict[int, list[str]] = {}
    for name in CODES:
        refusal = Refusal(errors_pb2.ErrorCode.Value(f"ERROR_CODE_{name}"), "")
        named.setdefault(STATUS.get(status_of(refusal), 500), []).append(name)
    named[UNSUPPORTED_MEDIA_TYPE] = ["another content type"]
    found = {str(status): ", ".join(names) for status, names in sorted(named.items())}
    error = _json_of("connect.Error")
    return {status: _answer(f"{names}.", error) for status, names in found.items()}


# -- schemas


def _reached(messages: set[Descriptor]) -> list[Descriptor]:
    """Return the messages and all that their fields are made of, by their names."""
    found: dict[str, Descriptor] = {}
    left = list(messages)
    while left:
        message = left.pop()
        if message.full_name not in found and not message.GetOptions().map_entry:
            found[message.full_name] = message
        if message.full_name in found or message.GetOptions().map_entry:
            inner = (field.message_type for field in message.fields if field.message_type)
            left += [each for each in inner if each.full_name not in found]
    return [found[name] for name in sorted(found)]


def _schema(message: Descriptor, comments: Comments) -> dict[str, Any]:
    properties = {field.json_name: _field(field, comments) for field in message.fields}
    schema: dict[str, Any] = {"type": "object", "properties": properties}
    if about := comments.get(message.full_name):
        schema["description"] = about
    return schema


def _route(comments: Comments) -> dict[str, Any]:
    message = directory_pb2.LookupResponse.DESCRIPTOR
    properties = {field.name: _field(field, comments) for field in message.fields}
    properties["backoff"] = {
        "type": "object",
        "properties": {
            each.name: {"type": "number"} for each in directory_pb2.BackOff.DESCRIPTOR.fields
        },
    }
    may_be_absent = {"websocket", "history", "history_http"}
    required = [name for name in properties if name not in may_be_absent]
    return {"type": "object", "properties": properties, "required": required}


def _field(field: FieldDescriptor, comments: Comments) -> dict[str, Any]:
    schema = _of_field(field)
    if about := comments.get(field.full_name):
        schema = {**schema, "description": about}
    if field.containing_oneof and len(field.containing_oneof.fields) > 1:
        others = [f"`{each.json_name}`" for each in field.containing_oneof.fields if each != field]
        about = f"{schema.get('description', '')} Not with {', '.join(others)}."
        schema = {**schema, "description": about.strip()}
    return schema


def _of_field(field: FieldDescriptor) -> dict[str, Any]:
    if field.message_type and field.message_type.GetOptions().map_entry:
        return {"type": "object", "additionalProperties": _one(field.message_type.fields[1])}
    return {"type": "array", "items": _one(field)} if field.is_repeated else _one(field)


def _one(field: FieldDescriptor) -> dict[str, Any]:
    if field.message_type:
        return _ref(field.message_type.full_name)
    if field.enum_type:
        return _enum(field.enum_type)
    return dict(KINDS[field.type])


def _enum(enum: EnumDescriptor) -> dict[str, Any]:
    return {"type": "string", "enum": [value.name for value in enum.values]}


def _ref(name: str) -> dict[str, Any]:
    return {"$ref": f"#/components/schemas/{name}"}


CONNECT_ERROR: dict[str, Any] = {
    "type": "object",
    "description": "An error of the Connect protocol. Its details have one `cecochat.v1.Error`.",
    "properties": {
        "code": {"type": "string"},
        "message": {"type": "string"},
        "details": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {
                    "type": {"const": "cecochat.v1.Error"},
                    "value": {"type": "string", "description": "Protobuf, in base64."},
                    "debug": _ref("cecochat.v1.Error"),
                },
                "required": ["type", "value", "debug"],
            },
        },
    },
    "required": ["code", "message", "details"],
}
REFUSAL: dict[str, Any] = {
    "type": "object",
    "properties": {
        "error": {
            "type": "object",
            "properties": {
                "code": {"type": "string"},
                "message": {"type": "string"},
                "retriable": {"type": "boolean"},
                "retry_after_ms": {"type": "integer"},
            },
            "required": ["code", "message", "retriable", "retry_after_ms"],
        }
    },
    "required": ["error"],
}


# -- comments


def _comments() -> Comments:
    """Return the comments of all messages, fields, enums, services and methods."""
    with tempfile.TemporaryDirectory() as folder:
        found = FileDescriptorSet.FromString(descriptors(Path(folder) / "all.binpb"))
    return {
        name: _joined(location.leading_comments)
        for file in found.file
        for location in file.source_code_info.location
        if location.leading_comments and (name := _name(file, list(location.path)))
    }


def _name(file: Any, path: list[int]) -> str:
    """Return the full name of what a path of numbers leads to (SourceCodeInfo)."""
    names, at = [file.package], file
    for number, index in zip(path[::2], path[1::2], strict=False):
        field = at.DESCRIPTOR.fields_by_number[number]
        at = getattr(at, field.name)[index]
        names.append(at.name)
    return ".".join(names) if len(names) > 1 else ""


def _joined(comment: str) -> str:
    return re.sub(r"\s+", " ", comment).strip()
