from indegree.v1 import value_pb2 as _value_pb2
from indegree.v1 import trigger_pb2 as _trigger_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Frame(_message.Message):
    __slots__ = ("format", "epoch", "seq", "time_ms", "owner", "takeover_id", "next", "recover_from", "progress", "closed", "events")
    FORMAT_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    SEQ_FIELD_NUMBER: _ClassVar[int]
    TIME_MS_FIELD_NUMBER: _ClassVar[int]
    OWNER_FIELD_NUMBER: _ClassVar[int]
    TAKEOVER_ID_FIELD_NUMBER: _ClassVar[int]
    NEXT_FIELD_NUMBER: _ClassVar[int]
    RECOVER_FROM_FIELD_NUMBER: _ClassVar[int]
    PROGRESS_FIELD_NUMBER: _ClassVar[int]
    CLOSED_FIELD_NUMBER: _ClassVar[int]
    EVENTS_FIELD_NUMBER: _ClassVar[int]
    format: int
    epoch: int
    seq: int
    time_ms: int
    owner: str
    takeover_id: bytes
    next: _containers.RepeatedScalarFieldContainer[int]
    recover_from: RecoverFrom
    progress: ProgressPosition
    closed: bool
    events: _containers.RepeatedCompositeFieldContainer[Event]
    def __init__(self, format: _Optional[int] = ..., epoch: _Optional[int] = ..., seq: _Optional[int] = ..., time_ms: _Optional[int] = ..., owner: _Optional[str] = ..., takeover_id: _Optional[bytes] = ..., next: _Optional[_Iterable[int]] = ..., recover_from: _Optional[_Union[RecoverFrom, _Mapping]] = ..., progress: _Optional[_Union[ProgressPosition, _Mapping]] = ..., closed: _Optional[bool] = ..., events: _Optional[_Iterable[_Union[Event, _Mapping]]] = ...) -> None: ...

class RecoverFrom(_message.Message):
    __slots__ = ("offset", "epoch", "seq")
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    SEQ_FIELD_NUMBER: _ClassVar[int]
    offset: int
    epoch: int
    seq: int
    def __init__(self, offset: _Optional[int] = ..., epoch: _Optional[int] = ..., seq: _Optional[int] = ...) -> None: ...

class ProgressPosition(_message.Message):
    __slots__ = ("epoch", "seq", "index")
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    SEQ_FIELD_NUMBER: _ClassVar[int]
    INDEX_FIELD_NUMBER: _ClassVar[int]
    epoch: int
    seq: int
    index: int
    def __init__(self, epoch: _Optional[int] = ..., seq: _Optional[int] = ..., index: _Optional[int] = ...) -> None: ...

