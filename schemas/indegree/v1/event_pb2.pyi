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
        SIGNAL_RECEIVED: _ClassVar[Event.Kind]
        RUN_RELEASED: _ClassVar[Event.Kind]
        RUN_PAUSED: _ClassVar[Event.Kind]
        RUN_RESUMED: _ClassVar[Event.Kind]
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
        TASK_WAITING: _ClassVar[Event.Kind]
        TASK_EXPANDED: _ClassVar[Event.Kind]
        TASK_ITEMS: _ClassVar[Event.Kind]
        RUN_CLOSING: _ClassVar[Event.Kind]
        RUN_RERUN: _ClassVar[Event.Kind]
        RUN_REOPENED: _ClassVar[Event.Kind]
        START_PASSED_ON: _ClassVar[Event.Kind]
        RUN_GATED: _ClassVar[Event.Kind]
        DEFINITION_RECORDED: _ClassVar[Event.Kind]
        VERSION_DEPLOYED: _ClassVar[Event.Kind]
        VERSION_ACTIVATED: _ClassVar[Event.Kind]
        DEPLOY_REFUSED: _ClassVar[Event.Kind]
        INTAKE_BEGAN: _ClassVar[Event.Kind]
        INTAKE_DECIDED: _ClassVar[Event.Kind]
        SCHEDULE_SET: _ClassVar[Event.Kind]
        SCHEDULE_SKIPPED: _ClassVar[Event.Kind]
        BACKFILL_CHANGED: _ClassVar[Event.Kind]
        BACKFILL_STEP: _ClassVar[Event.Kind]
        OUTBOX_ADDED: _ClassVar[Event.Kind]
        OUTBOX_SENT: _ClassVar[Event.Kind]
        MESSAGE_RECEIVED: _ClassVar[Event.Kind]
        INPUT_REFUSED: _ClassVar[Event.Kind]
        COMMAND_REFUSED: _ClassVar[Event.Kind]
        LIMIT_ASKED: _ClassVar[Event.Kind]
        LIMIT_GRANTED: _ClassVar[Event.Kind]
        LIMIT_RELEASED: _ClassVar[Event.Kind]
        POOL_SET: _ClassVar[Event.Kind]
        SWITCHED: _ClassVar[Event.Kind]
        COMMAND_ACCEPTED: _ClassVar[Event.Kind]
        SNAPSHOT: _ClassVar[Event.Kind]
        START_UNPLACED: _ClassVar[Event.Kind]
    KIND_UNSPECIFIED: Event.Kind
    RUN_STARTED: Event.Kind
    RUN_FINISHED: Event.Kind
    RUN_CANCEL_REQUESTED: Event.Kind
    RUN_REFUSED: Event.Kind
    RUN_REPEATED: Event.Kind
    SIGNAL_RECEIVED: Event.Kind
    RUN_RELEASED: Event.Kind
    RUN_PAUSED: Event.Kind
    RUN_RESUMED: Event.Kind
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
    TASK_WAITING: Event.Kind
    TASK_EXPANDED: Event.Kind
    TASK_ITEMS: Event.Kind
    RUN_CLOSING: Event.Kind
    RUN_RERUN: Event.Kind
    RUN_REOPENED: Event.Kind
    START_PASSED_ON: Event.Kind
    RUN_GATED: Event.Kind
    DEFINITION_RECORDED: Event.Kind
    VERSION_DEPLOYED: Event.Kind
    VERSION_ACTIVATED: Event.Kind
    DEPLOY_REFUSED: Event.Kind
    INTAKE_BEGAN: Event.Kind
    INTAKE_DECIDED: Event.Kind
    SCHEDULE_SET: Event.Kind
    SCHEDULE_SKIPPED: Event.Kind
    BACKFILL_CHANGED: Event.Kind
    BACKFILL_STEP: Event.Kind
    OUTBOX_ADDED: Event.Kind
    OUTBOX_SENT: Event.Kind
    MESSAGE_RECEIVED: Event.Kind
    INPUT_REFUSED: Event.Kind
    COMMAND_REFUSED: Event.Kind
    LIMIT_ASKED: Event.Kind
    LIMIT_GRANTED: Event.Kind
    LIMIT_RELEASED: Event.Kind
    POOL_SET: Event.Kind
    SWITCHED: Event.Kind
    COMMAND_ACCEPTED: Event.Kind
    SNAPSHOT: Event.Kind
    START_UNPLACED: Event.Kind
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
    __slots__ = ("run_id", "workflow", "version", "params", "origin", "traceparent", "tracestate", "started_ms", "states", "output_tasks", "outputs", "attempts", "cancelling", "position", "reasons", "actor", "request_id", "idempotency_key", "pending", "reason", "last_attempts", "ending", "actor_end", "digest", "first_failed", "maps", "waits", "paused", "signals", "generations", "closing", "waiting", "not_before_ms", "gate", "parent", "limits", "nodes", "turn")
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
    class GenerationsEntry(_message.Message):
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
    MAPS_FIELD_NUMBER: _ClassVar[int]
    WAITS_FIELD_NUMBER: _ClassVar[int]
    PAUSED_FIELD_NUMBER: _ClassVar[int]
    SIGNALS_FIELD_NUMBER: _ClassVar[int]
    GENERATIONS_FIELD_NUMBER: _ClassVar[int]
    CLOSING_FIELD_NUMBER: _ClassVar[int]
    WAITING_FIELD_NUMBER: _ClassVar[int]
    NOT_BEFORE_MS_FIELD_NUMBER: _ClassVar[int]
    GATE_FIELD_NUMBER: _ClassVar[int]
    PARENT_FIELD_NUMBER: _ClassVar[int]
    LIMITS_FIELD_NUMBER: _ClassVar[int]
    NODES_FIELD_NUMBER: _ClassVar[int]
    TURN_FIELD_NUMBER: _ClassVar[int]
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
    maps: _containers.RepeatedCompositeFieldContainer[MapSnapshot]
    waits: _containers.RepeatedCompositeFieldContainer[WaitSnapshot]
    paused: bool
    signals: _containers.RepeatedCompositeFieldContainer[SignalSnapshot]
    generations: _containers.ScalarMap[int, int]
    closing: str
    waiting: bool
    not_before_ms: int
    gate: str
    parent: _trigger_pb2.Parent
    limits: _containers.RepeatedCompositeFieldContainer[HeldLimit]
    nodes: _containers.RepeatedScalarFieldContainer[int]
    turn: int
    def __init__(self, run_id: _Optional[str] = ..., workflow: _Optional[str] = ..., version: _Optional[str] = ..., params: _Optional[_Union[_value_pb2.Value, _Mapping]] = ..., origin: _Optional[_Union[_trigger_pb2.Origin, _Mapping]] = ..., traceparent: _Optional[str] = ..., tracestate: _Optional[str] = ..., started_ms: _Optional[int] = ..., states: _Optional[bytes] = ..., output_tasks: _Optional[_Iterable[int]] = ..., outputs: _Optional[_Iterable[_Union[_value_pb2.Value, _Mapping]]] = ..., attempts: _Optional[_Iterable[_Union[AttemptSnapshot, _Mapping]]] = ..., cancelling: _Optional[bool] = ..., position: _Optional[int] = ..., reasons: _Optional[_Mapping[int, str]] = ..., actor: _Optional[str] = ..., request_id: _Optional[str] = ..., idempotency_key: _Optional[str] = ..., pending: _Optional[_Iterable[int]] = ..., reason: _Optional[str] = ..., last_attempts: _Optional[_Mapping[int, int]] = ..., ending: _Optional[str] = ..., actor_end: _Optional[str] = ..., digest: _Optional[bytes] = ..., first_failed: _Optional[int] = ..., maps: _Optional[_Iterable[_Union[MapSnapshot, _Mapping]]] = ..., waits: _Optional[_Iterable[_Union[WaitSnapshot, _Mapping]]] = ..., paused: _Optional[bool] = ..., signals: _Optional[_Iterable[_Union[SignalSnapshot, _Mapping]]] = ..., generations: _Optional[_Mapping[int, int]] = ..., closing: _Optional[str] = ..., waiting: _Optional[bool] = ..., not_before_ms: _Optional[int] = ..., gate: _Optional[str] = ..., parent: _Optional[_Union[_trigger_pb2.Parent, _Mapping]] = ..., limits: _Optional[_Iterable[_Union[HeldLimit, _Mapping]]] = ..., nodes: _Optional[_Iterable[int]] = ..., turn: _Optional[int] = ...) -> None: ...

