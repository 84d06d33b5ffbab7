"""A pipeline whose one task puts out what can be looked at: a report, tables, JSON, an image, bytes."""

from __future__ import annotations

import base64
import json
import struct
import zlib

from tests.support.handmade import artifacts, component, document, sh, task

REPORT = """<!doctype html><title>Report</title><style>p { color: rgb(1, 2, 3) }</style><p id="told">still</p>
<script>
  document.getElementById("told").textContent = "ran";
  parent.postMessage("ran", "*");
</script>
"""
TABLE = "day,carrier,late\n" + "".join(f"2013-01-{day:02},UA,{day * 7}\n" for day in range(1, 31))
# Columns day, carrier and late, three rows: what pyarrow writes with snappy and without statistics.
_PARQUET = base64.b64decode(
    "UEFSMRUAFSQVKCwVBhUAFQYVBhwAAAASRAIAAAAGAVo9AABbPQAAXD0AABUAFTAVMiwVBhUAFQYVBhwAAAAYFAIAAAAGAQEG"
    "NFVBAgAAAEFBAgAAAFVBFQAVLBUwLBUGFQAVBhUGHAAAABZUAgAAAAMFBwAAAAAAAAAVAAAAAAAAABUEGUw1ABgGc2NoZW1h"
    "FQYAFQIlAhgDZGF5JQxMbAAAABUMJQIYB2NhcnJpZXIlAEwcAAAAFQQlAhgEbGF0ZQAWBhkcGTwmABwVAhklBgAZGANkYXkV"
    "AhYGFkoWTiYISRwVABUAFQIAPCkGGSYABgAAACYAHBUMGSUGABkYB2NhcnJpZXIVAhYGFlYWWCZWSRwVABUAFQIAPBYMGQYZ"
    "JgAGAAAAJgAcFQQZJQYAGRgEbGF0ZRUCFgYWUhZWJq4BSRwVABUAFQIAPCkGGSYCBAAAABbyARYGJggW/AEAKCBwYXJxdWV0"
    "LWNwcC1hcnJvdyB2ZXJzaW9uIDI2LjAuMRk8HAAAHAAAHAAAAAsBAABQQVIx"
)
FACTS = json.dumps({"rows": 842, "late": {"share": 0.31, "most": ["EWR", "JFK"]}})


def _png(width: int = 240, height: int = 90) -> bytes:
    """A drawing of bars: the size of a page's chart, of one colour per column."""
    rows = b"".join(
        b"\0"
        + b"".join(bytes((63, 134, 216)) if x % 24 < 16 and y > x % 72 else b"\xff" * 3 for x in range(width))
        for y in range(height)
    )

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = (chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(rows, 9)), chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


_CONTENTS = {
    "report": ("HTML", REPORT.encode()),
    "flights": ("Dataset", TABLE.encode()),
    "facts": ("Artifact", FACTS.encode()),
    "partition": ("Dataset", _PARQUET),
    "chart": ("Artifact", _png()),
    "model": ("Model", b"\x80\x05pickled\x00"),
    "nothing": ("Artifact", b""),
}


def presents() -> str:
    """The pipeline, compiled; its outputs are called after what they hold."""
    script = ['mkdir -p "$(dirname "$0")"']
    for place, (_, content) in enumerate(_CONTENTS.values()):
        script.append(f'echo {base64.b64encode(content).decode()} | base64 -d > "${{{place}}}"')
    outputs = [f"{{{{$.outputs.artifacts['{name}'].path}}}}" for name in _CONTENTS]
    return json.dumps(
        document(
            {"present": task("present", "comp-present")},
            {
                "comp-present": component(
                    output_artifacts=artifacts(**{name: kind for name, (kind, _) in _CONTENTS.items()}),
                    executorLabel="exec-present",
                )
            },
            {"exec-present": sh("\n".join(script), *outputs)},
            name="presents",
        )
    )
