"""The results of a run: summed up, in one file, or as a table for Athena."""

import argparse
import csv
import json
import sys
from collections import Counter

from deployment import Deployment

ATHENA = """-- One table for all runs of this deployment. A query names its run, reads that alone.
CREATE EXTERNAL TABLE IF NOT EXISTS classified (
  key string, etag string, size bigint, version_id string, model string,
  result map<string,double>,
  decision struct<
    labels:array<struct<name:string,probability:double,threshold:double,action:string>>,
    action:string>,
  error struct<message:string,code:string>,
  skipped string
)
PARTITIONED BY (run string)
ROW FORMAT SERDE 'org.openx.data.jsonserde.JsonSerDe'
LOCATION 's3://{bucket}/results/'
TBLPROPERTIES (
  'projection.enabled' = 'true',
  'projection.run.type' = 'injected',
  'storage.location.template' = 's3://{bucket}/results/${{run}}/'
);

-- The best label of each image, counted. The run's request.json is the row without a key.
SELECT best.label, count(*) AS images
FROM (
  SELECT element_at(array_sort(map_entries(result),
    (a, b) -> IF(a[2] > b[2], -1, IF(a[2] < b[2], 1, 0))), 1)[1] AS label
  FROM classified WHERE run = '{run}' AND key IS NOT NULL AND result IS NOT NULL
) AS best
GROUP BY 1 ORDER BY 2 DESC;
"""


def results(deployment: Deployment, given: argparse.Namespace) -> None:
    """Sums up by best label; writes one file if asked."""
    best: Counter[str] = Counter()
    kinds: Counter[str] = Counter()
    decided: Counter[str] = Counter()
    for path in filter(None, (given.output, given.failed)):
        path.parent.mkdir(parents=True, exist_ok=True)
    failed = given.failed.open("w", encoding="utf-8") if given.failed else None
    partial = given.output.with_name(given.output.name + ".partial") if given.output else None
    out = partial.open("w", encoding="utf-8", newline="") if partial else None
    rows = csv.writer(out) if out and given.output.suffix == ".csv" else None
    if rows:
        rows.writerow(
            [
                "key",
                "etag",
                "size",
                "label",
                "probability",
                "result",
                "action",
                "counts",
                "error",
                "skipped",
            ]
        )
    for line in deployment.lines(given.run):
        kind = next(kind for kind in ("error", "skipped", "result") if kind in line)
        kinds[kind] += 1
        top = (
            max(line["result"].items(), key=lambda pair: pair[1])
            if line.get("result")
            else ("", "")
        )
        if kind == "result":
            best[top[0] or "none"] += 1
        decision = line.get("decision", {"labels": [], "action": None})
        counts = [entry["name"] for entry in decision["labels"]]
        if "decision" in line:
            decided.update([decision["action"]] if decision["action"] else counts or ["none"])
        if rows:
            error = line.get("error", {}).get("message", "")
            values = [
                line["key"],
                line["etag"],
                line["size"],
                *top,
                json.dumps(line.get("result")),
                decision["action"] or "",
                ";".join(counts),
                error,
                line.get("skipped", ""),
            ]
            rows.writerow(values)
        elif out:
            out.write(json.dumps(line, ensure_ascii=False) + "\n")
        if failed and kind == "error" and line["key"]:
            failed.write(json.dumps({"key": line["key"]}) + "\n")
    for file in (out, failed):
        if file:
            file.close()
    if partial:
        partial.replace(given.output)
    if not kinds:
        sys.exit(f"There are no results of {given.run} yet.")
    print(
        f"{kinds['result']:,} classified, {kinds['error']:,} with an error, {kinds['skipped']:,}"
        " skipped"
    )
    for title, counter in (("best label", best), ("decision", decided)):
        if counter:
            print(f"By {title}:")
        for label, count in counter.most_common(given.top):
            print(f"{count:>12,}  {label}")
