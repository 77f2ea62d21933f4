import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class JobsGetRequest(_message.Message):
    __slots__ = ("job",)
    JOB_FIELD_NUMBER: _ClassVar[int]
    job: str
    def __init__(self, job: _Optional[str] = ...) -> None: ...

class JobsShowRequest(_message.Message):
    __slots__ = ("job",)
    JOB_FIELD_NUMBER: _ClassVar[int]
    job: str
    def __init__(self, job: _Optional[str] = ...) -> None: ...

class JobsPageRequest(_message.Message):
    __slots__ = ("which", "most", "after")
    WHICH_FIELD_NUMBER: _ClassVar[int]
    MOST_FIELD_NUMBER: _ClassVar[int]
    AFTER_FIELD_NUMBER: _ClassVar[int]
    which: JobFilter
    most: int
    after: str
    def __init__(self, which: _Optional[_Union[JobFilter, _Mapping]] = ..., most: _Optional[int] = ..., after: _Optional[str] = ...) -> None: ...

class JobsLatestRequest(_message.Message):
    __slots__ = ("which", "most")
    WHICH_FIELD_NUMBER: _ClassVar[int]
    MOST_FIELD_NUMBER: _ClassVar[int]
    which: JobFilter
    most: int
    def __init__(self, which: _Optional[_Union[JobFilter, _Mapping]] = ..., most: _Optional[int] = ...) -> None: ...

class JobsLogRequest(_message.Message):
    __slots__ = ("job", "follow", "start")
    JOB_FIELD_NUMBER: _ClassVar[int]
    FOLLOW_FIELD_NUMBER: _ClassVar[int]
    START_FIELD_NUMBER: _ClassVar[int]
    job: str
    follow: bool
    start: int
    def __init__(self, job: _Optional[str] = ..., follow: _Optional[bool] = ..., start: _Optional[int] = ...) -> None: ...

class JobsFilesRequest(_message.Message):
    __slots__ = ("job", "ttl_s")
    JOB_FIELD_NUMBER: _ClassVar[int]
    TTL_S_FIELD_NUMBER: _ClassVar[int]
    job: str
    ttl_s: float
    def __init__(self, job: _Optional[str] = ..., ttl_s: _Optional[float] = ...) -> None: ...

class JobsFilesResponse(_message.Message):
    __slots__ = ("items",)
    ITEMS_FIELD_NUMBER: _ClassVar[int]
    items: _containers.RepeatedCompositeFieldContainer[JobFile]
    def __init__(self, items: _Optional[_Iterable[_Union[JobFile, _Mapping]]] = ...) -> None: ...

class JobsReadRequest(_message.Message):
    __slots__ = ("job", "role", "path")
    JOB_FIELD_NUMBER: _ClassVar[int]
    ROLE_FIELD_NUMBER: _ClassVar[int]
    PATH_FIELD_NUMBER: _ClassVar[int]
    job: str
    role: str
    path: str
    def __init__(self, job: _Optional[str] = ..., role: _Optional[str] = ..., path: _Optional[str] = ...) -> None: ...

class JobsWorkRequest(_message.Message):
    __slots__ = ("job",)
    JOB_FIELD_NUMBER: _ClassVar[int]
    job: str
    def __init__(self, job: _Optional[str] = ...) -> None: ...

class JobsRetryRequest(_message.Message):
    __slots__ = ("jobs",)
    JOBS_FIELD_NUMBER: _ClassVar[int]
    jobs: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, jobs: _Optional[_Iterable[str]] = ...) -> None: ...

class JobsRetryResponse(_message.Message):
    __slots__ = ("items",)
    ITEMS_FIELD_NUMBER: _ClassVar[int]
    items: _containers.RepeatedCompositeFieldContainer[Job]
    def __init__(self, items: _Optional[_Iterable[_Union[Job, _Mapping]]] = ...) -> None: ...

class JobsCancelRequest(_message.Message):
    __slots__ = ("jobs",)
    JOBS_FIELD_NUMBER: _ClassVar[int]
    jobs: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, jobs: _Optional[_Iterable[str]] = ...) -> None: ...

class JobsCancelResponse(_message.Message):
    __slots__ = ("items",)
    ITEMS_FIELD_NUMBER: _ClassVar[int]
    items: _containers.RepeatedCompositeFieldContainer[Job]
    def __init__(self, items: _Optional[_Iterable[_Union[Job, _Mapping]]] = ...) -> None: ...

class JobsRerunRequest(_message.Message):
    __slots__ = ("jobs", "module", "flow", "since", "states", "dry")
    JOBS_FIELD_NUMBER: _ClassVar[int]
    MODULE_FIELD_NUMBER: _ClassVar[int]
    FLOW_FIELD_NUMBER: _ClassVar[int]
    SINCE_FIELD_NUMBER: _ClassVar[int]
    STATES_FIELD_NUMBER: _ClassVar[int]
    DRY_FIELD_NUMBER: _ClassVar[int]
    jobs: _containers.RepeatedScalarFieldContainer[str]
    module: str
    flow: str
    since: _timestamp_pb2.Timestamp
    states: _containers.RepeatedScalarFieldContainer[str]
    dry: bool
    def __init__(self, jobs: _Optional[_Iterable[str]] = ..., module: _Optional[str] = ..., flow: _Optional[str] = ..., since: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., states: _Optional[_Iterable[str]] = ..., dry: _Optional[bool] = ...) -> None: ...

class LettersListRequest(_message.Message):
    __slots__ = ("which",)
    WHICH_FIELD_NUMBER: _ClassVar[int]
    which: LetterFilter
    def __init__(self, which: _Optional[_Union[LetterFilter, _Mapping]] = ...) -> None: ...

class LettersRedriveRequest(_message.Message):
    __slots__ = ("jobs", "which", "everything", "image", "dry")
    JOBS_FIELD_NUMBER: _ClassVar[int]
    WHICH_FIELD_NUMBER: _ClassVar[int]
    EVERYTHING_FIELD_NUMBER: _ClassVar[int]
    IMAGE_FIELD_NUMBER: _ClassVar[int]
    DRY_FIELD_NUMBER: _ClassVar[int]
    jobs: _containers.RepeatedScalarFieldContainer[str]
    which: LetterFilter
    everything: bool
    image: str
    dry: bool
    def __init__(self, jobs: _Optional[_Iterable[str]] = ..., which: _Optional[_Union[LetterFilter, _Mapping]] = ..., everything: _Optional[bool] = ..., image: _Optional[str] = ..., dry: _Optional[bool] = ...) -> None: ...

class FlowsGetRequest(_message.Message):
    __slots__ = ("flow",)
    FLOW_FIELD_NUMBER: _ClassVar[int]
    flow: str
    def __init__(self, flow: _Optional[str] = ...) -> None: ...

class FlowsListRequest(_message.Message):
    __slots__ = ("most",)
    MOST_FIELD_NUMBER: _ClassVar[int]
    most: int
    def __init__(self, most: _Optional[int] = ...) -> None: ...

class FlowsListResponse(_message.Message):
    __slots__ = ("items",)
    ITEMS_FIELD_NUMBER: _ClassVar[int]
    items: _containers.RepeatedCompositeFieldContainer[FlowState]
    def __init__(self, items: _Optional[_Iterable[_Union[FlowState, _Mapping]]] = ...) -> None: ...

class FlowsControlRequest(_message.Message):
    __slots__ = ("flow", "control")
    FLOW_FIELD_NUMBER: _ClassVar[int]
    CONTROL_FIELD_NUMBER: _ClassVar[int]
    flow: str
    control: str
    def __init__(self, flow: _Optional[str] = ..., control: _Optional[str] = ...) -> None: ...

class FlowsPrioritiseRequest(_message.Message):
    __slots__ = ("flow", "priority")
    FLOW_FIELD_NUMBER: _ClassVar[int]
    PRIORITY_FIELD_NUMBER: _ClassVar[int]
    flow: str
    priority: int
    def __init__(self, flow: _Optional[str] = ..., priority: _Optional[int] = ...) -> None: ...