class Event(_message.Message):
    __slots__ = ("kind", "run_id", "task", "attempt", "generation", "worker", "value", "reason", "error", "started_ms", "finished_ms", "due_ms", "workflow", "version", "label", "cause", "cause_offset", "actor", "request_id", "idempotency_key", "origin", "traceparent", "tracestate", "data", "part", "parts", "target", "number", "total", "topic", "state", "digest", "log")
    class Kind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        KIND_UNSPECIFIED: _ClassVar[Event.Kind]
        RUN_STARTED: _ClassVar[Event.Kind]
        RUN_FINISHED: _ClassVar[Event.Kind]
        RUN_CANCEL_REQUESTED: _ClassVar[Event.Kind]
        RUN_REFUSED: _ClassVar[Event.Kind]
        RUN_REPEATED: _ClassVar[Event.Kind]
        TASK_QUEUED: _ClassVar[Event.Kind]
        TASK_STARTED: _ClassVar[Event.Kind]
        TASK_SUCCEEDED: _ClassVar[Event.Kind]
        ATTEMPT_FAILED: _ClassVar[Event.Kind]
        TASK_RETRYING: _ClassVar[Event.Kind]
        TASK_FAILED: _ClassVar[Event.Kind]
        TASK_SKIPPED: _ClassVar[Event.Kind]
        TASK_CANCELLED: _ClassVar[Event.Kind]
        RESULT_STALE: _ClassVar[Event.Kind]
        TASK_REJECTED: _ClassVar[Event.Kind]
        TASK_RETURNED: _ClassVar[Event.Kind]
        DEFINITION_RECORDED: _ClassVar[Event.Kind]
        VERSION_DEPLOYED: _ClassVar[Event.Kind]
        VERSION_ACTIVATED: _ClassVar[Event.Kind]
        DEPLOY_REFUSED: _ClassVar[Event.Kind]
        OUTBOX_ADDED: _ClassVar[Event.Kind]
        OUTBOX_SENT: _ClassVar[Event.Kind]
        MESSAGE_RECEIVED: _ClassVar[Event.Kind]
        INPUT_REFUSED: _ClassVar[Event.Kind]
        COMMAND_REFUSED: _ClassVar[Event.Kind]
        SNAPSHOT: _ClassVar[Event.Kind]
    KIND_UNSPECIFIED: Event.Kind
    RUN_STARTED: Event.Kind
    RUN_FINISHED: Event.Kind
    RUN_CANCEL_REQUESTED: Event.Kind
    RUN_REFUSED: Event.Kind
    RUN_REPEATED: Event.Kind
    TASK_QUEUED: Event.Kind
    TASK_STARTED: Event.Kind
    TASK_SUCCEEDED: Event.Kind
    ATTEMPT_FAILED: Event.Kind
    TASK_RETRYING: Event.Kind
    TASK_FAILED: Event.Kind
    TASK_SKIPPED: Event.Kind
    TASK_CANCELLED: Event.Kind
    RESULT_STALE: Event.Kind
    TASK_REJECTED: Event.Kind
    TASK_RETURNED: Event.Kind
    DEFINITION_RECORDED: Event.Kind
    VERSION_DEPLOYED: Event.Kind
    VERSION_ACTIVATED: Event.Kind
    DEPLOY_REFUSED: Event.Kind
    OUTBOX_ADDED: Event.Kind
    OUTBOX_SENT: Event.Kind
    MESSAGE_RECEIVED: Event.Kind
    INPUT_REFUSED: Event.Kind
    COMMAND_REFUSED: Event.Kind
    SNAPSHOT: Event.Kind
    KIND_FIELD_NUMBER: _ClassVar[int]
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    TASK_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    WORKER_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    STARTED_MS_FIELD_NUMBER: _ClassVar[int]
    FINISHED_MS_FIELD_NUMBER: _ClassVar[int]
    DUE_MS_FIELD_NUMBER: _ClassVar[int]
    WORKFLOW_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    LABEL_FIELD_NUMBER: _ClassVar[int]
    CAUSE_FIELD_NUMBER: _ClassVar[int]
    CAUSE_OFFSET_FIELD_NUMBER: _ClassVar[int]
    ACTOR_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    IDEMPOTENCY_KEY_FIELD_NUMBER: _ClassVar[int]
    ORIGIN_FIELD_NUMBER: _ClassVar[int]
    TRACEPARENT_FIELD_NUMBER: _ClassVar[int]
    TRACESTATE_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    PART_FIELD_NUMBER: _ClassVar[int]
    PARTS_FIELD_NUMBER: _ClassVar[int]
    TARGET_FIELD_NUMBER: _ClassVar[int]
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    TOTAL_FIELD_NUMBER: _ClassVar[int]
    TOPIC_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    LOG_FIELD_NUMBER: _ClassVar[int]
    kind: Event.Kind
    run_id: str
    task: int
    attempt: int
    generation: int
    worker: str
    value: _value_pb2.Value
    reason: str
    error: _value_pb2.Error
    started_ms: int
    finished_ms: int
    due_ms: int
    workflow: str
    version: str
    label: str
    cause: int
    cause_offset: int
    actor: str
    request_id: str
    idempotency_key: str
    origin: _trigger_pb2.Origin
    traceparent: str
    tracestate: str
    data: bytes
    part: int
    parts: int
    target: int
    number: int
    total: int
    topic: str
    state: str
    digest: bytes
    log: str
    def __init__(self, kind: _Optional[_Union[Event.Kind, str]] = ..., run_id: _Optional[str] = ..., task: _Optional[int] = ..., attempt: _Optional[int] = ..., generation: _Optional[int] = ..., worker: _Optional[str] = ..., value: _Optional[_Union[_value_pb2.Value, _Mapping]] = ..., reason: _Optional[str] = ..., error: _Optional[_Union[_value_pb2.Error, _Mapping]] = ..., started_ms: _Optional[int] = ..., finished_ms: _Optional[int] = ..., due_ms: _Optional[int] = ..., workflow: _Optional[str] = ..., version: _Optional[str] = ..., label: _Optional[str] = ..., cause: _Optional[int] = ..., cause_offset: _Optional[int] = ..., actor: _Optional[str] = ..., request_id: _Optional[str] = ..., idempotency_key: _Optional[str] = ..., origin: _Optional[_Union[_trigger_pb2.Origin, _Mapping]] = ..., traceparent: _Optional[str] = ..., tracestate: _Optional[str] = ..., data: _Optional[bytes] = ..., part: _Optional[int] = ..., parts: _Optional[int] = ..., target: _Optional[int] = ..., number: _Optional[int] = ..., total: _Optional[int] = ..., topic: _Optional[str] = ..., state: _Optional[str] = ..., digest: _Optional[bytes] = ..., log: _Optional[str] = ...) -> None: ...

