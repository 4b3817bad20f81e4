"""Pulls a folder of Parquet and reads it, as a whole, with programs that nobody here wrote: same rows, types and values.

usage: pulled.py ROWSPOUT SITE FOLDER

ROWSPOUT is the binary, SITE a website with the demo's events in the ClickHouse of the environment. A service is started, the site's days are
pulled into FOLDER, in a zone that is not UTC, and an unbroken CSV of `rowspout export`, read by Python's own csv module, is what pyarrow,
DuckDB, Polars, pandas, fastparquet, ClickHouse and PySpark have to find in it. PySpark is passed over, and that is said, where it or Java is
not installed.
"""

import csv
import datetime
import importlib.util
import json
import os
import pathlib
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
import zoneinfo

import duckdb
import fastparquet
import pandas
import polars
import pyarrow
import pyarrow.parquet

from read_back import COLUMNS, TEXT, instant

ZONE = "Europe/Berlin"
WINDOW = ["--start", "2026-03-20", "--end", "2026-03-31", "--timezone", ZONE]


def run(*command):
    return subprocess.run([str(word) for word in command], check=True, capture_output=True, text=True).stdout


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def serve(rowspout):
    """A service and its address."""
    address = f"127.0.0.1:{free_port()}"
    service = subprocess.Popen([rowspout, "serve", "--listen", address], stderr=subprocess.DEVNULL)
    for _ in range(300):
        try:
            urllib.request.urlopen(f"http://{address}/readyz")
            return service, f"http://{address}"
        except OSError:
            time.sleep(0.1)
    raise TimeoutError("the service does not start")