class FlowsWaitRequest(_message.Message):
    __slots__ = ("flow",)
    FLOW_FIELD_NUMBER: _ClassVar[int]
    flow: str
    def __init__(self, flow: _Optional[str] = ...) -> None: ...

class FlowsRecordsRequest(_message.Message):
    __slots__ = ("flow",)
    FLOW_FIELD_NUMBER: _ClassVar[int]
    flow: str
    def __init__(self, flow: _Optional[str] = ...) -> None: ...

class FlowsTreeRequest(_message.Message):
    __slots__ = ("flow",)
    FLOW_FIELD_NUMBER: _ClassVar[int]
    flow: str
    def __init__(self, flow: _Optional[str] = ...) -> None: ...

class FlowsReportRequest(_message.Message):
    __slots__ = ("flow",)
    FLOW_FIELD_NUMBER: _ClassVar[int]
    flow: str
    def __init__(self, flow: _Optional[str] = ...) -> None: ...

class ModulesListRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ModulesListResponse(_message.Message):
    __slots__ = ("items",)
    ITEMS_FIELD_NUMBER: _ClassVar[int]
    items: _containers.RepeatedCompositeFieldContainer[Registered]
    def __init__(self, items: _Optional[_Iterable[_Union[Registered, _Mapping]]] = ...) -> None: ...

class ModulesGetRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class ModulesApplyRequest(_message.Message):
    __slots__ = ("modules", "pipeline", "prune", "dry")
    MODULES_FIELD_NUMBER: _ClassVar[int]
    PIPELINE_FIELD_NUMBER: _ClassVar[int]
    PRUNE_FIELD_NUMBER: _ClassVar[int]
    DRY_FIELD_NUMBER: _ClassVar[int]
    modules: _containers.RepeatedCompositeFieldContainer[Module]
    pipeline: str
    prune: bool
    dry: bool
    def __init__(self, modules: _Optional[_Iterable[_Union[Module, _Mapping]]] = ..., pipeline: _Optional[str] = ..., prune: _Optional[bool] = ..., dry: _Optional[bool] = ...) -> None: ...

class ModulesDeleteRequest(_message.Message):
    __slots__ = ("name", "cancel")
    NAME_FIELD_NUMBER: _ClassVar[int]
    CANCEL_FIELD_NUMBER: _ClassVar[int]
    name: str
    cancel: bool
    def __init__(self, name: _Optional[str] = ..., cancel: _Optional[bool] = ...) -> None: ...

class ModulesPauseRequest(_message.Message):
    __slots__ = ("name", "paused")
    NAME_FIELD_NUMBER: _ClassVar[int]
    PAUSED_FIELD_NUMBER: _ClassVar[int]
    name: str
    paused: bool
    def __init__(self, name: _Optional[str] = ..., paused: _Optional[bool] = ...) -> None: ...

class ModulesScaleRequest(_message.Message):
    __slots__ = ("name", "concurrency")
    NAME_FIELD_NUMBER: _ClassVar[int]
    CONCURRENCY_FIELD_NUMBER: _ClassVar[int]
    name: str
    concurrency: int
    def __init__(self, name: _Optional[str] = ..., concurrency: _Optional[int] = ...) -> None: ...

class ModulesRollbackRequest(_message.Message):
    __slots__ = ("name", "revision")
    NAME_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    name: str
    revision: str
    def __init__(self, name: _Optional[str] = ..., revision: _Optional[str] = ...) -> None: ...

class ModulesHistoryRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class EventsCreateRequest(_message.Message):
    __slots__ = ("event", "file", "content", "end")
    EVENT_FIELD_NUMBER: _ClassVar[int]
    FILE_FIELD_NUMBER: _ClassVar[int]
    CONTENT_FIELD_NUMBER: _ClassVar[int]
    END_FIELD_NUMBER: _ClassVar[int]
    event: NewEvent
    file: str
    content: bytes
    end: bool
    def __init__(self, event: _Optional[_Union[NewEvent, _Mapping]] = ..., file: _Optional[str] = ..., content: _Optional[bytes] = ..., end: _Optional[bool] = ...) -> None: ...

class EventsNextRequest(_message.Message):
    __slots__ = ("event_type", "group", "timeout_s", "take")
    EVENT_TYPE_FIELD_NUMBER: _ClassVar[int]
    GROUP_FIELD_NUMBER: _ClassVar[int]
    TIMEOUT_S_FIELD_NUMBER: _ClassVar[int]
    TAKE_FIELD_NUMBER: _ClassVar[int]
    event_type: str
    group: str
    timeout_s: float
    take: bool
    def __init__(self, event_type: _Optional[str] = ..., group: _Optional[str] = ..., timeout_s: _Optional[float] = ..., take: _Optional[bool] = ...) -> None: ...

class BusDepthsRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class BusReplayRequest(_message.Message):
    __slots__ = ("since", "module", "dry")
    SINCE_FIELD_NUMBER: _ClassVar[int]
    MODULE_FIELD_NUMBER: _ClassVar[int]
    DRY_FIELD_NUMBER: _ClassVar[int]
    since: _timestamp_pb2.Timestamp
    module: str
    dry: bool
    def __init__(self, since: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., module: _Optional[str] = ..., dry: _Optional[bool] = ...) -> None: ...

class FindingsFindRequest(_message.Message):
    __slots__ = ("subject", "sha256", "insights", "flow")
    SUBJECT_FIELD_NUMBER: _ClassVar[int]
    SHA256_FIELD_NUMBER: _ClassVar[int]
    INSIGHTS_FIELD_NUMBER: _ClassVar[int]
    FLOW_FIELD_NUMBER: _ClassVar[int]
    subject: str
    sha256: str
    insights: _containers.RepeatedCompositeFieldContainer[KeyValue]
    flow: str
    def __init__(self, subject: _Optional[str] = ..., sha256: _Optional[str] = ..., insights: _Optional[_Iterable[_Union[KeyValue, _Mapping]]] = ..., flow: _Optional[str] = ...) -> None: ...

class FindingsWhyRequest(_message.Message):
    __slots__ = ("job",)
    JOB_FIELD_NUMBER: _ClassVar[int]
    job: str
    def __init__(self, job: _Optional[str] = ...) -> None: ...

class FindingsWhyResponse(_message.Message):
    __slots__ = ("items",)
    ITEMS_FIELD_NUMBER: _ClassVar[int]
    items: _containers.RepeatedCompositeFieldContainer[Cause]
    def __init__(self, items: _Optional[_Iterable[_Union[Cause, _Mapping]]] = ...) -> None: ...

