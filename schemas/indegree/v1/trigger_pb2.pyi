from indegree.v1 import value_pb2 as _value_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Trigger(_message.Message):
    __slots__ = ("start",)
    START_FIELD_NUMBER: _ClassVar[int]
    start: Start
    def __init__(self, start: _Optional[_Union[Start, _Mapping]] = ...) -> None: ...

class Start(_message.Message):
    __slots__ = ("workflow", "version", "label", "params", "run_id", "idempotency_key", "request_id", "actor", "not_before_ms", "parent")
    WORKFLOW_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    LABEL_FIELD_NUMBER: _ClassVar[int]
    PARAMS_FIELD_NUMBER: _ClassVar[int]
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    IDEMPOTENCY_KEY_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    ACTOR_FIELD_NUMBER: _ClassVar[int]
    NOT_BEFORE_MS_FIELD_NUMBER: _ClassVar[int]
    PARENT_FIELD_NUMBER: _ClassVar[int]
    workflow: str
    version: str
    label: str
    params: bytes
    run_id: str
    idempotency_key: str
    request_id: str
    actor: str
    not_before_ms: int
    parent: Parent
    def __init__(self, workflow: _Optional[str] = ..., version: _Optional[str] = ..., label: _Optional[str] = ..., params: _Optional[bytes] = ..., run_id: _Optional[str] = ..., idempotency_key: _Optional[str] = ..., request_id: _Optional[str] = ..., actor: _Optional[str] = ..., not_before_ms: _Optional[int] = ..., parent: _Optional[_Union[Parent, _Mapping]] = ...) -> None: ...

class Parent(_message.Message):
    __slots__ = ("partition", "run_id", "task", "attempt", "generation", "depth", "forget", "backfill")
    PARTITION_FIELD_NUMBER: _ClassVar[int]
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    TASK_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    DEPTH_FIELD_NUMBER: _ClassVar[int]
    FORGET_FIELD_NUMBER: _ClassVar[int]
    BACKFILL_FIELD_NUMBER: _ClassVar[int]
    partition: int
    run_id: str
    task: int
    attempt: int
    generation: int
    depth: int
    forget: bool
    backfill: int
    def __init__(self, partition: _Optional[int] = ..., run_id: _Optional[str] = ..., task: _Optional[int] = ..., attempt: _Optional[int] = ..., generation: _Optional[int] = ..., depth: _Optional[int] = ..., forget: _Optional[bool] = ..., backfill: _Optional[int] = ...) -> None: ...

class Command(_message.Message):
    __slots__ = ("request_id", "actor", "cancel", "deploy", "activate", "pause", "resume", "signal", "rerun", "skip", "mark_success", "backfill", "set_pool", "message")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    ACTOR_FIELD_NUMBER: _ClassVar[int]
    CANCEL_FIELD_NUMBER: _ClassVar[int]
    DEPLOY_FIELD_NUMBER: _ClassVar[int]
    ACTIVATE_FIELD_NUMBER: _ClassVar[int]
    PAUSE_FIELD_NUMBER: _ClassVar[int]
    RESUME_FIELD_NUMBER: _ClassVar[int]
    SIGNAL_FIELD_NUMBER: _ClassVar[int]
    RERUN_FIELD_NUMBER: _ClassVar[int]
    SKIP_FIELD_NUMBER: _ClassVar[int]
    MARK_SUCCESS_FIELD_NUMBER: _ClassVar[int]
    BACKFILL_FIELD_NUMBER: _ClassVar[int]
    SET_POOL_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    actor: str
    cancel: Cancel
    deploy: Deploy
    activate: Activate
    pause: Pause
    resume: Resume
    signal: Signal
    rerun: Rerun
    skip: Skip
    mark_success: MarkSuccess
    backfill: Backfill
    set_pool: SetPool
    message: PartitionMessage
    def __init__(self, request_id: _Optional[str] = ..., actor: _Optional[str] = ..., cancel: _Optional[_Union[Cancel, _Mapping]] = ..., deploy: _Optional[_Union[Deploy, _Mapping]] = ..., activate: _Optional[_Union[Activate, _Mapping]] = ..., pause: _Optional[_Union[Pause, _Mapping]] = ..., resume: _Optional[_Union[Resume, _Mapping]] = ..., signal: _Optional[_Union[Signal, _Mapping]] = ..., rerun: _Optional[_Union[Rerun, _Mapping]] = ..., skip: _Optional[_Union[Skip, _Mapping]] = ..., mark_success: _Optional[_Union[MarkSuccess, _Mapping]] = ..., backfill: _Optional[_Union[Backfill, _Mapping]] = ..., set_pool: _Optional[_Union[SetPool, _Mapping]] = ..., message: _Optional[_Union[PartitionMessage, _Mapping]] = ...) -> None: ...