def expected(rowspout, site, folder):
    """What is to be found: each row with its day in the zone in front."""
    path = folder.with_suffix(".csv")
    run(rowspout, "export", "--site", site, *WINDOW, "-o", path)
    zone = zoneinfo.ZoneInfo(ZONE)
    rows = []
    with open(path, encoding="utf-8", newline="") as file:
        reader = csv.reader(file, strict=True)
        assert next(reader) == COLUMNS
        for row in reader:
            stamp = instant(row[0])
            moment = datetime.datetime.fromtimestamp(stamp // 1_000_000, zone)
            rows.append((moment.date().isoformat(), stamp, *(cell or None for cell in row[1:])))
    return rows


def check(name, rows, want):
    """Compares all rows; the order of files is each program's own."""
    # Rows of one instant have no order that all programs keep.
    key = lambda row: tuple("" if value is None else str(value) for value in row)
    rows = sorted(((str(row[0]), *row[1:]) for row in rows), key=key)
    want = sorted(want, key=key)
    assert len(rows) == len(want), f"{name}: {len(rows)} rows, not {len(want)}"
    for index, (got, wanted) in enumerate(zip(rows, want)):
        for column, a, b in zip(["date", *COLUMNS], got, wanted):
            assert a == b, f"{name}: row {index + 1}, {column}: {a!r}, not {b!r}"
    print(f"  {name}: {len(rows)} rows agree")


def by_pyarrow(folder):
    table = pyarrow.parquet.read_table(folder)
    schema = table.schema
    assert schema.names == [*COLUMNS, "date"], schema.names
    moment = schema.field("timestamp").type
    assert moment == pyarrow.timestamp("us", ZONE), moment
    assert all(schema.field(name).type == pyarrow.string() for name in TEXT), schema
    stamps = table["timestamp"].cast(pyarrow.int64()).to_pylist()
    dates = table["date"].cast(pyarrow.string()).to_pylist()
    return zip(dates, stamps, *(table[name].to_pylist() for name in TEXT))


def by_duckdb(folder):
    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'UTC'")
    source = f"FROM read_parquet('{folder}/*/*.parquet', hive_partitioning = true)"
    types = {row[0]: row[1] for row in connection.execute(f"DESCRIBE SELECT * {source}").fetchall()}
    wanted = {"timestamp": "TIMESTAMP WITH TIME ZONE", **dict.fromkeys(TEXT, "VARCHAR"), "date": "DATE"}
    assert types == wanted, types
    return connection.execute(f"SELECT date::VARCHAR, epoch_us(timestamp), {', '.join(TEXT)} {source}").fetchall()


def by_polars(folder):
    frame = polars.read_parquet(f"{folder}/*/*.parquet", hive_partitioning=True, try_parse_hive_dates=False)
    assert frame.columns == [*COLUMNS, "date"], frame.columns
    assert frame["timestamp"].dtype == polars.Datetime("us", ZONE), frame["timestamp"].dtype
    assert all(frame[name].dtype == polars.String for name in TEXT), frame.schema
    stamps = frame["timestamp"].dt.epoch("us").to_list()
    return zip(frame["date"].to_list(), stamps, *(frame[name].to_list() for name in TEXT))


def of_pandas(frame):
    columns = ([None if pandas.isna(value) else value for value in frame[name]] for name in TEXT)
    epoch = pandas.Timestamp("1970-01-01", tz="UTC")
    stamps = ((frame["timestamp"] - epoch) // pandas.Timedelta(microseconds=1)).tolist()
    # Some make a text of the day, some a time.
    return zip([str(day)[:10] for day in frame["date"]], stamps, *columns)


def by_pandas(folder):
    frame = pandas.read_parquet(folder)
    assert str(frame["timestamp"].dtype) == f"datetime64[us, {ZONE}]", frame["timestamp"].dtype
    return of_pandas(frame)


def by_fastparquet(folder):
    # It knows the instant, in UTC, and not the zone.
    files = sorted(str(path) for path in folder.glob("*/*.parquet"))
    frame = fastparquet.ParquetFile(files, root=str(folder)).to_pandas()
    assert str(frame["timestamp"].dtype) == "datetime64[us]", frame["timestamp"].dtype
    frame["timestamp"] = frame["timestamp"].dt.tz_localize("UTC")
    return of_pandas(frame)


def clickhouse(sql, body=b""):
    url = os.environ["ROWSPOUT_CLICKHOUSE_URL"] + "?" + urllib.parse.urlencode({"query": sql})
    request = urllib.request.Request(url, body, method="POST")
    request.add_header("X-ClickHouse-User", os.environ.get("ROWSPOUT_CLICKHOUSE_USER", "default"))
    request.add_header("X-ClickHouse-Key", os.environ.get("ROWSPOUT_CLICKHOUSE_PASSWORD", ""))
    try:
        with urllib.request.urlopen(request) as response:
            return response.read()
    except urllib.error.HTTPError as error:
        raise RuntimeError(error.read().decode()) from None


def by_clickhouse(folder):
    """The server may be on another machine, so it is sent the files; the day comes from their folder."""
    texts = ", ".join(f"{name} Nullable(String)" for name in TEXT)
    clickhouse("DROP TABLE IF EXISTS pulled")
    clickhouse(f"CREATE TABLE pulled (date String, timestamp DateTime64(6, 'UTC'), {texts}) ENGINE = MergeTree ORDER BY tuple()")
    for day in sorted(folder.glob("date=*")):
        clickhouse(f"ALTER TABLE pulled MODIFY COLUMN date DEFAULT '{day.name.removeprefix('date=')}'")
        for path in sorted(day.glob("*.parquet")):
            clickhouse(f"INSERT INTO pulled ({', '.join(COLUMNS)}) FORMAT Parquet", path.read_bytes())
    rows = clickhouse(
        f"SELECT date, toUnixTimestamp64Micro(timestamp), {', '.join(TEXT)} FROM pulled FORMAT JSONCompactEachRow "
        "SETTINGS output_format_json_quote_64bit_integers = 0"
    )
    clickhouse("DROP TABLE pulled")
    return [json.loads(line) for line in rows.decode().splitlines()]


def by_spark(folder):
    from pyspark.sql import SparkSession, functions

    spark = SparkSession.builder.master("local[1]").config("spark.ui.enabled", "false")
    spark = spark.config("spark.sql.session.timeZone", "UTC").config("spark.log.level", "ERROR").getOrCreate()
    frame = spark.read.parquet(str(folder))
    types = dict(frame.dtypes)
    assert types == {"timestamp": "timestamp", **dict.fromkeys(TEXT, "string"), "date": "date"}, types
    stamps = functions.unix_micros("timestamp")
    rows = frame.select(functions.col("date").cast("string"), stamps, *TEXT).collect()
    spark.stop()
    return [tuple(row) for row in rows]


def main():
    rowspout = pathlib.Path(sys.argv[1]).resolve()
    site, folder = sys.argv[2], pathlib.Path(sys.argv[3]).resolve()
    key = run(rowspout, "key", "create", "--site", site).strip()
    service, url = serve(rowspout)
    pull = [rowspout, "pull", url, "--site", site, *WINDOW, "--format", "parquet", "--part-rows", "1000", "-o", folder]
    # It needs no ClickHouse.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ROWSPOUT_")}
    try:
        subprocess.run([str(word) for word in pull], check=True, env={**environment, "ROWSPOUT_KEY": key})
    finally:
        service.terminate()
        service.wait()
    want = expected(rowspout, site, folder)
    manifest = json.loads((folder / "_manifest.json").read_text())
    files = sorted(folder.glob("*/*.parquet"))
    assert manifest["rows"] == len(want) > 10_000, (manifest["rows"], len(want))
    assert [file["path"] for file in manifest["files"]] == [str(path.relative_to(folder)) for path in files]
    assert len(files) > 12, "days have several parts"
    print(f"{folder}: {len(files)} files")
    check("pyarrow", by_pyarrow(folder), want)
    check("DuckDB", by_duckdb(folder), want)
    check("Polars", by_polars(folder), want)
    check("pandas", by_pandas(folder), want)
    check("fastparquet", by_fastparquet(folder), want)
    check("ClickHouse", by_clickhouse(folder), want)
    if importlib.util.find_spec("pyspark") and shutil.which("java"):
        check("PySpark", by_spark(folder), want)
    else:
        print("  PySpark: PASSED OVER, since it or Java is not installed")


if __name__ == "__main__":
    main()