class FindingsInsightsRequest(_message.Message):
    __slots__ = ("module", "flow", "since", "until")
    MODULE_FIELD_NUMBER: _ClassVar[int]
    FLOW_FIELD_NUMBER: _ClassVar[int]
    SINCE_FIELD_NUMBER: _ClassVar[int]
    UNTIL_FIELD_NUMBER: _ClassVar[int]
    module: str
    flow: str
    since: _timestamp_pb2.Timestamp
    until: _timestamp_pb2.Timestamp
    def __init__(self, module: _Optional[str] = ..., flow: _Optional[str] = ..., since: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., until: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class ServerInfoRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ServerOverviewRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ServerDoctorRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ServerAuditRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ServerUsageRequest(_message.Message):
    __slots__ = ("by",)
    BY_FIELD_NUMBER: _ClassVar[int]
    by: str
    def __init__(self, by: _Optional[str] = ...) -> None: ...

class ServerUsageResponse(_message.Message):
    __slots__ = ("items",)
    ITEMS_FIELD_NUMBER: _ClassVar[int]
    items: _containers.RepeatedCompositeFieldContainer[UsageRow]
    def __init__(self, items: _Optional[_Iterable[_Union[UsageRow, _Mapping]]] = ...) -> None: ...

class ServerCollectRequest(_message.Message):
    __slots__ = ("dry",)
    DRY_FIELD_NUMBER: _ClassVar[int]
    dry: bool
    def __init__(self, dry: _Optional[bool] = ...) -> None: ...

class ServerTrailRequest(_message.Message):
    __slots__ = ("since", "most")
    SINCE_FIELD_NUMBER: _ClassVar[int]
    MOST_FIELD_NUMBER: _ClassVar[int]
    since: _timestamp_pb2.Timestamp
    most: int
    def __init__(self, since: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., most: _Optional[int] = ...) -> None: ...

class Piece(_message.Message):
    __slots__ = ("content",)
    CONTENT_FIELD_NUMBER: _ClassVar[int]
    content: bytes
    def __init__(self, content: _Optional[bytes] = ...) -> None: ...

class Job(_message.Message):
    __slots__ = ("id", "module", "event", "run", "state", "attempt", "hold", "priority", "owner", "scope", "revision", "execution", "devices", "failures", "troubled_at", "failure", "manifest", "cursor", "log", "cancelling", "admitted_at", "started_at", "ended_at", "not_before", "deadline", "history", "route")
    class FailuresEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    ID_FIELD_NUMBER: _ClassVar[int]
    MODULE_FIELD_NUMBER: _ClassVar[int]
    EVENT_FIELD_NUMBER: _ClassVar[int]
    RUN_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    HOLD_FIELD_NUMBER: _ClassVar[int]
    PRIORITY_FIELD_NUMBER: _ClassVar[int]
    OWNER_FIELD_NUMBER: _ClassVar[int]
    SCOPE_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    EXECUTION_FIELD_NUMBER: _ClassVar[int]
    DEVICES_FIELD_NUMBER: _ClassVar[int]
    FAILURES_FIELD_NUMBER: _ClassVar[int]
    TROUBLED_AT_FIELD_NUMBER: _ClassVar[int]
    FAILURE_FIELD_NUMBER: _ClassVar[int]
    MANIFEST_FIELD_NUMBER: _ClassVar[int]
    CURSOR_FIELD_NUMBER: _ClassVar[int]
    LOG_FIELD_NUMBER: _ClassVar[int]
    CANCELLING_FIELD_NUMBER: _ClassVar[int]
    ADMITTED_AT_FIELD_NUMBER: _ClassVar[int]
    STARTED_AT_FIELD_NUMBER: _ClassVar[int]
    ENDED_AT_FIELD_NUMBER: _ClassVar[int]
    NOT_BEFORE_FIELD_NUMBER: _ClassVar[int]
    DEADLINE_FIELD_NUMBER: _ClassVar[int]
    HISTORY_FIELD_NUMBER: _ClassVar[int]
    ROUTE_FIELD_NUMBER: _ClassVar[int]
    id: str
    module: str
    event: Event
    run: int
    state: str
    attempt: int
    hold: str
    priority: int
    owner: str
    scope: str
    revision: str
    execution: str
    devices: _containers.RepeatedScalarFieldContainer[str]
    failures: _containers.ScalarMap[str, int]
    troubled_at: _timestamp_pb2.Timestamp
    failure: Failure
    manifest: ManifestRef
    cursor: int
    log: str
    cancelling: bool
    admitted_at: _timestamp_pb2.Timestamp
    started_at: _timestamp_pb2.Timestamp
    ended_at: _timestamp_pb2.Timestamp
    not_before: _timestamp_pb2.Timestamp
    deadline: _timestamp_pb2.Timestamp
    history: _containers.RepeatedCompositeFieldContainer[JobChange]
    route: str
    def __init__(self, id: _Optional[str] = ..., module: _Optional[str] = ..., event: _Optional[_Union[Event, _Mapping]] = ..., run: _Optional[int] = ..., state: _Optional[str] = ..., attempt: _Optional[int] = ..., hold: _Optional[str] = ..., priority: _Optional[int] = ..., owner: _Optional[str] = ..., scope: _Optional[str] = ..., revision: _Optional[str] = ..., execution: _Optional[str] = ..., devices: _Optional[_Iterable[str]] = ..., failures: _Optional[_Mapping[str, int]] = ..., troubled_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., failure: _Optional[_Union[Failure, _Mapping]] = ..., manifest: _Optional[_Union[ManifestRef, _Mapping]] = ..., cursor: _Optional[int] = ..., log: _Optional[str] = ..., cancelling: _Optional[bool] = ..., admitted_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., started_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., ended_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., not_before: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., deadline: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., history: _Optional[_Iterable[_Union[JobChange, _Mapping]]] = ..., route: _Optional[str] = ...) -> None: ...

class Event(_message.Message):
    __slots__ = ("id", "type", "source", "correlation_id", "parent_id", "time", "subject", "traceparent", "origid", "hops", "files", "data", "dataref")
    ID_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    CORRELATION_ID_FIELD_NUMBER: _ClassVar[int]
    PARENT_ID_FIELD_NUMBER: _ClassVar[int]
    TIME_FIELD_NUMBER: _ClassVar[int]
    SUBJECT_FIELD_NUMBER: _ClassVar[int]
    TRACEPARENT_FIELD_NUMBER: _ClassVar[int]
    ORIGID_FIELD_NUMBER: _ClassVar[int]
    HOPS_FIELD_NUMBER: _ClassVar[int]
    FILES_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    DATAREF_FIELD_NUMBER: _ClassVar[int]
    id: str
    type: str
    source: str
    correlation_id: str
    parent_id: str
    time: _timestamp_pb2.Timestamp
    subject: str
    traceparent: str
    origid: str
    hops: int
    files: _containers.RepeatedCompositeFieldContainer[FileRef]
    data: str
    dataref: str
    def __init__(self, id: _Optional[str] = ..., type: _Optional[str] = ..., source: _Optional[str] = ..., correlation_id: _Optional[str] = ..., parent_id: _Optional[str] = ..., time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., subject: _Optional[str] = ..., traceparent: _Optional[str] = ..., origid: _Optional[str] = ..., hops: _Optional[int] = ..., files: _Optional[_Iterable[_Union[FileRef, _Mapping]]] = ..., data: _Optional[str] = ..., dataref: _Optional[str] = ...) -> None: ...

class FileRef(_message.Message):
    __slots__ = ("path", "blob", "size", "sha256")
    PATH_FIELD_NUMBER: _ClassVar[int]
    BLOB_FIELD_NUMBER: _ClassVar[int]
    SIZE_FIELD_NUMBER: _ClassVar[int]
    SHA256_FIELD_NUMBER: _ClassVar[int]
    path: str
    blob: str
    size: int
    sha256: str
    def __init__(self, path: _Optional[str] = ..., blob: _Optional[str] = ..., size: _Optional[int] = ..., sha256: _Optional[str] = ...) -> None: ...

class Failure(_message.Message):
    __slots__ = ("kind", "message", "exit_code")
    KIND_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    EXIT_CODE_FIELD_NUMBER: _ClassVar[int]
    kind: str
    message: str
    exit_code: int
    def __init__(self, kind: _Optional[str] = ..., message: _Optional[str] = ..., exit_code: _Optional[int] = ...) -> None: ...

class ManifestRef(_message.Message):
    __slots__ = ("blob", "sha256", "execution", "files", "events", "insights", "inline", "log", "started_at", "ended_at")
    BLOB_FIELD_NUMBER: _ClassVar[int]
    SHA256_FIELD_NUMBER: _ClassVar[int]
    EXECUTION_FIELD_NUMBER: _ClassVar[int]
    FILES_FIELD_NUMBER: _ClassVar[int]
    EVENTS_FIELD_NUMBER: _ClassVar[int]
    INSIGHTS_FIELD_NUMBER: _ClassVar[int]
    INLINE_FIELD_NUMBER: _ClassVar[int]
    LOG_FIELD_NUMBER: _ClassVar[int]
    STARTED_AT_FIELD_NUMBER: _ClassVar[int]
    ENDED_AT_FIELD_NUMBER: _ClassVar[int]
    blob: str
    sha256: str
    execution: str
    files: int
    events: int
    insights: int
    inline: str
    log: str
    started_at: _timestamp_pb2.Timestamp
    ended_at: _timestamp_pb2.Timestamp
    def __init__(self, blob: _Optional[str] = ..., sha256: _Optional[str] = ..., execution: _Optional[str] = ..., files: _Optional[int] = ..., events: _Optional[int] = ..., insights: _Optional[int] = ..., inline: _Optional[str] = ..., log: _Optional[str] = ..., started_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., ended_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class JobChange(_message.Message):
    __slots__ = ("at", "state", "attempt", "actor", "note")
    AT_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    ACTOR_FIELD_NUMBER: _ClassVar[int]
    NOTE_FIELD_NUMBER: _ClassVar[int]
    at: _timestamp_pb2.Timestamp
    state: str
    attempt: int
    actor: str
    note: str
    def __init__(self, at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., state: _Optional[str] = ..., attempt: _Optional[int] = ..., actor: _Optional[str] = ..., note: _Optional[str] = ...) -> None: ...

class JobDetails(_message.Message):
    __slots__ = ("job", "results", "silent")
    JOB_FIELD_NUMBER: _ClassVar[int]
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    SILENT_FIELD_NUMBER: _ClassVar[int]
    job: Job
    results: Manifest
    silent: bool
    def __init__(self, job: _Optional[_Union[Job, _Mapping]] = ..., results: _Optional[_Union[Manifest, _Mapping]] = ..., silent: _Optional[bool] = ...) -> None: ...

class Manifest(_message.Message):
    __slots__ = ("job", "attempt", "execution", "module", "event_id", "correlation_id", "parent_event_id", "revision", "image_digest", "started_at", "ended_at", "inputs", "files", "events", "insights", "log", "secrets", "host", "devices", "usage")
    JOB_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    EXECUTION_FIELD_NUMBER: _ClassVar[int]
    MODULE_FIELD_NUMBER: _ClassVar[int]
    EVENT_ID_FIELD_NUMBER: _ClassVar[int]
    CORRELATION_ID_FIELD_NUMBER: _ClassVar[int]
    PARENT_EVENT_ID_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    IMAGE_DIGEST_FIELD_NUMBER: _ClassVar[int]
    STARTED_AT_FIELD_NUMBER: _ClassVar[int]
    ENDED_AT_FIELD_NUMBER: _ClassVar[int]
    INPUTS_FIELD_NUMBER: _ClassVar[int]
    FILES_FIELD_NUMBER: _ClassVar[int]
    EVENTS_FIELD_NUMBER: _ClassVar[int]
    INSIGHTS_FIELD_NUMBER: _ClassVar[int]
    LOG_FIELD_NUMBER: _ClassVar[int]
    SECRETS_FIELD_NUMBER: _ClassVar[int]
    HOST_FIELD_NUMBER: _ClassVar[int]
    DEVICES_FIELD_NUMBER: _ClassVar[int]
    USAGE_FIELD_NUMBER: _ClassVar[int]
    job: str
    attempt: int
    execution: str
    module: str
    event_id: str
    correlation_id: str
    parent_event_id: str
    revision: str
    image_digest: str
    started_at: _timestamp_pb2.Timestamp
    ended_at: _timestamp_pb2.Timestamp
    inputs: _containers.RepeatedCompositeFieldContainer[FileRef]
    files: _containers.RepeatedCompositeFieldContainer[FileRef]
    events: _containers.RepeatedCompositeFieldContainer[Event]
    insights: _containers.RepeatedCompositeFieldContainer[Insight]
    log: FileRef
    secrets: _containers.RepeatedScalarFieldContainer[str]
    host: str
    devices: _containers.RepeatedScalarFieldContainer[str]
    usage: Usage
    def __init__(self, job: _Optional[str] = ..., attempt: _Optional[int] = ..., execution: _Optional[str] = ..., module: _Optional[str] = ..., event_id: _Optional[str] = ..., correlation_id: _Optional[str] = ..., parent_event_id: _Optional[str] = ..., revision: _Optional[str] = ..., image_digest: _Optional[str] = ..., started_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., ended_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., inputs: _Optional[_Iterable[_Union[FileRef, _Mapping]]] = ..., files: _Optional[_Iterable[_Union[FileRef, _Mapping]]] = ..., events: _Optional[_Iterable[_Union[Event, _Mapping]]] = ..., insights: _Optional[_Iterable[_Union[Insight, _Mapping]]] = ..., log: _Optional[_Union[FileRef, _Mapping]] = ..., secrets: _Optional[_Iterable[str]] = ..., host: _Optional[str] = ..., devices: _Optional[_Iterable[str]] = ..., usage: _Optional[_Union[Usage, _Mapping]] = ...) -> None: ...

class Insight(_message.Message):
    __slots__ = ("key", "value", "typed")
    KEY_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    TYPED_FIELD_NUMBER: _ClassVar[int]
    key: str
    value: str
    typed: str
    def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ..., typed: _Optional[str] = ...) -> None: ...

class Usage(_message.Message):
    __slots__ = ("cpu_s", "gpu_s", "peak_memory")
    CPU_S_FIELD_NUMBER: _ClassVar[int]
    GPU_S_FIELD_NUMBER: _ClassVar[int]
    PEAK_MEMORY_FIELD_NUMBER: _ClassVar[int]
    cpu_s: float
    gpu_s: float
    peak_memory: int
    def __init__(self, cpu_s: _Optional[float] = ..., gpu_s: _Optional[float] = ..., peak_memory: _Optional[int] = ...) -> None: ...

class JobFilter(_message.Message):
    __slots__ = ("module", "states", "correlation_id", "event_id", "id_prefix", "owner")
    MODULE_FIELD_NUMBER: _ClassVar[int]
    STATES_FIELD_NUMBER: _ClassVar[int]
    CORRELATION_ID_FIELD_NUMBER: _ClassVar[int]
    EVENT_ID_FIELD_NUMBER: _ClassVar[int]
    ID_PREFIX_FIELD_NUMBER: _ClassVar[int]
    OWNER_FIELD_NUMBER: _ClassVar[int]
    module: str
    states: _containers.RepeatedScalarFieldContainer[str]
    correlation_id: str
    event_id: str
    id_prefix: str
    owner: str
    def __init__(self, module: _Optional[str] = ..., states: _Optional[_Iterable[str]] = ..., correlation_id: _Optional[str] = ..., event_id: _Optional[str] = ..., id_prefix: _Optional[str] = ..., owner: _Optional[str] = ...) -> None: ...

class JobPage(_message.Message):
    __slots__ = ("jobs", "after")
    JOBS_FIELD_NUMBER: _ClassVar[int]
    AFTER_FIELD_NUMBER: _ClassVar[int]
    jobs: _containers.RepeatedCompositeFieldContainer[Job]
    after: str
    def __init__(self, jobs: _Optional[_Iterable[_Union[Job, _Mapping]]] = ..., after: _Optional[str] = ...) -> None: ...

class LatestJobs(_message.Message):
    __slots__ = ("jobs", "total")
    JOBS_FIELD_NUMBER: _ClassVar[int]
    TOTAL_FIELD_NUMBER: _ClassVar[int]
    jobs: _containers.RepeatedCompositeFieldContainer[Job]
    total: int
    def __init__(self, jobs: _Optional[_Iterable[_Union[Job, _Mapping]]] = ..., total: _Optional[int] = ...) -> None: ...

class JobFile(_message.Message):
    __slots__ = ("role", "path", "size", "sha256", "uri", "link")
    ROLE_FIELD_NUMBER: _ClassVar[int]
    PATH_FIELD_NUMBER: _ClassVar[int]
    SIZE_FIELD_NUMBER: _ClassVar[int]
    SHA256_FIELD_NUMBER: _ClassVar[int]
    URI_FIELD_NUMBER: _ClassVar[int]
    LINK_FIELD_NUMBER: _ClassVar[int]
    role: str
    path: str
    size: int
    sha256: str
    uri: str
    link: str
    def __init__(self, role: _Optional[str] = ..., path: _Optional[str] = ..., size: _Optional[int] = ..., sha256: _Optional[str] = ..., uri: _Optional[str] = ..., link: _Optional[str] = ...) -> None: ...

class JobWork(_message.Message):
    __slots__ = ("job", "revision")
    JOB_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    job: Job
    revision: Revision
    def __init__(self, job: _Optional[_Union[Job, _Mapping]] = ..., revision: _Optional[_Union[Revision, _Mapping]] = ...) -> None: ...

class Revision(_message.Message):
    __slots__ = ("id", "module", "image_digest")
    ID_FIELD_NUMBER: _ClassVar[int]
    MODULE_FIELD_NUMBER: _ClassVar[int]
    IMAGE_DIGEST_FIELD_NUMBER: _ClassVar[int]
    id: str
    module: Module
    image_digest: str
    def __init__(self, id: _Optional[str] = ..., module: _Optional[_Union[Module, _Mapping]] = ..., image_digest: _Optional[str] = ...) -> None: ...

class Module(_message.Message):
    __slots__ = ("name", "pipeline", "on", "emits", "image", "command", "origin", "folder", "workdir", "runtime", "provider", "env", "secrets", "mounts", "network", "resources", "retries", "no_retry_on", "concurrency", "timeout_s", "start_timeout_s", "grace_s", "pause_after", "log_limit", "kubernetes", "azurebatch", "route", "priority")
    class EnvEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    class SecretsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    NAME_FIELD_NUMBER: _ClassVar[int]
    PIPELINE_FIELD_NUMBER: _ClassVar[int]
    ON_FIELD_NUMBER: _ClassVar[int]
    EMITS_FIELD_NUMBER: _ClassVar[int]
    IMAGE_FIELD_NUMBER: _ClassVar[int]
    COMMAND_FIELD_NUMBER: _ClassVar[int]
    ORIGIN_FIELD_NUMBER: _ClassVar[int]
    FOLDER_FIELD_NUMBER: _ClassVar[int]
    WORKDIR_FIELD_NUMBER: _ClassVar[int]
    RUNTIME_FIELD_NUMBER: _ClassVar[int]
    PROVIDER_FIELD_NUMBER: _ClassVar[int]
    ENV_FIELD_NUMBER: _ClassVar[int]
    SECRETS_FIELD_NUMBER: _ClassVar[int]
    MOUNTS_FIELD_NUMBER: _ClassVar[int]
    NETWORK_FIELD_NUMBER: _ClassVar[int]
    RESOURCES_FIELD_NUMBER: _ClassVar[int]
    RETRIES_FIELD_NUMBER: _ClassVar[int]
    NO_RETRY_ON_FIELD_NUMBER: _ClassVar[int]
    CONCURRENCY_FIELD_NUMBER: _ClassVar[int]
    TIMEOUT_S_FIELD_NUMBER: _ClassVar[int]
    START_TIMEOUT_S_FIELD_NUMBER: _ClassVar[int]
    GRACE_S_FIELD_NUMBER: _ClassVar[int]
    PAUSE_AFTER_FIELD_NUMBER: _ClassVar[int]
    LOG_LIMIT_FIELD_NUMBER: _ClassVar[int]
    KUBERNETES_FIELD_NUMBER: _ClassVar[int]
    AZUREBATCH_FIELD_NUMBER: _ClassVar[int]
    ROUTE_FIELD_NUMBER: _ClassVar[int]
    PRIORITY_FIELD_NUMBER: _ClassVar[int]
    name: str
    pipeline: str
    on: _containers.RepeatedCompositeFieldContainer[Subscription]
    emits: _containers.RepeatedScalarFieldContainer[str]
    image: str
    command: _containers.RepeatedScalarFieldContainer[str]
    origin: str
    folder: str
    workdir: str
    runtime: str
    provider: str
    env: _containers.ScalarMap[str, str]
    secrets: _containers.ScalarMap[str, str]
    mounts: _containers.RepeatedCompositeFieldContainer[Mount]
    network: bool
    resources: Resources
    retries: Retries
    no_retry_on: _containers.RepeatedScalarFieldContainer[int]
    concurrency: int
    timeout_s: float
    start_timeout_s: float
    grace_s: float
    pause_after: int
    log_limit: int
    kubernetes: str
    azurebatch: str
    route: _containers.RepeatedCompositeFieldContainer[Rule]
    priority: int
    def __init__(self, name: _Optional[str] = ..., pipeline: _Optional[str] = ..., on: _Optional[_Iterable[_Union[Subscription, _Mapping]]] = ..., emits: _Optional[_Iterable[str]] = ..., image: _Optional[str] = ..., command: _Optional[_Iterable[str]] = ..., origin: _Optional[str] = ..., folder: _Optional[str] = ..., workdir: _Optional[str] = ..., runtime: _Optional[str] = ..., provider: _Optional[str] = ..., env: _Optional[_Mapping[str, str]] = ..., secrets: _Optional[_Mapping[str, str]] = ..., mounts: _Optional[_Iterable[_Union[Mount, _Mapping]]] = ..., network: _Optional[bool] = ..., resources: _Optional[_Union[Resources, _Mapping]] = ..., retries: _Optional[_Union[Retries, _Mapping]] = ..., no_retry_on: _Optional[_Iterable[int]] = ..., concurrency: _Optional[int] = ..., timeout_s: _Optional[float] = ..., start_timeout_s: _Optional[float] = ..., grace_s: _Optional[float] = ..., pause_after: _Optional[int] = ..., log_limit: _Optional[int] = ..., kubernetes: _Optional[str] = ..., azurebatch: _Optional[str] = ..., route: _Optional[_Iterable[_Union[Rule, _Mapping]]] = ..., priority: _Optional[int] = ...) -> None: ...

class Rule(_message.Message):
    __slots__ = ("filters", "size_least", "size_most", "waited_s", "provider", "priority")
    FILTERS_FIELD_NUMBER: _ClassVar[int]
    SIZE_LEAST_FIELD_NUMBER: _ClassVar[int]
    SIZE_MOST_FIELD_NUMBER: _ClassVar[int]
    WAITED_S_FIELD_NUMBER: _ClassVar[int]
    PROVIDER_FIELD_NUMBER: _ClassVar[int]
    PRIORITY_FIELD_NUMBER: _ClassVar[int]
    filters: str
    size_least: int
    size_most: int
    waited_s: float
    provider: str
    priority: int
    def __init__(self, filters: _Optional[str] = ..., size_least: _Optional[int] = ..., size_most: _Optional[int] = ..., waited_s: _Optional[float] = ..., provider: _Optional[str] = ..., priority: _Optional[int] = ...) -> None: ...

class Subscription(_message.Message):
    __slots__ = ("type", "filters")
    TYPE_FIELD_NUMBER: _ClassVar[int]
    FILTERS_FIELD_NUMBER: _ClassVar[int]
    type: str
    filters: str
    def __init__(self, type: _Optional[str] = ..., filters: _Optional[str] = ...) -> None: ...

class Mount(_message.Message):
    __slots__ = ("source", "path")
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    PATH_FIELD_NUMBER: _ClassVar[int]
    source: str
    path: str
    def __init__(self, source: _Optional[str] = ..., path: _Optional[str] = ...) -> None: ...

class Resources(_message.Message):
    __slots__ = ("cpu", "memory", "gpu", "disk", "shm")
    CPU_FIELD_NUMBER: _ClassVar[int]
    MEMORY_FIELD_NUMBER: _ClassVar[int]
    GPU_FIELD_NUMBER: _ClassVar[int]
    DISK_FIELD_NUMBER: _ClassVar[int]
    SHM_FIELD_NUMBER: _ClassVar[int]
    cpu: float
    memory: int
    gpu: int
    disk: int
    shm: int
    def __init__(self, cpu: _Optional[float] = ..., memory: _Optional[int] = ..., gpu: _Optional[int] = ..., disk: _Optional[int] = ..., shm: _Optional[int] = ...) -> None: ...

class Retries(_message.Message):
    __slots__ = ("module", "timeout", "memory", "memory_factor", "lost", "infrastructure_s", "backoff_s", "backoff_most_s")
    MODULE_FIELD_NUMBER: _ClassVar[int]
    TIMEOUT_FIELD_NUMBER: _ClassVar[int]
    MEMORY_FIELD_NUMBER: _ClassVar[int]
    MEMORY_FACTOR_FIELD_NUMBER: _ClassVar[int]
    LOST_FIELD_NUMBER: _ClassVar[int]
    INFRASTRUCTURE_S_FIELD_NUMBER: _ClassVar[int]
    BACKOFF_S_FIELD_NUMBER: _ClassVar[int]
    BACKOFF_MOST_S_FIELD_NUMBER: _ClassVar[int]
    module: int
    timeout: int
    memory: int
    memory_factor: float
    lost: int
    infrastructure_s: float
    backoff_s: float
    backoff_most_s: float
    def __init__(self, module: _Optional[int] = ..., timeout: _Optional[int] = ..., memory: _Optional[int] = ..., memory_factor: _Optional[float] = ..., lost: _Optional[int] = ..., infrastructure_s: _Optional[float] = ..., backoff_s: _Optional[float] = ..., backoff_most_s: _Optional[float] = ...) -> None: ...

class RerunLine(_message.Message):
    __slots__ = ("old", "new", "obstacle")
    OLD_FIELD_NUMBER: _ClassVar[int]
    NEW_FIELD_NUMBER: _ClassVar[int]
    OBSTACLE_FIELD_NUMBER: _ClassVar[int]
    old: str
    new: str
    obstacle: str
    def __init__(self, old: _Optional[str] = ..., new: _Optional[str] = ..., obstacle: _Optional[str] = ...) -> None: ...

class LetterFilter(_message.Message):
    __slots__ = ("module", "kinds", "since", "until", "revision", "correlation_id")
    MODULE_FIELD_NUMBER: _ClassVar[int]
    KINDS_FIELD_NUMBER: _ClassVar[int]
    SINCE_FIELD_NUMBER: _ClassVar[int]
    UNTIL_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    CORRELATION_ID_FIELD_NUMBER: _ClassVar[int]
    module: str
    kinds: _containers.RepeatedScalarFieldContainer[str]
    since: _timestamp_pb2.Timestamp
    until: _timestamp_pb2.Timestamp
    revision: str
    correlation_id: str
    def __init__(self, module: _Optional[str] = ..., kinds: _Optional[_Iterable[str]] = ..., since: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., until: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., revision: _Optional[str] = ..., correlation_id: _Optional[str] = ...) -> None: ...

class Redriven(_message.Message):
    __slots__ = ("id", "note")
    ID_FIELD_NUMBER: _ClassVar[int]
    NOTE_FIELD_NUMBER: _ClassVar[int]
    id: str
    note: str
    def __init__(self, id: _Optional[str] = ..., note: _Optional[str] = ...) -> None: ...

class FlowState(_message.Message):
    __slots__ = ("flow", "states", "modules")
    class StatesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    FLOW_FIELD_NUMBER: _ClassVar[int]
    STATES_FIELD_NUMBER: _ClassVar[int]
    MODULES_FIELD_NUMBER: _ClassVar[int]
    flow: Flow
    states: _containers.ScalarMap[str, int]
    modules: _containers.RepeatedCompositeFieldContainer[ModuleTally]
    def __init__(self, flow: _Optional[_Union[Flow, _Mapping]] = ..., states: _Optional[_Mapping[str, int]] = ..., modules: _Optional[_Iterable[_Union[ModuleTally, _Mapping]]] = ...) -> None: ...

class ModuleTally(_message.Message):
    __slots__ = ("module", "states")
    class StatesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    MODULE_FIELD_NUMBER: _ClassVar[int]
    STATES_FIELD_NUMBER: _ClassVar[int]
    module: str
    states: _containers.ScalarMap[str, int]
    def __init__(self, module: _Optional[str] = ..., states: _Optional[_Mapping[str, int]] = ...) -> None: ...

class Flow(_message.Message):
    __slots__ = ("correlation_id", "control", "priority", "jobs", "started_at")
    CORRELATION_ID_FIELD_NUMBER: _ClassVar[int]
    CONTROL_FIELD_NUMBER: _ClassVar[int]
    PRIORITY_FIELD_NUMBER: _ClassVar[int]
    JOBS_FIELD_NUMBER: _ClassVar[int]
    STARTED_AT_FIELD_NUMBER: _ClassVar[int]
    correlation_id: str
    control: str
    priority: int
    jobs: int
    started_at: _timestamp_pb2.Timestamp
    def __init__(self, correlation_id: _Optional[str] = ..., control: _Optional[str] = ..., priority: _Optional[int] = ..., jobs: _Optional[int] = ..., started_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class Ended(_message.Message):
    __slots__ = ("state", "stuck")
    STATE_FIELD_NUMBER: _ClassVar[int]
    STUCK_FIELD_NUMBER: _ClassVar[int]
    state: FlowState
    stuck: str
    def __init__(self, state: _Optional[_Union[FlowState, _Mapping]] = ..., stuck: _Optional[str] = ...) -> None: ...

class Record(_message.Message):
    __slots__ = ("id", "context", "body")
    ID_FIELD_NUMBER: _ClassVar[int]
    CONTEXT_FIELD_NUMBER: _ClassVar[int]
    BODY_FIELD_NUMBER: _ClassVar[int]
    id: str
    context: Context
    body: str
    def __init__(self, id: _Optional[str] = ..., context: _Optional[_Union[Context, _Mapping]] = ..., body: _Optional[str] = ...) -> None: ...

class Context(_message.Message):
    __slots__ = ("name", "event_id", "correlation_id", "parent_event_id", "document_type")
    NAME_FIELD_NUMBER: _ClassVar[int]
    EVENT_ID_FIELD_NUMBER: _ClassVar[int]
    CORRELATION_ID_FIELD_NUMBER: _ClassVar[int]
    PARENT_EVENT_ID_FIELD_NUMBER: _ClassVar[int]
    DOCUMENT_TYPE_FIELD_NUMBER: _ClassVar[int]
    name: str
    event_id: str
    correlation_id: str
    parent_event_id: str
    document_type: str
    def __init__(self, name: _Optional[str] = ..., event_id: _Optional[str] = ..., correlation_id: _Optional[str] = ..., parent_event_id: _Optional[str] = ..., document_type: _Optional[str] = ...) -> None: ...

class TreeLine(_message.Message):
    __slots__ = ("rails", "job", "parent", "silent")
    RAILS_FIELD_NUMBER: _ClassVar[int]
    JOB_FIELD_NUMBER: _ClassVar[int]
    PARENT_FIELD_NUMBER: _ClassVar[int]
    SILENT_FIELD_NUMBER: _ClassVar[int]
    rails: str
    job: Job
    parent: str
    silent: bool
    def __init__(self, rails: _Optional[str] = ..., job: _Optional[_Union[Job, _Mapping]] = ..., parent: _Optional[str] = ..., silent: _Optional[bool] = ...) -> None: ...

class Registered(_message.Message):
    __slots__ = ("revision", "paused", "health")
    REVISION_FIELD_NUMBER: _ClassVar[int]
    PAUSED_FIELD_NUMBER: _ClassVar[int]
    HEALTH_FIELD_NUMBER: _ClassVar[int]
    revision: Revision
    paused: bool
    health: Health
    def __init__(self, revision: _Optional[_Union[Revision, _Mapping]] = ..., paused: _Optional[bool] = ..., health: _Optional[_Union[Health, _Mapping]] = ...) -> None: ...

class Health(_message.Message):
    __slots__ = ("dead_in_row", "trouble_in_row", "quiet_s")
    DEAD_IN_ROW_FIELD_NUMBER: _ClassVar[int]
    TROUBLE_IN_ROW_FIELD_NUMBER: _ClassVar[int]
    QUIET_S_FIELD_NUMBER: _ClassVar[int]
    dead_in_row: int
    trouble_in_row: int
    quiet_s: float
    def __init__(self, dead_in_row: _Optional[int] = ..., trouble_in_row: _Optional[int] = ..., quiet_s: _Optional[float] = ...) -> None: ...

class ModuleState(_message.Message):
    __slots__ = ("registered", "jobs", "oldest_s", "served_by", "standing", "message")
    class JobsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    REGISTERED_FIELD_NUMBER: _ClassVar[int]
    JOBS_FIELD_NUMBER: _ClassVar[int]
    OLDEST_S_FIELD_NUMBER: _ClassVar[int]
    SERVED_BY_FIELD_NUMBER: _ClassVar[int]
    STANDING_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    registered: Registered
    jobs: _containers.ScalarMap[str, int]
    oldest_s: float
    served_by: _containers.RepeatedScalarFieldContainer[str]
    standing: str
    message: str
    def __init__(self, registered: _Optional[_Union[Registered, _Mapping]] = ..., jobs: _Optional[_Mapping[str, int]] = ..., oldest_s: _Optional[float] = ..., served_by: _Optional[_Iterable[str]] = ..., standing: _Optional[str] = ..., message: _Optional[str] = ...) -> None: ...

class Applied(_message.Message):
    __slots__ = ("changes", "warnings")
    CHANGES_FIELD_NUMBER: _ClassVar[int]
    WARNINGS_FIELD_NUMBER: _ClassVar[int]
    changes: _containers.RepeatedCompositeFieldContainer[ModuleChange]
    warnings: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, changes: _Optional[_Iterable[_Union[ModuleChange, _Mapping]]] = ..., warnings: _Optional[_Iterable[str]] = ...) -> None: ...

class ModuleChange(_message.Message):
    __slots__ = ("module", "fate", "revision", "differences")
    MODULE_FIELD_NUMBER: _ClassVar[int]
    FATE_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    DIFFERENCES_FIELD_NUMBER: _ClassVar[int]
    module: str
    fate: str
    revision: str
    differences: _containers.RepeatedCompositeFieldContainer[Difference]
    def __init__(self, module: _Optional[str] = ..., fate: _Optional[str] = ..., revision: _Optional[str] = ..., differences: _Optional[_Iterable[_Union[Difference, _Mapping]]] = ...) -> None: ...

class Difference(_message.Message):
    __slots__ = ("field", "old", "new")
    FIELD_FIELD_NUMBER: _ClassVar[int]
    OLD_FIELD_NUMBER: _ClassVar[int]
    NEW_FIELD_NUMBER: _ClassVar[int]
    field: str
    old: str
    new: str
    def __init__(self, field: _Optional[str] = ..., old: _Optional[str] = ..., new: _Optional[str] = ...) -> None: ...

class Past(_message.Message):
    __slots__ = ("revision", "at", "actor", "removed")
    REVISION_FIELD_NUMBER: _ClassVar[int]
    AT_FIELD_NUMBER: _ClassVar[int]
    ACTOR_FIELD_NUMBER: _ClassVar[int]
    REMOVED_FIELD_NUMBER: _ClassVar[int]
    revision: Revision
    at: _timestamp_pb2.Timestamp
    actor: str
    removed: bool
    def __init__(self, revision: _Optional[_Union[Revision, _Mapping]] = ..., at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., actor: _Optional[str] = ..., removed: _Optional[bool] = ...) -> None: ...

class NewEvent(_message.Message):
    __slots__ = ("type", "data", "subject", "id", "correlation_id", "parent_id", "time", "traceparent", "gateway", "force")
    TYPE_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    SUBJECT_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    CORRELATION_ID_FIELD_NUMBER: _ClassVar[int]
    PARENT_ID_FIELD_NUMBER: _ClassVar[int]
    TIME_FIELD_NUMBER: _ClassVar[int]
    TRACEPARENT_FIELD_NUMBER: _ClassVar[int]
    GATEWAY_FIELD_NUMBER: _ClassVar[int]
    FORCE_FIELD_NUMBER: _ClassVar[int]
    type: str
    data: str
    subject: str
    id: str
    correlation_id: str
    parent_id: str
    time: _timestamp_pb2.Timestamp
    traceparent: str
    gateway: str
    force: bool
    def __init__(self, type: _Optional[str] = ..., data: _Optional[str] = ..., subject: _Optional[str] = ..., id: _Optional[str] = ..., correlation_id: _Optional[str] = ..., parent_id: _Optional[str] = ..., time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., traceparent: _Optional[str] = ..., gateway: _Optional[str] = ..., force: _Optional[bool] = ...) -> None: ...

class Raised(_message.Message):
    __slots__ = ("event", "job", "duplicate")
    EVENT_FIELD_NUMBER: _ClassVar[int]
    JOB_FIELD_NUMBER: _ClassVar[int]
    DUPLICATE_FIELD_NUMBER: _ClassVar[int]
    event: Event
    job: str
    duplicate: bool
    def __init__(self, event: _Optional[_Union[Event, _Mapping]] = ..., job: _Optional[str] = ..., duplicate: _Optional[bool] = ...) -> None: ...

class Depths(_message.Message):
    __slots__ = ("depths", "notes")
    DEPTHS_FIELD_NUMBER: _ClassVar[int]
    NOTES_FIELD_NUMBER: _ClassVar[int]
    depths: _containers.RepeatedCompositeFieldContainer[Depth]
    notes: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, depths: _Optional[_Iterable[_Union[Depth, _Mapping]]] = ..., notes: _Optional[_Iterable[str]] = ...) -> None: ...

