"""ML Metadata over gRPC-web, at the path at which the KFP UI's proxy serves it."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from bridge.kfp_api import grpcweb
from bridge.local import mlmd_service
from bridge.local.mlmd_service import GrpcError
from bridge.local.routes.shared import backend_of

router = APIRouter()


@router.post("/ml_metadata.MetadataStoreService/{method}")
async def call(request: Request, method: str) -> Response:
    """One unary call; refusals come as gRPC statuses in an HTTP 200, as gRPC-web has it."""
    content_type = request.headers.get("content-type", "").split(";")[0].strip()
    if content_type not in grpcweb.CONTENT_TYPES:
        return Response(
            f"the content type must be {grpcweb.CONTENT_TYPE}, not {content_type!r}",
            415,
            media_type="text/plain",
        )
    try:
        message = grpcweb.decode_request(await request.body())
        found = await backend_of(request).store.read(
            lambda connection: mlmd_service.call(connection, method, message)
        )
        body = grpcweb.encode_response(found)
    except grpcweb.FrameError as error:
        body = grpcweb.encode_error(grpcweb.INVALID_ARGUMENT, str(error))
    except GrpcError as error:
        body = grpcweb.encode_error(error.code, error.message)
    return Response(body, media_type=grpcweb.CONTENT_TYPE)
