"""The typed error on gRPC: its code becomes a status, its members go in the status details (google.rpc.ErrorInfo)."""

import json

import grpc
from google.protobuf.any_pb2 import Any
from google.rpc.error_details_pb2 import ErrorInfo
from google.rpc.status_pb2 import Status

from services.common.errors import ErrorCode, ServiceError, unavailable

DETAILS_KEY = "grpc-status-details-bin"
_DOMAIN = "countersign"

_STATUS = {
    ErrorCode.INVALID_REQUEST: grpc.StatusCode.INVALID_ARGUMENT,
    ErrorCode.INVALID_CREDENTIALS: grpc.StatusCode.UNAUTHENTICATED,
    ErrorCode.UNAUTHENTICATED: grpc.StatusCode.UNAUTHENTICATED,
    ErrorCode.SECOND_FACTOR_REQUIRED: grpc.StatusCode.PERMISSION_DENIED,
    ErrorCode.ENROLMENT_REQUIRED: grpc.StatusCode.PERMISSION_DENIED,
    ErrorCode.STEP_UP_REQUIRED: grpc.StatusCode.UNAUTHENTICATED,
    ErrorCode.INVALID_CODE: grpc.StatusCode.INVALID_ARGUMENT,
    ErrorCode.CODE_ALREADY_USED: grpc.StatusCode.INVALID_ARGUMENT,
    ErrorCode.CODE_EXPIRED: grpc.StatusCode.INVALID_ARGUMENT,
    ErrorCode.TOO_MANY_ATTEMPTS: grpc.StatusCode.RESOURCE_EXHAUSTED,
    ErrorCode.FORBIDDEN: grpc.StatusCode.PERMISSION_DENIED,
    ErrorCode.NOT_FOUND: grpc.StatusCode.NOT_FOUND,
    ErrorCode.GONE: grpc.StatusCode.FAILED_PRECONDITION,
    ErrorCode.REQUIRED_BY_POLICY: grpc.StatusCode.FAILED_PRECONDITION,
    ErrorCode.CONFLICT: grpc.StatusCode.ABORTED,
    ErrorCode.UNAVAILABLE: grpc.StatusCode.UNAVAILABLE,
}


def to_status(error: ServiceError) -> tuple[grpc.StatusCode, str, tuple[tuple[str, bytes], ...]]:
    """Status code, text and trailing metadata for a refusal."""
    code = _STATUS[error.code]
    info = ErrorInfo(
        reason=error.code.value,
        domain=_DOMAIN,
        metadata={name: json.dumps(value) for name, value in error.members.items()},
    )
    packed = Any()
    packed.Pack(info)
    status = Status(code=code.value[0], message=error.detail, details=[packed])
    return code, error.detail, ((DETAILS_KEY, status.SerializeToString()),)


def is_unknown_method(refusal: ServiceError) -> bool:
    """Whether the peer refused because it is of a version that does not have the method."""
    cause = refusal.__cause__
    return isinstance(cause, grpc.aio.AioRpcError) and cause.code() is grpc.StatusCode.UNIMPLEMENTED


def from_rpc_error(error: grpc.aio.AioRpcError, peer: str) -> ServiceError:
    """The refusal that a peer sent, or `unavailable` where what came is not one of ours."""
    for key, value in error.trailing_metadata() or ():
        if key != DETAILS_KEY or not isinstance(value, bytes):
            continue
        status = Status.FromString(value)
        for detail in status.details:
            info = ErrorInfo()
            if detail.Unpack(info) and info.domain == _DOMAIN and info.reason in set(ErrorCode):
                members = {name: json.loads(text) for name, text in info.metadata.items()}
                return ServiceError(ErrorCode(info.reason), status.message, **members)
    return unavailable(peer)
