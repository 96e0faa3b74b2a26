"""Lines of results as a Parquet file, a row for each file; needs pyarrow."""

import json
from pathlib import Path
from typing import Any

from tools.results import newest, printable

# The fields that every line has. The others go into the Parquet file as JSON.
COLUMNS = ("key", "etag", "size", "model", "result", "decision", "error", "skipped")


def write_parquet(lines: Path, output: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    error = pa.struct([("message", pa.string()), ("code", pa.string())])
    result = pa.map_(pa.string(), pa.float64())
    kinds = dict.fromkeys(COLUMNS, pa.string()) | {
        "size": pa.int64(),
        "result": result,
        "error": error,
    }
    counted = pa.struct(
        [
            ("name", pa.string()),
            ("probability", pa.float64()),
            ("threshold", pa.float64()),
            ("action", pa.string()),
        ]
    )
    kinds |= {
        "decision": pa.struct([("labels", pa.list_(counted)), ("action", pa.string())]),
        "more": pa.string(),
    }
    schema = pa.schema(list(kinds.items()))
    partial = output.with_name(output.name + ".partial")
    with pq.ParquetWriter(partial, schema) as writer:
        rows: list[dict[str, Any]] = []

        def flush() -> None:
            if rows:
                writer.write_table(pa.Table.from_pylist(rows, schema=schema))
                rows.clear()

        for value in newest(lines):
            more = {name: item for name, item in value.items() if name not in COLUMNS}
            row = {name: value.get(name) for name in COLUMNS} | {
                "more": json.dumps(more) if more else None
            }
            row["key"] = printable(value["key"])
            row["result"] = list(value["result"].items()) if "result" in value else None
            rows.append(row)
            if len(rows) == 10_000:
                flush()
        flush()
    partial.replace(output)
