"""Runs the recipes of docs/recipes.md and holds their answers against Python's own csv and json modules.

usage: recipes.py FOLDER [ROWSPOUT]

FOLDER holds one export as .csv, .ndjson, .parquet and .arrows. With ROWSPOUT, the binary, and a ClickHouse in the environment, the recipes
of ClickHouse run too; where PySpark is installed, those of Spark. What a recipe is and what it answers stands in a comment in
front of it:
  views       the three countries with the most page views, and how many
  downloaded  the sum of `bytes` in the data of the events that are called download
  loaded      as many events in the website site_copy as the files have
  none        nothing
"""

import collections
import csv
import importlib.util
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import urllib.request

MANUAL = pathlib.Path(__file__).resolve().parents[2] / "docs" / "recipes.md"
BLOCK = re.compile(r"<!-- (\w+)(?:: (\w+))? -->\n```\w*\n(.*?)```", re.DOTALL)


def expected(folder):
    """The answers, by Python alone."""
    with open(folder / "events.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, strict=True))
    pages = collections.Counter(row["country"] for row in rows if row["event_type"] == "pageview")
    downloads = (json.loads(row["event_data"]) for row in rows if row["event_name"] == "download")
    return {
        "views": pages.most_common(3),
        "downloaded": sum(data["bytes"] for data in downloads),
        "loaded": len(rows),
    }


def pairs(views):
    """A frame, series, table or list of two columns as pairs."""
    if hasattr(views, "items"):
        views = views.items()
    elif hasattr(views, "rows"):
        views = views.rows()
    elif hasattr(views, "to_pylist"):
        views = [tuple(row.values()) for row in views.to_pylist()]
    return [(country, int(count)) for country, count in views]


def clickhouse(sql):
    """The answer as rows of texts."""
    request = urllib.request.Request(os.environ["ROWSPOUT_CLICKHOUSE_URL"], sql.encode())
    request.add_header("X-ClickHouse-User", os.environ.get("ROWSPOUT_CLICKHOUSE_USER", "default"))
    request.add_header("X-ClickHouse-Key", os.environ.get("ROWSPOUT_CLICKHOUSE_PASSWORD", ""))
    with urllib.request.urlopen(request) as response:
        lines = response.read().decode().splitlines()
    return [line.split("\t") for line in lines]


def answer(kind, name, text, scope):
    """What a recipe answers to the question `name`."""
    if kind == "duckdb":
        import duckdb

        rows = duckdb.sql(text).fetchall()
        return pairs(rows) if name == "views" else int(rows[0][0])
    if kind in ("python", "spark"):
        exec(compile(text, f"{kind}: {name}", "exec"), scope)
        return pairs(scope["views"]) if name == "views" else int(scope["downloaded"])
    if kind == "clickhouse":
        rows = clickhouse(text)
        if name is None:
            return None
        return pairs(rows) if name == "views" else int(rows[0][0])
    if kind == "sh":
        subprocess.run(["bash", "-euo", "pipefail", "-c", text], check=True)
        if name == "loaded":
            return int(clickhouse("SELECT count() FROM events WHERE website_id = 'site_copy'")[0][0])
        return None
    raise ValueError(f"there is no kind {kind} of recipe")


def main():
    export = pathlib.Path(sys.argv[1]).resolve()
    rowspout = pathlib.Path(sys.argv[2]).resolve() if len(sys.argv) > 2 else None
    possible = {"duckdb", "python"}
    if rowspout:
        possible |= {"clickhouse", "sh"}
        os.environ["PATH"] = f"{rowspout.parent}{os.pathsep}{os.environ['PATH']}"
    if importlib.util.find_spec("pyspark"):
        possible.add("spark")
    recipes = BLOCK.findall(MANUAL.read_text(encoding="utf-8"))
    assert len(recipes) >= 14, recipes
    spark = {}
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        for ending in ("csv", "ndjson", "parquet", "arrows"):
            (file,) = export.glob(f"*.{ending}")
            (folder / f"events.{ending}").symlink_to(file)
        os.chdir(folder)
        want = expected(folder)
        skipped = collections.Counter()
        for kind, name, text in recipes:
            if kind not in possible:
                skipped[kind] += 1
                continue
            got = answer(kind, name or None, text, spark if kind == "spark" else {})
            assert name in ("", "none") or got == want[name], f"{kind}: {got}, not {want[name]}\n{text}"
            print(f"  {kind} {name}: {'done' if got is None else got}")
        for kind, count in skipped.items():
            print(f"  {kind}: {count} not run here")
        os.chdir("/")


main()