class Depth(_message.Message):
    __slots__ = ("module", "group", "depth")
    MODULE_FIELD_NUMBER: _ClassVar[int]
    GROUP_FIELD_NUMBER: _ClassVar[int]
    DEPTH_FIELD_NUMBER: _ClassVar[int]
    module: str
    group: str
    depth: int
    def __init__(self, module: _Optional[str] = ..., group: _Optional[str] = ..., depth: _Optional[int] = ...) -> None: ...

class Republished(_message.Message):
    __slots__ = ("events", "started")
    EVENTS_FIELD_NUMBER: _ClassVar[int]
    STARTED_FIELD_NUMBER: _ClassVar[int]
    events: int
    started: int
    def __init__(self, events: _Optional[int] = ..., started: _Optional[int] = ...) -> None: ...

class KeyValue(_message.Message):
    __slots__ = ("key", "value")
    KEY_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    key: str
    value: str
    def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...

class Found(_message.Message):
    __slots__ = ("job", "by", "what")
    JOB_FIELD_NUMBER: _ClassVar[int]
    BY_FIELD_NUMBER: _ClassVar[int]
    WHAT_FIELD_NUMBER: _ClassVar[int]
    job: Job
    by: str
    what: str
    def __init__(self, job: _Optional[_Union[Job, _Mapping]] = ..., by: _Optional[str] = ..., what: _Optional[str] = ...) -> None: ...

