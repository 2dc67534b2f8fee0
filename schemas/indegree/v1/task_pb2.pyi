from indegree.v1 import value_pb2 as _value_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Task(_message.Message):
    __slots__ = ("run_id", "task_id", "task", "attempt", "generation", "partition", "epoch", "seq", "worker", "workflow", "version", "python", "command", "shell", "args", "references", "env", "input", "output", "timeout_ms", "isolate", "secrets", "priority", "traceparent", "tracestate", "dispatched_ms", "queue", "owner", "input_reference", "index", "trigger", "states", "states_cut")
    class ReferencesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: _value_pb2.Reference
        def __init__(self, key: _Optional[str] = ..., value: _Optional[_Union[_value_pb2.Reference, _Mapping]] = ...) -> None: ...
    class EnvEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    class StatesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    TASK_ID_FIELD_NUMBER: _ClassVar[int]
    TASK_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    PARTITION_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    SEQ_FIELD_NUMBER: _ClassVar[int]
    WORKER_FIELD_NUMBER: _ClassVar[int]
    WORKFLOW_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    PYTHON_FIELD_NUMBER: _ClassVar[int]
    COMMAND_FIELD_NUMBER: _ClassVar[int]
    SHELL_FIELD_NUMBER: _ClassVar[int]
    ARGS_FIELD_NUMBER: _ClassVar[int]
    REFERENCES_FIELD_NUMBER: _ClassVar[int]
    ENV_FIELD_NUMBER: _ClassVar[int]
    INPUT_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_FIELD_NUMBER: _ClassVar[int]
    TIMEOUT_MS_FIELD_NUMBER: _ClassVar[int]
    ISOLATE_FIELD_NUMBER: _ClassVar[int]
    SECRETS_FIELD_NUMBER: _ClassVar[int]
    PRIORITY_FIELD_NUMBER: _ClassVar[int]
    TRACEPARENT_FIELD_NUMBER: _ClassVar[int]
    TRACESTATE_FIELD_NUMBER: _ClassVar[int]
    DISPATCHED_MS_FIELD_NUMBER: _ClassVar[int]
    QUEUE_FIELD_NUMBER: _ClassVar[int]
    OWNER_FIELD_NUMBER: _ClassVar[int]
    INPUT_REFERENCE_FIELD_NUMBER: _ClassVar[int]
    INDEX_FIELD_NUMBER: _ClassVar[int]
    TRIGGER_FIELD_NUMBER: _ClassVar[int]
    STATES_FIELD_NUMBER: _ClassVar[int]
    STATES_CUT_FIELD_NUMBER: _ClassVar[int]
    run_id: str
    task_id: str
    task: int
    attempt: int
    generation: int
    partition: int
    epoch: int
    seq: int
    worker: str
    workflow: str
    version: str
    python: str
    command: _containers.RepeatedScalarFieldContainer[str]
    shell: bool
    args: bytes
    references: _containers.MessageMap[str, _value_pb2.Reference]
    env: _containers.ScalarMap[str, str]
    input: bytes
    output: str
    timeout_ms: int
    isolate: bool
    secrets: _containers.RepeatedScalarFieldContainer[str]
    priority: int
    traceparent: str
    tracestate: str
    dispatched_ms: int
    queue: str
    owner: str
    input_reference: _value_pb2.Reference
    index: int
    trigger: bytes
    states: _containers.ScalarMap[str, str]
    states_cut: bool
    def __init__(self, run_id: _Optional[str] = ..., task_id: _Optional[str] = ..., task: _Optional[int] = ..., attempt: _Optional[int] = ..., generation: _Optional[int] = ..., partition: _Optional[int] = ..., epoch: _Optional[int] = ..., seq: _Optional[int] = ..., worker: _Optional[str] = ..., workflow: _Optional[str] = ..., version: _Optional[str] = ..., python: _Optional[str] = ..., command: _Optional[_Iterable[str]] = ..., shell: _Optional[bool] = ..., args: _Optional[bytes] = ..., references: _Optional[_Mapping[str, _value_pb2.Reference]] = ..., env: _Optional[_Mapping[str, str]] = ..., input: _Optional[bytes] = ..., output: _Optional[str] = ..., timeout_ms: _Optional[int] = ..., isolate: _Optional[bool] = ..., secrets: _Optional[_Iterable[str]] = ..., priority: _Optional[int] = ..., traceparent: _Optional[str] = ..., tracestate: _Optional[str] = ..., dispatched_ms: _Optional[int] = ..., queue: _Optional[str] = ..., owner: _Optional[str] = ..., input_reference: _Optional[_Union[_value_pb2.Reference, _Mapping]] = ..., index: _Optional[int] = ..., trigger: _Optional[bytes] = ..., states: _Optional[_Mapping[str, str]] = ..., states_cut: _Optional[bool] = ...) -> None: ...