class Cancel(_message.Message):
    __slots__ = ("run_id", "reason")
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    run_id: str
    reason: str
    def __init__(self, run_id: _Optional[str] = ..., reason: _Optional[str] = ...) -> None: ...

class Deploy(_message.Message):
    __slots__ = ("workflow", "version", "label", "activate", "activate_if_none")
    WORKFLOW_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    LABEL_FIELD_NUMBER: _ClassVar[int]
    ACTIVATE_FIELD_NUMBER: _ClassVar[int]
    ACTIVATE_IF_NONE_FIELD_NUMBER: _ClassVar[int]
    workflow: str
    version: str
    label: str
    activate: bool
    activate_if_none: bool
    def __init__(self, workflow: _Optional[str] = ..., version: _Optional[str] = ..., label: _Optional[str] = ..., activate: _Optional[bool] = ..., activate_if_none: _Optional[bool] = ...) -> None: ...

class Activate(_message.Message):
    __slots__ = ("workflow", "version", "label", "rollback")
    WORKFLOW_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    LABEL_FIELD_NUMBER: _ClassVar[int]
    ROLLBACK_FIELD_NUMBER: _ClassVar[int]
    workflow: str
    version: str
    label: str
    rollback: bool
    def __init__(self, workflow: _Optional[str] = ..., version: _Optional[str] = ..., label: _Optional[str] = ..., rollback: _Optional[bool] = ...) -> None: ...

class Pause(_message.Message):
    __slots__ = ("run_id", "reason", "workflow", "queue")
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    WORKFLOW_FIELD_NUMBER: _ClassVar[int]
    QUEUE_FIELD_NUMBER: _ClassVar[int]
    run_id: str
    reason: str
    workflow: str
    queue: str
    def __init__(self, run_id: _Optional[str] = ..., reason: _Optional[str] = ..., workflow: _Optional[str] = ..., queue: _Optional[str] = ...) -> None: ...

class Resume(_message.Message):
    __slots__ = ("run_id", "reason", "workflow", "queue")
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    WORKFLOW_FIELD_NUMBER: _ClassVar[int]
    QUEUE_FIELD_NUMBER: _ClassVar[int]
    run_id: str
    reason: str
    workflow: str
    queue: str
    def __init__(self, run_id: _Optional[str] = ..., reason: _Optional[str] = ..., workflow: _Optional[str] = ..., queue: _Optional[str] = ...) -> None: ...

class Signal(_message.Message):
    __slots__ = ("run_id", "name", "payload")
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_FIELD_NUMBER: _ClassVar[int]
    run_id: str
    name: str
    payload: bytes
    def __init__(self, run_id: _Optional[str] = ..., name: _Optional[str] = ..., payload: _Optional[bytes] = ...) -> None: ...

class Rerun(_message.Message):
    __slots__ = ("run_id", "task_ids", "reason")
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    TASK_IDS_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    run_id: str
    task_ids: _containers.RepeatedScalarFieldContainer[str]
    reason: str
    def __init__(self, run_id: _Optional[str] = ..., task_ids: _Optional[_Iterable[str]] = ..., reason: _Optional[str] = ...) -> None: ...

class Skip(_message.Message):
    __slots__ = ("run_id", "task_id", "reason")
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    TASK_ID_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    run_id: str
    task_id: str
    reason: str
    def __init__(self, run_id: _Optional[str] = ..., task_id: _Optional[str] = ..., reason: _Optional[str] = ...) -> None: ...

class MarkSuccess(_message.Message):
    __slots__ = ("run_id", "task_id", "output", "reason")
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    TASK_ID_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    run_id: str
    task_id: str
    output: bytes
    reason: str
    def __init__(self, run_id: _Optional[str] = ..., task_id: _Optional[str] = ..., output: _Optional[bytes] = ..., reason: _Optional[str] = ...) -> None: ...