class MapSnapshot(_message.Message):
    __slots__ = ("task", "first", "total", "items", "errors", "begin")
    class ErrorsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: int
        value: bytes
        def __init__(self, key: _Optional[int] = ..., value: _Optional[bytes] = ...) -> None: ...
    TASK_FIELD_NUMBER: _ClassVar[int]
    FIRST_FIELD_NUMBER: _ClassVar[int]
    TOTAL_FIELD_NUMBER: _ClassVar[int]
    ITEMS_FIELD_NUMBER: _ClassVar[int]
    ERRORS_FIELD_NUMBER: _ClassVar[int]
    BEGIN_FIELD_NUMBER: _ClassVar[int]
    task: int
    first: int
    total: int
    items: _containers.RepeatedScalarFieldContainer[bytes]
    errors: _containers.ScalarMap[int, bytes]
    begin: int
    def __init__(self, task: _Optional[int] = ..., first: _Optional[int] = ..., total: _Optional[int] = ..., items: _Optional[_Iterable[bytes]] = ..., errors: _Optional[_Mapping[int, bytes]] = ..., begin: _Optional[int] = ...) -> None: ...

class WaitSnapshot(_message.Message):
    __slots__ = ("task", "kind", "since_ms", "due_ms", "label", "attempt", "generation", "after")
    TASK_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    SINCE_MS_FIELD_NUMBER: _ClassVar[int]
    DUE_MS_FIELD_NUMBER: _ClassVar[int]
    LABEL_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    AFTER_FIELD_NUMBER: _ClassVar[int]
    task: int
    kind: str
    since_ms: int
    due_ms: int
    label: str
    attempt: int
    generation: int
    after: str
    def __init__(self, task: _Optional[int] = ..., kind: _Optional[str] = ..., since_ms: _Optional[int] = ..., due_ms: _Optional[int] = ..., label: _Optional[str] = ..., attempt: _Optional[int] = ..., generation: _Optional[int] = ..., after: _Optional[str] = ...) -> None: ...