class RunSnapshot(_message.Message):
    __slots__ = ("run_id", "workflow", "version", "params", "origin", "traceparent", "tracestate", "started_ms", "states", "output_tasks", "outputs", "attempts", "cancelling", "position", "reasons", "actor", "request_id", "idempotency_key", "pending", "reason", "last_attempts", "ending", "actor_end", "digest", "first_failed")
    class ReasonsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: int
        value: str
        def __init__(self, key: _Optional[int] = ..., value: _Optional[str] = ...) -> None: ...
    class LastAttemptsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: int
        value: int
        def __init__(self, key: _Optional[int] = ..., value: _Optional[int] = ...) -> None: ...
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    WORKFLOW_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    PARAMS_FIELD_NUMBER: _ClassVar[int]
    ORIGIN_FIELD_NUMBER: _ClassVar[int]
    TRACEPARENT_FIELD_NUMBER: _ClassVar[int]
    TRACESTATE_FIELD_NUMBER: _ClassVar[int]
    STARTED_MS_FIELD_NUMBER: _ClassVar[int]
    STATES_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_TASKS_FIELD_NUMBER: _ClassVar[int]
    OUTPUTS_FIELD_NUMBER: _ClassVar[int]
    ATTEMPTS_FIELD_NUMBER: _ClassVar[int]
    CANCELLING_FIELD_NUMBER: _ClassVar[int]
    POSITION_FIELD_NUMBER: _ClassVar[int]
    REASONS_FIELD_NUMBER: _ClassVar[int]
    ACTOR_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    IDEMPOTENCY_KEY_FIELD_NUMBER: _ClassVar[int]
    PENDING_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    LAST_ATTEMPTS_FIELD_NUMBER: _ClassVar[int]
    ENDING_FIELD_NUMBER: _ClassVar[int]
    ACTOR_END_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    FIRST_FAILED_FIELD_NUMBER: _ClassVar[int]
    run_id: str
    workflow: str
    version: str
    params: _value_pb2.Value
    origin: _trigger_pb2.Origin
    traceparent: str
    tracestate: str
    started_ms: int
    states: bytes
    output_tasks: _containers.RepeatedScalarFieldContainer[int]
    outputs: _containers.RepeatedCompositeFieldContainer[_value_pb2.Value]
    attempts: _containers.RepeatedCompositeFieldContainer[AttemptSnapshot]
    cancelling: bool
    position: int
    reasons: _containers.ScalarMap[int, str]
    actor: str
    request_id: str
    idempotency_key: str
    pending: _containers.RepeatedScalarFieldContainer[int]
    reason: str
    last_attempts: _containers.ScalarMap[int, int]
    ending: str
    actor_end: str
    digest: bytes
    first_failed: int
    def __init__(self, run_id: _Optional[str] = ..., workflow: _Optional[str] = ..., version: _Optional[str] = ..., params: _Optional[_Union[_value_pb2.Value, _Mapping]] = ..., origin: _Optional[_Union[_trigger_pb2.Origin, _Mapping]] = ..., traceparent: _Optional[str] = ..., tracestate: _Optional[str] = ..., started_ms: _Optional[int] = ..., states: _Optional[bytes] = ..., output_tasks: _Optional[_Iterable[int]] = ..., outputs: _Optional[_Iterable[_Union[_value_pb2.Value, _Mapping]]] = ..., attempts: _Optional[_Iterable[_Union[AttemptSnapshot, _Mapping]]] = ..., cancelling: _Optional[bool] = ..., position: _Optional[int] = ..., reasons: _Optional[_Mapping[int, str]] = ..., actor: _Optional[str] = ..., request_id: _Optional[str] = ..., idempotency_key: _Optional[str] = ..., pending: _Optional[_Iterable[int]] = ..., reason: _Optional[str] = ..., last_attempts: _Optional[_Mapping[int, int]] = ..., ending: _Optional[str] = ..., actor_end: _Optional[str] = ..., digest: _Optional[bytes] = ..., first_failed: _Optional[int] = ...) -> None: ...