class Backfill(_message.Message):
    __slots__ = ("workflow", "start_ms", "end_ms", "concurrency", "trigger", "cancel")
    WORKFLOW_FIELD_NUMBER: _ClassVar[int]
    START_MS_FIELD_NUMBER: _ClassVar[int]
    END_MS_FIELD_NUMBER: _ClassVar[int]
    CONCURRENCY_FIELD_NUMBER: _ClassVar[int]
    TRIGGER_FIELD_NUMBER: _ClassVar[int]
    CANCEL_FIELD_NUMBER: _ClassVar[int]
    workflow: str
    start_ms: int
    end_ms: int
    concurrency: int
    trigger: int
    cancel: bool
    def __init__(self, workflow: _Optional[str] = ..., start_ms: _Optional[int] = ..., end_ms: _Optional[int] = ..., concurrency: _Optional[int] = ..., trigger: _Optional[int] = ..., cancel: _Optional[bool] = ...) -> None: ...

class SetPool(_message.Message):
    __slots__ = ("name", "limit")
    NAME_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    name: str
    limit: int
    def __init__(self, name: _Optional[str] = ..., limit: _Optional[int] = ...) -> None: ...

class PartitionMessage(_message.Message):
    __slots__ = ("source", "number", "start", "command", "ended", "ask", "grant", "release", "switch", "unplaced")
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    START_FIELD_NUMBER: _ClassVar[int]
    COMMAND_FIELD_NUMBER: _ClassVar[int]
    ENDED_FIELD_NUMBER: _ClassVar[int]
    ASK_FIELD_NUMBER: _ClassVar[int]
    GRANT_FIELD_NUMBER: _ClassVar[int]
    RELEASE_FIELD_NUMBER: _ClassVar[int]
    SWITCH_FIELD_NUMBER: _ClassVar[int]
    UNPLACED_FIELD_NUMBER: _ClassVar[int]
    source: int
    number: int
    start: ForwardedStart
    command: Command
    ended: ChildEnded
    ask: LimitAsk
    grant: LimitGrant
    release: LimitRelease
    switch: Switch
    unplaced: Unplaced
    def __init__(self, source: _Optional[int] = ..., number: _Optional[int] = ..., start: _Optional[_Union[ForwardedStart, _Mapping]] = ..., command: _Optional[_Union[Command, _Mapping]] = ..., ended: _Optional[_Union[ChildEnded, _Mapping]] = ..., ask: _Optional[_Union[LimitAsk, _Mapping]] = ..., grant: _Optional[_Union[LimitGrant, _Mapping]] = ..., release: _Optional[_Union[LimitRelease, _Mapping]] = ..., switch: _Optional[_Union[Switch, _Mapping]] = ..., unplaced: _Optional[_Union[Unplaced, _Mapping]] = ...) -> None: ...

class Unplaced(_message.Message):
    __slots__ = ("workflow", "idempotency_key", "run_id")
    WORKFLOW_FIELD_NUMBER: _ClassVar[int]
    IDEMPOTENCY_KEY_FIELD_NUMBER: _ClassVar[int]
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    workflow: str
    idempotency_key: str
    run_id: str
    def __init__(self, workflow: _Optional[str] = ..., idempotency_key: _Optional[str] = ..., run_id: _Optional[str] = ...) -> None: ...

class ChildEnded(_message.Message):
    __slots__ = ("parent", "run_id", "state", "reason", "output")
    PARENT_FIELD_NUMBER: _ClassVar[int]
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_FIELD_NUMBER: _ClassVar[int]
    parent: Parent
    run_id: str
    state: str
    reason: str
    output: _value_pb2.Value
    def __init__(self, parent: _Optional[_Union[Parent, _Mapping]] = ..., run_id: _Optional[str] = ..., state: _Optional[str] = ..., reason: _Optional[str] = ..., output: _Optional[_Union[_value_pb2.Value, _Mapping]] = ...) -> None: ...

class Holder(_message.Message):
    __slots__ = ("partition", "run_id", "task", "attempt", "generation")
    PARTITION_FIELD_NUMBER: _ClassVar[int]
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    TASK_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    partition: int
    run_id: str
    task: int
    attempt: int
    generation: int
    def __init__(self, partition: _Optional[int] = ..., run_id: _Optional[str] = ..., task: _Optional[int] = ..., attempt: _Optional[int] = ..., generation: _Optional[int] = ...) -> None: ...

