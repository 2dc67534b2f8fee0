from indegree.v1 import value_pb2 as _value_pb2
from indegree.v1 import event_pb2 as _event_pb2
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Progress(_message.Message):
    __slots__ = ("id", "type", "run_id", "workflow", "version", "task_id", "attempt", "state", "reason", "position", "time_ms", "log", "request_id", "output", "error", "worker", "started_ms", "finished_ms", "actor", "traceparent", "label", "due_ms", "idempotency_key", "waits_for", "instances", "generation", "params")
    ID_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    WORKFLOW_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    TASK_ID_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    POSITION_FIELD_NUMBER: _ClassVar[int]
    TIME_MS_FIELD_NUMBER: _ClassVar[int]
    LOG_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    WORKER_FIELD_NUMBER: _ClassVar[int]
    STARTED_MS_FIELD_NUMBER: _ClassVar[int]
    FINISHED_MS_FIELD_NUMBER: _ClassVar[int]
    ACTOR_FIELD_NUMBER: _ClassVar[int]
    TRACEPARENT_FIELD_NUMBER: _ClassVar[int]
    LABEL_FIELD_NUMBER: _ClassVar[int]
    DUE_MS_FIELD_NUMBER: _ClassVar[int]
    IDEMPOTENCY_KEY_FIELD_NUMBER: _ClassVar[int]
    WAITS_FOR_FIELD_NUMBER: _ClassVar[int]
    INSTANCES_FIELD_NUMBER: _ClassVar[int]
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    PARAMS_FIELD_NUMBER: _ClassVar[int]
    id: str
    type: str
    run_id: str
    workflow: str
    version: str
    task_id: str
    attempt: int
    state: str
    reason: str
    position: int
    time_ms: int
    log: _event_pb2.ProgressPosition
    request_id: str
    output: _value_pb2.Value
    error: _value_pb2.Error
    worker: str
    started_ms: int
    finished_ms: int
    actor: str
    traceparent: str
    label: str
    due_ms: int
    idempotency_key: str
    waits_for: str
    instances: int
    generation: int
    params: _value_pb2.Value
    def __init__(self, id: _Optional[str] = ..., type: _Optional[str] = ..., run_id: _Optional[str] = ..., workflow: _Optional[str] = ..., version: _Optional[str] = ..., task_id: _Optional[str] = ..., attempt: _Optional[int] = ..., state: _Optional[str] = ..., reason: _Optional[str] = ..., position: _Optional[int] = ..., time_ms: _Optional[int] = ..., log: _Optional[_Union[_event_pb2.ProgressPosition, _Mapping]] = ..., request_id: _Optional[str] = ..., output: _Optional[_Union[_value_pb2.Value, _Mapping]] = ..., error: _Optional[_Union[_value_pb2.Error, _Mapping]] = ..., worker: _Optional[str] = ..., started_ms: _Optional[int] = ..., finished_ms: _Optional[int] = ..., actor: _Optional[str] = ..., traceparent: _Optional[str] = ..., label: _Optional[str] = ..., due_ms: _Optional[int] = ..., idempotency_key: _Optional[str] = ..., waits_for: _Optional[str] = ..., instances: _Optional[int] = ..., generation: _Optional[int] = ..., params: _Optional[_Union[_value_pb2.Value, _Mapping]] = ...) -> None: ...