class Cause(_message.Message):
    __slots__ = ("job", "image", "image_digest", "command", "inputs", "insights", "waits")
    JOB_FIELD_NUMBER: _ClassVar[int]
    IMAGE_FIELD_NUMBER: _ClassVar[int]
    IMAGE_DIGEST_FIELD_NUMBER: _ClassVar[int]
    COMMAND_FIELD_NUMBER: _ClassVar[int]
    INPUTS_FIELD_NUMBER: _ClassVar[int]
    INSIGHTS_FIELD_NUMBER: _ClassVar[int]
    WAITS_FIELD_NUMBER: _ClassVar[int]
    job: Job
    image: str
    image_digest: str
    command: _containers.RepeatedScalarFieldContainer[str]
    inputs: _containers.RepeatedCompositeFieldContainer[FileRef]
    insights: _containers.RepeatedCompositeFieldContainer[Insight]
    waits: str
    def __init__(self, job: _Optional[_Union[Job, _Mapping]] = ..., image: _Optional[str] = ..., image_digest: _Optional[str] = ..., command: _Optional[_Iterable[str]] = ..., inputs: _Optional[_Iterable[_Union[FileRef, _Mapping]]] = ..., insights: _Optional[_Iterable[_Union[Insight, _Mapping]]] = ..., waits: _Optional[str] = ...) -> None: ...