class Result(_message.Message):
    __slots__ = ("kind", "run_id", "task", "attempt", "generation", "worker", "output", "error", "reason", "started_ms", "finished_ms", "progress", "message", "traceparent", "log")
    class Kind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        KIND_UNSPECIFIED: _ClassVar[Result.Kind]
        STARTED: _ClassVar[Result.Kind]
        HEARTBEAT: _ClassVar[Result.Kind]
        SUCCEEDED: _ClassVar[Result.Kind]
        FAILED: _ClassVar[Result.Kind]
        REJECTED: _ClassVar[Result.Kind]
        RETURNED: _ClassVar[Result.Kind]
        STOPPED: _ClassVar[Result.Kind]
    KIND_UNSPECIFIED: Result.Kind
    STARTED: Result.Kind
    HEARTBEAT: Result.Kind
    SUCCEEDED: Result.Kind
    FAILED: Result.Kind
    REJECTED: Result.Kind
    RETURNED: Result.Kind
    STOPPED: Result.Kind
    KIND_FIELD_NUMBER: _ClassVar[int]
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    TASK_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    WORKER_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    STARTED_MS_FIELD_NUMBER: _ClassVar[int]
    FINISHED_MS_FIELD_NUMBER: _ClassVar[int]
    PROGRESS_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    TRACEPARENT_FIELD_NUMBER: _ClassVar[int]
    LOG_FIELD_NUMBER: _ClassVar[int]
    kind: Result.Kind
    run_id: str
    task: int
    attempt: int
    generation: int
    worker: str
    output: _value_pb2.Value
    error: _value_pb2.Error
    reason: str
    started_ms: int
    finished_ms: int
    progress: float
    message: str
    traceparent: str
    log: str
    def __init__(self, kind: _Optional[_Union[Result.Kind, str]] = ..., run_id: _Optional[str] = ..., task: _Optional[int] = ..., attempt: _Optional[int] = ..., generation: _Optional[int] = ..., worker: _Optional[str] = ..., output: _Optional[_Union[_value_pb2.Value, _Mapping]] = ..., error: _Optional[_Union[_value_pb2.Error, _Mapping]] = ..., reason: _Optional[str] = ..., started_ms: _Optional[int] = ..., finished_ms: _Optional[int] = ..., progress: _Optional[float] = ..., message: _Optional[str] = ..., traceparent: _Optional[str] = ..., log: _Optional[str] = ...) -> None: ...

class Control(_message.Message):
    __slots__ = ("worker", "stop")
    class Stop(_message.Message):
        __slots__ = ("run_id", "task", "attempt", "generation", "reason")
        RUN_ID_FIELD_NUMBER: _ClassVar[int]
        TASK_FIELD_NUMBER: _ClassVar[int]
        ATTEMPT_FIELD_NUMBER: _ClassVar[int]
        GENERATION_FIELD_NUMBER: _ClassVar[int]
        REASON_FIELD_NUMBER: _ClassVar[int]
        run_id: str
        task: int
        attempt: int
        generation: int
        reason: str
        def __init__(self, run_id: _Optional[str] = ..., task: _Optional[int] = ..., attempt: _Optional[int] = ..., generation: _Optional[int] = ..., reason: _Optional[str] = ...) -> None: ...
    WORKER_FIELD_NUMBER: _ClassVar[int]
    STOP_FIELD_NUMBER: _ClassVar[int]
    worker: str
    stop: Control.Stop
    def __init__(self, worker: _Optional[str] = ..., stop: _Optional[_Union[Control.Stop, _Mapping]] = ...) -> None: ...

class Worker(_message.Message):
    __slots__ = ("instance", "queues", "slots", "used", "abandoned", "senders", "draining", "beat", "host", "pid", "address", "modules", "commands", "interval_ms")
    class Queue(_message.Message):
        __slots__ = ("name", "partition")
        NAME_FIELD_NUMBER: _ClassVar[int]
        PARTITION_FIELD_NUMBER: _ClassVar[int]
        name: str
        partition: int
        def __init__(self, name: _Optional[str] = ..., partition: _Optional[int] = ...) -> None: ...
    INSTANCE_FIELD_NUMBER: _ClassVar[int]
    QUEUES_FIELD_NUMBER: _ClassVar[int]
    SLOTS_FIELD_NUMBER: _ClassVar[int]
    USED_FIELD_NUMBER: _ClassVar[int]
    ABANDONED_FIELD_NUMBER: _ClassVar[int]
    SENDERS_FIELD_NUMBER: _ClassVar[int]
    DRAINING_FIELD_NUMBER: _ClassVar[int]
    BEAT_FIELD_NUMBER: _ClassVar[int]
    HOST_FIELD_NUMBER: _ClassVar[int]
    PID_FIELD_NUMBER: _ClassVar[int]
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    MODULES_FIELD_NUMBER: _ClassVar[int]
    COMMANDS_FIELD_NUMBER: _ClassVar[int]
    INTERVAL_MS_FIELD_NUMBER: _ClassVar[int]
    instance: str
    queues: _containers.RepeatedCompositeFieldContainer[Worker.Queue]
    slots: int
    used: int
    abandoned: int
    senders: int
    draining: bool
    beat: int
    host: str
    pid: int
    address: str
    modules: _containers.RepeatedScalarFieldContainer[str]
    commands: bool
    interval_ms: int
    def __init__(self, instance: _Optional[str] = ..., queues: _Optional[_Iterable[_Union[Worker.Queue, _Mapping]]] = ..., slots: _Optional[int] = ..., used: _Optional[int] = ..., abandoned: _Optional[int] = ..., senders: _Optional[int] = ..., draining: _Optional[bool] = ..., beat: _Optional[int] = ..., host: _Optional[str] = ..., pid: _Optional[int] = ..., address: _Optional[str] = ..., modules: _Optional[_Iterable[str]] = ..., commands: _Optional[bool] = ..., interval_ms: _Optional[int] = ...) -> None: ...