class SignalSnapshot(_message.Message):
    __slots__ = ("name", "payload", "actor", "time_ms")
    NAME_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_FIELD_NUMBER: _ClassVar[int]
    ACTOR_FIELD_NUMBER: _ClassVar[int]
    TIME_MS_FIELD_NUMBER: _ClassVar[int]
    name: str
    payload: _value_pb2.Value
    actor: str
    time_ms: int
    def __init__(self, name: _Optional[str] = ..., payload: _Optional[_Union[_value_pb2.Value, _Mapping]] = ..., actor: _Optional[str] = ..., time_ms: _Optional[int] = ...) -> None: ...

class HeldLimit(_message.Message):
    __slots__ = ("task", "limit", "attempt")
    TASK_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    task: int
    limit: str
    attempt: int
    def __init__(self, task: _Optional[int] = ..., limit: _Optional[str] = ..., attempt: _Optional[int] = ...) -> None: ...

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
    __slots__ = ("keys", "active", "labels", "outbox", "outbox_numbers", "received", "finished", "gates", "schedules", "intakes", "limits", "backfills", "switches", "previous", "backfill_number")
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
    class Gate(_message.Message):
        __slots__ = ("workflow", "key", "active", "queued")
        WORKFLOW_FIELD_NUMBER: _ClassVar[int]
        KEY_FIELD_NUMBER: _ClassVar[int]
        ACTIVE_FIELD_NUMBER: _ClassVar[int]
        QUEUED_FIELD_NUMBER: _ClassVar[int]
        workflow: str
        key: str
        active: _containers.RepeatedScalarFieldContainer[str]
        queued: _containers.RepeatedScalarFieldContainer[str]
        def __init__(self, workflow: _Optional[str] = ..., key: _Optional[str] = ..., active: _Optional[_Iterable[str]] = ..., queued: _Optional[_Iterable[str]] = ...) -> None: ...
    class Schedule(_message.Message):
        __slots__ = ("workflow", "version", "trigger", "due_ms", "previous_ms")
        WORKFLOW_FIELD_NUMBER: _ClassVar[int]
        VERSION_FIELD_NUMBER: _ClassVar[int]
        TRIGGER_FIELD_NUMBER: _ClassVar[int]
        DUE_MS_FIELD_NUMBER: _ClassVar[int]
        PREVIOUS_MS_FIELD_NUMBER: _ClassVar[int]
        workflow: str
        version: str
        trigger: int
        due_ms: int
        previous_ms: int
        def __init__(self, workflow: _Optional[str] = ..., version: _Optional[str] = ..., trigger: _Optional[int] = ..., due_ms: _Optional[int] = ..., previous_ms: _Optional[int] = ...) -> None: ...
    class Intake(_message.Message):
        __slots__ = ("topic", "partition", "next", "begins")
        class BeginsEntry(_message.Message):
            __slots__ = ("key", "value")
            KEY_FIELD_NUMBER: _ClassVar[int]
            VALUE_FIELD_NUMBER: _ClassVar[int]
            key: str
            value: int
            def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
        TOPIC_FIELD_NUMBER: _ClassVar[int]
        PARTITION_FIELD_NUMBER: _ClassVar[int]
        NEXT_FIELD_NUMBER: _ClassVar[int]
        BEGINS_FIELD_NUMBER: _ClassVar[int]
        topic: str
        partition: int
        next: int
        begins: _containers.ScalarMap[str, int]
        def __init__(self, topic: _Optional[str] = ..., partition: _Optional[int] = ..., next: _Optional[int] = ..., begins: _Optional[_Mapping[str, int]] = ...) -> None: ...
    class Limit(_message.Message):
        __slots__ = ("name", "pool", "holders", "waiting", "next_ms", "tokens", "per_ms")
        NAME_FIELD_NUMBER: _ClassVar[int]
        POOL_FIELD_NUMBER: _ClassVar[int]
        HOLDERS_FIELD_NUMBER: _ClassVar[int]
        WAITING_FIELD_NUMBER: _ClassVar[int]
        NEXT_MS_FIELD_NUMBER: _ClassVar[int]
        TOKENS_FIELD_NUMBER: _ClassVar[int]
        PER_MS_FIELD_NUMBER: _ClassVar[int]
        name: str
        pool: int
        holders: _containers.RepeatedCompositeFieldContainer[_trigger_pb2.Holder]
        waiting: _containers.RepeatedCompositeFieldContainer[_trigger_pb2.LimitAsk]
        next_ms: int
        tokens: int
        per_ms: int
        def __init__(self, name: _Optional[str] = ..., pool: _Optional[int] = ..., holders: _Optional[_Iterable[_Union[_trigger_pb2.Holder, _Mapping]]] = ..., waiting: _Optional[_Iterable[_Union[_trigger_pb2.LimitAsk, _Mapping]]] = ..., next_ms: _Optional[int] = ..., tokens: _Optional[int] = ..., per_ms: _Optional[int] = ...) -> None: ...
    class Backfilling(_message.Message):
        __slots__ = ("number", "workflow", "trigger", "next_ms", "end_ms", "concurrency", "active", "actor", "version")
        NUMBER_FIELD_NUMBER: _ClassVar[int]
        WORKFLOW_FIELD_NUMBER: _ClassVar[int]
        TRIGGER_FIELD_NUMBER: _ClassVar[int]
        NEXT_MS_FIELD_NUMBER: _ClassVar[int]
        END_MS_FIELD_NUMBER: _ClassVar[int]
        CONCURRENCY_FIELD_NUMBER: _ClassVar[int]
        ACTIVE_FIELD_NUMBER: _ClassVar[int]
        ACTOR_FIELD_NUMBER: _ClassVar[int]
        VERSION_FIELD_NUMBER: _ClassVar[int]
        number: int
        workflow: str
        trigger: int
        next_ms: int
        end_ms: int
        concurrency: int
        active: _containers.RepeatedScalarFieldContainer[int]
        actor: str
        version: str
        def __init__(self, number: _Optional[int] = ..., workflow: _Optional[str] = ..., trigger: _Optional[int] = ..., next_ms: _Optional[int] = ..., end_ms: _Optional[int] = ..., concurrency: _Optional[int] = ..., active: _Optional[_Iterable[int]] = ..., actor: _Optional[str] = ..., version: _Optional[str] = ...) -> None: ...
    KEYS_FIELD_NUMBER: _ClassVar[int]
    ACTIVE_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    OUTBOX_FIELD_NUMBER: _ClassVar[int]
    OUTBOX_NUMBERS_FIELD_NUMBER: _ClassVar[int]
    RECEIVED_FIELD_NUMBER: _ClassVar[int]
    FINISHED_FIELD_NUMBER: _ClassVar[int]
    GATES_FIELD_NUMBER: _ClassVar[int]
    SCHEDULES_FIELD_NUMBER: _ClassVar[int]
    INTAKES_FIELD_NUMBER: _ClassVar[int]
    LIMITS_FIELD_NUMBER: _ClassVar[int]
    BACKFILLS_FIELD_NUMBER: _ClassVar[int]
    SWITCHES_FIELD_NUMBER: _ClassVar[int]
    PREVIOUS_FIELD_NUMBER: _ClassVar[int]
    BACKFILL_NUMBER_FIELD_NUMBER: _ClassVar[int]
    keys: _containers.RepeatedCompositeFieldContainer[WindowSnapshot.Key]
    active: _containers.RepeatedCompositeFieldContainer[WindowSnapshot.Active]
    labels: _containers.RepeatedCompositeFieldContainer[WindowSnapshot.Label]
    outbox: _containers.RepeatedCompositeFieldContainer[WindowSnapshot.Entry]
    outbox_numbers: _containers.ScalarMap[int, int]
    received: _containers.ScalarMap[int, int]
    finished: _containers.RepeatedCompositeFieldContainer[WindowSnapshot.Finished]
    gates: _containers.RepeatedCompositeFieldContainer[WindowSnapshot.Gate]
    schedules: _containers.RepeatedCompositeFieldContainer[WindowSnapshot.Schedule]
    intakes: _containers.RepeatedCompositeFieldContainer[WindowSnapshot.Intake]
    limits: _containers.RepeatedCompositeFieldContainer[WindowSnapshot.Limit]
    backfills: _containers.RepeatedCompositeFieldContainer[WindowSnapshot.Backfilling]
    switches: _containers.RepeatedCompositeFieldContainer[_trigger_pb2.Switch]
    previous: _containers.RepeatedCompositeFieldContainer[WindowSnapshot.Active]
    backfill_number: int
    def __init__(self, keys: _Optional[_Iterable[_Union[WindowSnapshot.Key, _Mapping]]] = ..., active: _Optional[_Iterable[_Union[WindowSnapshot.Active, _Mapping]]] = ..., labels: _Optional[_Iterable[_Union[WindowSnapshot.Label, _Mapping]]] = ..., outbox: _Optional[_Iterable[_Union[WindowSnapshot.Entry, _Mapping]]] = ..., outbox_numbers: _Optional[_Mapping[int, int]] = ..., received: _Optional[_Mapping[int, int]] = ..., finished: _Optional[_Iterable[_Union[WindowSnapshot.Finished, _Mapping]]] = ..., gates: _Optional[_Iterable[_Union[WindowSnapshot.Gate, _Mapping]]] = ..., schedules: _Optional[_Iterable[_Union[WindowSnapshot.Schedule, _Mapping]]] = ..., intakes: _Optional[_Iterable[_Union[WindowSnapshot.Intake, _Mapping]]] = ..., limits: _Optional[_Iterable[_Union[WindowSnapshot.Limit, _Mapping]]] = ..., backfills: _Optional[_Iterable[_Union[WindowSnapshot.Backfilling, _Mapping]]] = ..., switches: _Optional[_Iterable[_Union[_trigger_pb2.Switch, _Mapping]]] = ..., previous: _Optional[_Iterable[_Union[WindowSnapshot.Active, _Mapping]]] = ..., backfill_number: _Optional[int] = ...) -> None: ...