class InsightRow(_message.Message):
    __slots__ = ("at", "correlation_id", "event_id", "job", "module", "revision", "subject", "key", "value", "typed")
    AT_FIELD_NUMBER: _ClassVar[int]
    CORRELATION_ID_FIELD_NUMBER: _ClassVar[int]
    EVENT_ID_FIELD_NUMBER: _ClassVar[int]
    JOB_FIELD_NUMBER: _ClassVar[int]
    MODULE_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    SUBJECT_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    TYPED_FIELD_NUMBER: _ClassVar[int]
    at: _timestamp_pb2.Timestamp
    correlation_id: str
    event_id: str
    job: str
    module: str
    revision: str
    subject: str
    key: str
    value: str
    typed: str
    def __init__(self, at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., correlation_id: _Optional[str] = ..., event_id: _Optional[str] = ..., job: _Optional[str] = ..., module: _Optional[str] = ..., revision: _Optional[str] = ..., subject: _Optional[str] = ..., key: _Optional[str] = ..., value: _Optional[str] = ..., typed: _Optional[str] = ...) -> None: ...

class Information(_message.Message):
    __slots__ = ("version", "place", "ledger", "documents", "bus", "blobs", "now", "actor", "role")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    PLACE_FIELD_NUMBER: _ClassVar[int]
    LEDGER_FIELD_NUMBER: _ClassVar[int]
    DOCUMENTS_FIELD_NUMBER: _ClassVar[int]
    BUS_FIELD_NUMBER: _ClassVar[int]
    BLOBS_FIELD_NUMBER: _ClassVar[int]
    NOW_FIELD_NUMBER: _ClassVar[int]
    ACTOR_FIELD_NUMBER: _ClassVar[int]
    ROLE_FIELD_NUMBER: _ClassVar[int]
    version: str
    place: str
    ledger: str
    documents: str
    bus: str
    blobs: str
    now: _timestamp_pb2.Timestamp
    actor: str
    role: str
    def __init__(self, version: _Optional[str] = ..., place: _Optional[str] = ..., ledger: _Optional[str] = ..., documents: _Optional[str] = ..., bus: _Optional[str] = ..., blobs: _Optional[str] = ..., now: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., actor: _Optional[str] = ..., role: _Optional[str] = ...) -> None: ...

