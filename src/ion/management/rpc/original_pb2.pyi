from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional

DESCRIPTOR: _descriptor.FileDescriptor

class ModuleCreateRequest(_message.Message):
    __slots__ = ("modulename", "eventsubscriptions", "eventpublications", "moduleimage", "handlerimage", "instancecount", "retrycount", "provider", "maxexecutiontimemins", "configmap")
    class ConfigmapEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    MODULENAME_FIELD_NUMBER: _ClassVar[int]
    EVENTSUBSCRIPTIONS_FIELD_NUMBER: _ClassVar[int]
    EVENTPUBLICATIONS_FIELD_NUMBER: _ClassVar[int]
    MODULEIMAGE_FIELD_NUMBER: _ClassVar[int]
    HANDLERIMAGE_FIELD_NUMBER: _ClassVar[int]
    INSTANCECOUNT_FIELD_NUMBER: _ClassVar[int]
    RETRYCOUNT_FIELD_NUMBER: _ClassVar[int]
    PROVIDER_FIELD_NUMBER: _ClassVar[int]
    MAXEXECUTIONTIMEMINS_FIELD_NUMBER: _ClassVar[int]
    CONFIGMAP_FIELD_NUMBER: _ClassVar[int]
    modulename: str
    eventsubscriptions: str
    eventpublications: str
    moduleimage: str
    handlerimage: str
    instancecount: int
    retrycount: int
    provider: str
    maxexecutiontimemins: int
    configmap: _containers.ScalarMap[str, str]
    def __init__(self, modulename: _Optional[str] = ..., eventsubscriptions: _Optional[str] = ..., eventpublications: _Optional[str] = ..., moduleimage: _Optional[str] = ..., handlerimage: _Optional[str] = ..., instancecount: _Optional[int] = ..., retrycount: _Optional[int] = ..., provider: _Optional[str] = ..., maxexecutiontimemins: _Optional[int] = ..., configmap: _Optional[_Mapping[str, str]] = ...) -> None: ...

class ModuleCreateResponse(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class ModuleDeleteRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class ModuleDeleteResponse(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class ModuleGetRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class ModuleGetResponse(_message.Message):
    __slots__ = ("name", "status", "statusMessage")
    NAME_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    STATUSMESSAGE_FIELD_NUMBER: _ClassVar[int]
    name: str
    status: str
    statusMessage: str
    def __init__(self, name: _Optional[str] = ..., status: _Optional[str] = ..., statusMessage: _Optional[str] = ...) -> None: ...

class ModuleListRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ModuleListResponse(_message.Message):
    __slots__ = ("names",)
    NAMES_FIELD_NUMBER: _ClassVar[int]
    names: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, names: _Optional[_Iterable[str]] = ...) -> None: ...

class GetFlowRequest(_message.Message):
    __slots__ = ("correlationID",)
    CORRELATIONID_FIELD_NUMBER: _ClassVar[int]
    correlationID: str
    def __init__(self, correlationID: _Optional[str] = ...) -> None: ...

class GetFlowResponse(_message.Message):
    __slots__ = ("flowJSON",)
    FLOWJSON_FIELD_NUMBER: _ClassVar[int]
    flowJSON: str
    def __init__(self, flowJSON: _Optional[str] = ...) -> None: ...