class AttemptSnapshot(_message.Message):
    __slots__ = ("task", "attempt", "generation", "worker", "queued_ms", "started_ms", "due_ms", "rejections")
    TASK_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    WORKER_FIELD_NUMBER: _ClassVar[int]
    QUEUED_MS_FIELD_NUMBER: _ClassVar[int]
    STARTED_MS_FIELD_NUMBER: _ClassVar[int]
    DUE_MS_FIELD_NUMBER: _ClassVar[int]
    REJECTIONS_FIELD_NUMBER: _ClassVar[int]
    task: int
    attempt: int
    generation: int
    worker: str
    queued_ms: int
    started_ms: int
    due_ms: int
    rejections: int
    def __init__(self, task: _Optional[int] = ..., attempt: _Optional[int] = ..., generation: _Optional[int] = ..., worker: _Optional[str] = ..., queued_ms: _Optional[int] = ..., started_ms: _Optional[int] = ..., due_ms: _Optional[int] = ..., rejections: _Optional[int] = ...) -> None: ...

class WindowSnapshot(_message.Message):
    __slots__ = ("keys", "active", "labels", "outbox", "outbox_numbers", "received", "finished")
    class Key(_message.Message):
        __slots__ = ("workflow", "key", "run_id", "digest", "time_ms")
        WORKFLOW_FIELD_NUMBER: _ClassVar[int]
        KEY_FIELD_NUMBER: _ClassVar[int]
        RUN_ID_FIELD_NUMBER: _ClassVar[int]
        DIGEST_FIELD_NUMBER: _ClassVar[int]
        TIME_MS_FIELD_NUMBER: _ClassVar[int]
        workflow: str
        key: str
        run_id: str
        digest: bytes
        time_ms: int
        def __init__(self, workflow: _Optional[str] = ..., key: _Optional[str] = ..., run_id: _Optional[str] = ..., digest: _Optional[bytes] = ..., time_ms: _Optional[int] = ...) -> None: ...
    class Active(_message.Message):
        __slots__ = ("workflow", "version")
        WORKFLOW_FIELD_NUMBER: _ClassVar[int]
        VERSION_FIELD_NUMBER: _ClassVar[int]
        workflow: str
        version: str
        def __init__(self, workflow: _Optional[str] = ..., version: _Optional[str] = ...) -> None: ...
    class Label(_message.Message):
        __slots__ = ("workflow", "label", "version")
        WORKFLOW_FIELD_NUMBER: _ClassVar[int]
        LABEL_FIELD_NUMBER: _ClassVar[int]
        VERSION_FIELD_NUMBER: _ClassVar[int]
        workflow: str
        label: str
        version: str
        def __init__(self, workflow: _Optional[str] = ..., label: _Optional[str] = ..., version: _Optional[str] = ...) -> None: ...
    class Entry(_message.Message):
        __slots__ = ("target", "number", "topic", "data")
        TARGET_FIELD_NUMBER: _ClassVar[int]
        NUMBER_FIELD_NUMBER: _ClassVar[int]
        TOPIC_FIELD_NUMBER: _ClassVar[int]
        DATA_FIELD_NUMBER: _ClassVar[int]
        target: int
        number: int
        topic: str
        data: bytes
        def __init__(self, target: _Optional[int] = ..., number: _Optional[int] = ..., topic: _Optional[str] = ..., data: _Optional[bytes] = ...) -> None: ...
    class Finished(_message.Message):
        __slots__ = ("run_id", "time_ms", "digest")
        RUN_ID_FIELD_NUMBER: _ClassVar[int]
        TIME_MS_FIELD_NUMBER: _ClassVar[int]
        DIGEST_FIELD_NUMBER: _ClassVar[int]
        run_id: str
        time_ms: int
        digest: bytes
        def __init__(self, run_id: _Optional[str] = ..., time_ms: _Optional[int] = ..., digest: _Optional[bytes] = ...) -> None: ...
    class OutboxNumbersEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: int
        value: int
        def __init__(self, key: _Optional[int] = ..., value: _Optional[int] = ...) -> None: ...
    class ReceivedEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: int
        value: int
        def __init__(self, key: _Optional[int] = ..., value: _Optional[int] = ...) -> None: ...
    KEYS_FIELD_NUMBER: _ClassVar[int]
    ACTIVE_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    OUTBOX_FIELD_NUMBER: _ClassVar[int]
    OUTBOX_NUMBERS_FIELD_NUMBER: _ClassVar[int]
    RECEIVED_FIELD_NUMBER: _ClassVar[int]
    FINISHED_FIELD_NUMBER: _ClassVar[int]
    keys: _containers.RepeatedCompositeFieldContainer[WindowSnapshot.Key]
    active: _containers.RepeatedCompositeFieldContainer[WindowSnapshot.Active]
    labels: _containers.RepeatedCompositeFieldContainer[WindowSnapshot.Label]
    outbox: _containers.RepeatedCompositeFieldContainer[WindowSnapshot.Entry]
    outbox_numbers: _containers.ScalarMap[int, int]
    received: _containers.ScalarMap[int, int]
    finished: _containers.RepeatedCompositeFieldContainer[WindowSnapshot.Finished]
    def __init__(self, keys: _Optional[_Iterable[_Union[WindowSnapshot.Key, _Mapping]]] = ..., active: _Optional[_Iterable[_Union[WindowSnapshot.Active, _Mapping]]] = ..., labels: _Optional[_Iterable[_Union[WindowSnapshot.Label, _Mapping]]] = ..., outbox: _Optional[_Iterable[_Union[WindowSnapshot.Entry, _Mapping]]] = ..., outbox_numbers: _Optional[_Mapping[int, int]] = ..., received: _Optional[_Mapping[int, int]] = ..., finished: _Optional[_Iterable[_Union[WindowSnapshot.Finished, _Mapping]]] = ...) -> None: ...