class LimitAsk(_message.Message):
    __slots__ = ("limit", "holder", "priority", "tokens", "per_ms")
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    HOLDER_FIELD_NUMBER: _ClassVar[int]
    PRIORITY_FIELD_NUMBER: _ClassVar[int]
    TOKENS_FIELD_NUMBER: _ClassVar[int]
    PER_MS_FIELD_NUMBER: _ClassVar[int]
    limit: str
    holder: Holder
    priority: int
    tokens: int
    per_ms: int
    def __init__(self, limit: _Optional[str] = ..., holder: _Optional[_Union[Holder, _Mapping]] = ..., priority: _Optional[int] = ..., tokens: _Optional[int] = ..., per_ms: _Optional[int] = ...) -> None: ...

class LimitGrant(_message.Message):
    __slots__ = ("limit", "holder")
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    HOLDER_FIELD_NUMBER: _ClassVar[int]
    limit: str
    holder: Holder
    def __init__(self, limit: _Optional[str] = ..., holder: _Optional[_Union[Holder, _Mapping]] = ...) -> None: ...

class LimitRelease(_message.Message):
    __slots__ = ("limit", "holder")
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    HOLDER_FIELD_NUMBER: _ClassVar[int]
    limit: str
    holder: Holder
    def __init__(self, limit: _Optional[str] = ..., holder: _Optional[_Union[Holder, _Mapping]] = ...) -> None: ...

class Switch(_message.Message):
    __slots__ = ("workflow", "queue", "paused", "actor", "reason")
    WORKFLOW_FIELD_NUMBER: _ClassVar[int]
    QUEUE_FIELD_NUMBER: _ClassVar[int]
    PAUSED_FIELD_NUMBER: _ClassVar[int]
    ACTOR_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    workflow: str
    queue: str
    paused: bool
    actor: str
    reason: str
    def __init__(self, workflow: _Optional[str] = ..., queue: _Optional[str] = ..., paused: _Optional[bool] = ..., actor: _Optional[str] = ..., reason: _Optional[str] = ...) -> None: ...

class ForwardedStart(_message.Message):
    __slots__ = ("start", "origin", "placed")
    START_FIELD_NUMBER: _ClassVar[int]
    ORIGIN_FIELD_NUMBER: _ClassVar[int]
    PLACED_FIELD_NUMBER: _ClassVar[int]
    start: Start
    origin: Origin
    placed: bool
    def __init__(self, start: _Optional[_Union[Start, _Mapping]] = ..., origin: _Optional[_Union[Origin, _Mapping]] = ..., placed: _Optional[bool] = ...) -> None: ...

class Origin(_message.Message):
    __slots__ = ("topic", "partition", "offset", "timestamp_ms", "traceparent", "tracestate", "key", "kind", "value", "headers", "scheduled_ms", "previous_scheduled_ms", "timezone")
    class HeadersEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    TOPIC_FIELD_NUMBER: _ClassVar[int]
    PARTITION_FIELD_NUMBER: _ClassVar[int]
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    TIMESTAMP_MS_FIELD_NUMBER: _ClassVar[int]
    TRACEPARENT_FIELD_NUMBER: _ClassVar[int]
    TRACESTATE_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    HEADERS_FIELD_NUMBER: _ClassVar[int]
    SCHEDULED_MS_FIELD_NUMBER: _ClassVar[int]
    PREVIOUS_SCHEDULED_MS_FIELD_NUMBER: _ClassVar[int]
    TIMEZONE_FIELD_NUMBER: _ClassVar[int]
    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    traceparent: str
    tracestate: str
    key: bytes
    kind: str
    value: bytes
    headers: _containers.ScalarMap[str, str]
    scheduled_ms: int
    previous_scheduled_ms: int
    timezone: str
    def __init__(self, topic: _Optional[str] = ..., partition: _Optional[int] = ..., offset: _Optional[int] = ..., timestamp_ms: _Optional[int] = ..., traceparent: _Optional[str] = ..., tracestate: _Optional[str] = ..., key: _Optional[bytes] = ..., kind: _Optional[str] = ..., value: _Optional[bytes] = ..., headers: _Optional[_Mapping[str, str]] = ..., scheduled_ms: _Optional[int] = ..., previous_scheduled_ms: _Optional[int] = ..., timezone: _Optional[str] = ...) -> None: ...
