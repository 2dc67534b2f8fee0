from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Value(_message.Message):
    __slots__ = ("json", "reference")
    JSON_FIELD_NUMBER: _ClassVar[int]
    REFERENCE_FIELD_NUMBER: _ClassVar[int]
    json: bytes
    reference: Reference
    def __init__(self, json: _Optional[bytes] = ..., reference: _Optional[_Union[Reference, _Mapping]] = ...) -> None: ...

class Reference(_message.Message):
    __slots__ = ("partition", "offset", "parts", "size", "sha256", "list", "whole")
    PARTITION_FIELD_NUMBER: _ClassVar[int]
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    PARTS_FIELD_NUMBER: _ClassVar[int]
    SIZE_FIELD_NUMBER: _ClassVar[int]
    SHA256_FIELD_NUMBER: _ClassVar[int]
    LIST_FIELD_NUMBER: _ClassVar[int]
    WHOLE_FIELD_NUMBER: _ClassVar[int]
    partition: int
    offset: int
    parts: int
    size: int
    sha256: bytes
    list: bool
    whole: int
    def __init__(self, partition: _Optional[int] = ..., offset: _Optional[int] = ..., parts: _Optional[int] = ..., size: _Optional[int] = ..., sha256: _Optional[bytes] = ..., list: _Optional[bool] = ..., whole: _Optional[int] = ...) -> None: ...

class ValueList(_message.Message):
    __slots__ = ("values",)
    VALUES_FIELD_NUMBER: _ClassVar[int]
    values: _containers.RepeatedCompositeFieldContainer[Value]
    def __init__(self, values: _Optional[_Iterable[_Union[Value, _Mapping]]] = ...) -> None: ...

class Error(_message.Message):
    __slots__ = ("type", "bases", "message", "traceback", "causes", "cut", "permanent", "exit_code")
    TYPE_FIELD_NUMBER: _ClassVar[int]
    BASES_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    TRACEBACK_FIELD_NUMBER: _ClassVar[int]
    CAUSES_FIELD_NUMBER: _ClassVar[int]
    CUT_FIELD_NUMBER: _ClassVar[int]
    PERMANENT_FIELD_NUMBER: _ClassVar[int]
    EXIT_CODE_FIELD_NUMBER: _ClassVar[int]
    type: str
    bases: _containers.RepeatedScalarFieldContainer[str]
    message: str
    traceback: str
    causes: _containers.RepeatedCompositeFieldContainer[Error]
    cut: bool
    permanent: bool
    exit_code: int
    def __init__(self, type: _Optional[str] = ..., bases: _Optional[_Iterable[str]] = ..., message: _Optional[str] = ..., traceback: _Optional[str] = ..., causes: _Optional[_Iterable[_Union[Error, _Mapping]]] = ..., cut: _Optional[bool] = ..., permanent: _Optional[bool] = ..., exit_code: _Optional[int] = ...) -> None: ...