class Overview(_message.Message):
    __slots__ = ("now", "modules", "dispatchers", "open", "unreleased", "oldest_unreleased_s", "dead")
    NOW_FIELD_NUMBER: _ClassVar[int]
    MODULES_FIELD_NUMBER: _ClassVar[int]
    DISPATCHERS_FIELD_NUMBER: _ClassVar[int]
    OPEN_FIELD_NUMBER: _ClassVar[int]
    UNRELEASED_FIELD_NUMBER: _ClassVar[int]
    OLDEST_UNRELEASED_S_FIELD_NUMBER: _ClassVar[int]
    DEAD_FIELD_NUMBER: _ClassVar[int]
    now: _timestamp_pb2.Timestamp
    modules: _containers.RepeatedCompositeFieldContainer[ModuleState]
    dispatchers: _containers.RepeatedCompositeFieldContainer[Owner]
    open: int
    unreleased: int
    oldest_unreleased_s: float
    dead: int
    def __init__(self, now: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., modules: _Optional[_Iterable[_Union[ModuleState, _Mapping]]] = ..., dispatchers: _Optional[_Iterable[_Union[Owner, _Mapping]]] = ..., open: _Optional[int] = ..., unreleased: _Optional[int] = ..., oldest_unreleased_s: _Optional[float] = ..., dead: _Optional[int] = ...) -> None: ...

