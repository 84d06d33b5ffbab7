"""Writes ``metadata_pb2.py`` and ``.pyi`` from ``metadata.proto``: ``python -m bridge.kfp_api.generate``.

Needs the ``dev`` extra (grpcio-tools); what it writes is committed and needs protobuf alone.
"""

from __future__ import annotations

import re
import sys
from importlib import import_module, resources
from pathlib import Path

PROTO = "bridge/kfp_api/metadata.proto"
LOWEST_PROTOBUF = (6, 31, 0)


def generate(target: Path) -> None:
    """Writes ``bridge/kfp_api/metadata_pb2.py`` and ``.pyi`` below ``target``.

    Raises ``RuntimeError`` when the compiler refuses the file, whose complaint is on stderr.
    """
    protoc = import_module("grpc_tools.protoc")
    root = Path(__file__).resolve().parents[2]
    common = str(resources.files("grpc_tools") / "_proto")
    arguments = [
        "protoc",
        f"--proto_path={root}",
        f"--proto_path={common}",
        f"--python_out={target}",
        f"--pyi_out={target}",
        PROTO,
    ]
    if protoc.main(arguments) != 0:
        raise RuntimeError(f"protoc refused {PROTO}")
    module = target / PROTO.replace(".proto", "_pb2.py")
    module.write_text(_for_lowest_protobuf(module.read_text(encoding="utf-8")), encoding="utf-8")
    stub = module.with_suffix(".pyi")
    # protoc leaves a type bare that mypy --strict wants filled in.
    stub.write_text(
        stub.read_text(encoding="utf-8").replace(", _Mapping]", ", _Mapping[str, object]]"), encoding="utf-8"
    )


def _for_lowest_protobuf(source: str) -> str:
    # protoc stamps its own version and the module then refuses any older runtime, although what it
    # holds is a serialized descriptor that every protobuf of this major version reads alike.
    major, minor, patch = LOWEST_PROTOBUF
    source = re.sub(
        r"(Domain\.PUBLIC,\n)\s+\d+,\n\s+\d+,\n\s+\d+,\n",
        rf"\g<1>    {major},\n    {minor},\n    {patch},\n",
        source,
        count=1,
    )
    return re.sub(
        r"# Protobuf Python Version: .*\n", f"# Protobuf Python Version: {major}.{minor}.{patch}\n", source
    )


def main() -> int:
    """Regenerates the modules beside the ``.proto`` file."""
    generate(Path(__file__).resolve().parents[2])
    return 0


if __name__ == "__main__":
    sys.exit(main())