class Owner(_message.Message):
    __slots__ = ("id", "scope", "host", "pid", "beat", "lock", "modules", "places")
    ID_FIELD_NUMBER: _ClassVar[int]
    SCOPE_FIELD_NUMBER: _ClassVar[int]
    HOST_FIELD_NUMBER: _ClassVar[int]
    PID_FIELD_NUMBER: _ClassVar[int]
    BEAT_FIELD_NUMBER: _ClassVar[int]
    LOCK_FIELD_NUMBER: _ClassVar[int]
    MODULES_FIELD_NUMBER: _ClassVar[int]
    PLACES_FIELD_NUMBER: _ClassVar[int]
    id: str
    scope: str
    host: str
    pid: int
    beat: int
    lock: str
    modules: _containers.RepeatedScalarFieldContainer[str]
    places: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, id: _Optional[str] = ..., scope: _Optional[str] = ..., host: _Optional[str] = ..., pid: _Optional[int] = ..., beat: _Optional[int] = ..., lock: _Optional[str] = ..., modules: _Optional[_Iterable[str]] = ..., places: _Optional[_Iterable[str]] = ...) -> None: ...

class Symptom(_message.Message):
    __slots__ = ("about", "grade", "message", "command")
    ABOUT_FIELD_NUMBER: _ClassVar[int]
    GRADE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    COMMAND_FIELD_NUMBER: _ClassVar[int]
    about: str
    grade: str
    message: str
    command: str
    def __init__(self, about: _Optional[str] = ..., grade: _Optional[str] = ..., message: _Optional[str] = ..., command: _Optional[str] = ...) -> None: ...

class Finding(_message.Message):
    __slots__ = ("severity", "about", "message")
    SEVERITY_FIELD_NUMBER: _ClassVar[int]
    ABOUT_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    severity: str
    about: str
    message: str
    def __init__(self, severity: _Optional[str] = ..., about: _Optional[str] = ..., message: _Optional[str] = ...) -> None: ...

class UsageRow(_message.Message):
    __slots__ = ("key", "blobs", "bytes")
    class BytesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    KEY_FIELD_NUMBER: _ClassVar[int]
    BLOBS_FIELD_NUMBER: _ClassVar[int]
    BYTES_FIELD_NUMBER: _ClassVar[int]
    key: str
    blobs: int
    bytes: _containers.ScalarMap[str, int]
    def __init__(self, key: _Optional[str] = ..., blobs: _Optional[int] = ..., bytes: _Optional[_Mapping[str, int]] = ...) -> None: ...

class Collected(_message.Message):
    __slots__ = ("jobs", "blobs", "size", "forgotten", "strays", "strays_size")
    JOBS_FIELD_NUMBER: _ClassVar[int]
    BLOBS_FIELD_NUMBER: _ClassVar[int]
    SIZE_FIELD_NUMBER: _ClassVar[int]
    FORGOTTEN_FIELD_NUMBER: _ClassVar[int]
    STRAYS_FIELD_NUMBER: _ClassVar[int]
    STRAYS_SIZE_FIELD_NUMBER: _ClassVar[int]
    jobs: int
    blobs: int
    size: int
    forgotten: int
    strays: int
    strays_size: int
    def __init__(self, jobs: _Optional[int] = ..., blobs: _Optional[int] = ..., size: _Optional[int] = ..., forgotten: _Optional[int] = ..., strays: _Optional[int] = ..., strays_size: _Optional[int] = ...) -> None: ...

class Entry(_message.Message):
    __slots__ = ("at", "actor", "role", "verb", "about", "peer", "outcome")
    AT_FIELD_NUMBER: _ClassVar[int]
    ACTOR_FIELD_NUMBER: _ClassVar[int]
    ROLE_FIELD_NUMBER: _ClassVar[int]
    VERB_FIELD_NUMBER: _ClassVar[int]
    ABOUT_FIELD_NUMBER: _ClassVar[int]
    PEER_FIELD_NUMBER: _ClassVar[int]
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    at: _timestamp_pb2.Timestamp
    actor: str
    role: str
    verb: str
    about: str
    peer: str
    outcome: str
    def __init__(self, at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., actor: _Optional[str] = ..., role: _Optional[str] = ..., verb: _Optional[str] = ..., about: _Optional[str] = ..., peer: _Optional[str] = ..., outcome: _Optional[str] = ...) -> None: ...
