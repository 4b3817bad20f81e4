"""Reads the files of one export with programs that nobody here wrote, and compares every value.

usage: read_back.py FOLDER [ROWS]

FOLDER holds one export as .csv, .json, .ndjson and .parquet, and perhaps .arrows. Python's own csv and json modules give the reference;
pyarrow, DuckDB, Polars and pandas must read the same rows out of every format they know.
"""

import csv
import datetime
import decimal
import json
import math
import pathlib
import sys

import duckdb
import pandas
import polars
import pyarrow
import pyarrow.csv
import pyarrow.ipc
import pyarrow.json
import pyarrow.parquet

COLUMNS = (
    "timestamp event_type url event_name event_data visitor_id session_id country region city "
    "browser os device referrer utm_source utm_medium utm_campaign"
).split()
TEXT = COLUMNS[1:]
BIG = 64 << 20  # cells of 1 MiB are allowed
MAX_LEVELS = 125

csv.field_size_limit(BIG)


def instant(text):
    """RFC 3339 to microseconds since 1970."""
    moment = datetime.datetime.fromisoformat(text.replace("Z", "+00:00"))
    epoch = datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)
    return (moment - epoch) // datetime.timedelta(microseconds=1)


def json_value(text):
    """event_data as a value: what a strict reader would refuse stands for itself."""
    if text is None:
        return None
    try:
        value = json.loads(text, parse_float=decimal.Decimal, parse_constant=refuse)
        check_strict(value)
        return value
    except (ValueError, RecursionError):
        return text


def refuse(constant):
    raise ValueError(constant)


def check_strict(value, level=0):
    """Refuses lone surrogates, numbers beyond a double and more levels than are spliced."""
    if isinstance(value, str):
        value.encode()  # UnicodeEncodeError is a ValueError
    elif isinstance(value, decimal.Decimal):
        if math.isinf(float(value)):
            raise ValueError(value)
    elif isinstance(value, int):
        if abs(value) >= 10**38:
            raise ValueError("beyond what Polars takes")
    elif isinstance(value, (dict, list)):
        if level == MAX_LEVELS:
            raise ValueError("too deep")
        inner = value.values() if isinstance(value, dict) else value
        for item in inner:
            check_strict(item, level + 1)
        for key in value if isinstance(value, dict) else ():
            key.encode()


def reference_csv(path):
    with open(path, encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file, strict=True))
    assert rows[0] == COLUMNS, rows[0]
    assert all(len(row) == len(COLUMNS) for row in rows[1:])
    return [
        (instant(row[0]), *(cell or None for cell in row[1:])) for row in rows[1:]
    ]


def check(name, rows, expected):
    """Compares row by row and says the first difference."""
    assert len(rows) == len(expected), f"{name}: {len(rows)} rows, not {len(expected)}"
    for index, (got, want) in enumerate(zip(rows, expected)):
        for column, a, b in zip(COLUMNS, got, want):
            assert a == b, f"{name}: row {index + 1}, {column}: {a!r}, not {b!r}"
    print(f"  {name}: {len(rows)} rows agree")


def from_objects(objects):
    for row in objects:
        assert list(row) == COLUMNS, list(row)
        yield (instant(row["timestamp"]), *(row[name] for name in TEXT))


def with_data_as_values(rows):
    place = COLUMNS.index("event_data")
    return [row[:place] + (json_value(row[place]),) + row[place + 1 :] for row in rows]


def with_doubles(rows):
    def doubled(value):
        if isinstance(value, dict):
            return {key: doubled(item) for key, item in value.items()}
        if isinstance(value, list):
            return [doubled(item) for item in value]
        return float(value) if isinstance(value, (int, decimal.Decimal)) and value is not True and value is not False else value

    place = COLUMNS.index("event_data")
    return [row[:place] + (doubled(row[place]),) + row[place + 1 :] for row in rows]


def arrow_rows(table, unit=pyarrow.timestamp("us", "UTC")):
    columns = [table["timestamp"].cast(unit).cast(pyarrow.int64()).to_pylist()]
    for name in TEXT:
        column = table[name]
        if pyarrow.types.is_null(column.type):
            column = column.cast(pyarrow.string())
        columns.append([value or None for value in column.to_pylist()])
    return list(zip(*columns))


def main():
    folder = pathlib.Path(sys.argv[1])
    files = {
        ending: next(folder.glob(f"*.{ending}")) for ending in ("csv", "json", "ndjson", "parquet")
    }
    print(f"{folder}:")
    expected = reference_csv(files["csv"])
    if len(sys.argv) > 2:
        assert len(expected) == int(sys.argv[2]), f"{len(expected)} rows, not {sys.argv[2]}"
    assert all(a[0] <= b[0] for a, b in zip(expected, expected[1:])), "rows are out of order"
    valued = with_data_as_values(expected)

    # JSON by Python.
    with open(files["json"], encoding="utf-8") as file:
        whole = json.load(file, parse_float=decimal.Decimal)
    check("json by Python", list(from_objects(whole)), valued)
    del whole
    with open(files["ndjson"], encoding="utf-8", newline="\n") as file:
        lines = [json.loads(line, parse_float=decimal.Decimal) for line in file]
    check("ndjson by Python", list(from_objects(lines)), valued)
    del lines, valued

    # CSV by the others.
    table = pyarrow.csv.read_csv(
        files["csv"],
        read_options=pyarrow.csv.ReadOptions(block_size=BIG),
        parse_options=pyarrow.csv.ParseOptions(newlines_in_values=True),
        convert_options=pyarrow.csv.ConvertOptions(
            column_types={name: pyarrow.string() for name in TEXT}, null_values=[""]
        ),
    )
    check("csv by pyarrow", arrow_rows(table), expected)
    text_types = ", ".join(f"'{name}': 'VARCHAR'" for name in TEXT)
    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'UTC'")
    select = f"SELECT epoch_us(timestamp), {', '.join(TEXT)} FROM "
    rows = connection.execute(
        select
        + f"read_csv('{files['csv']}', header = true, delim = ',', quote = '\"', escape = '\"', max_line_size = {BIG}, "
        f"columns = {{'timestamp': 'TIMESTAMPTZ', {text_types}}}, parallel = false)"
    ).fetchall()
    check("csv by DuckDB", [tuple(value if value != "" else None for value in row) for row in rows], expected)
    frame = polars.read_csv(files["csv"], schema_overrides={name: polars.String for name in COLUMNS})
    check(
        "csv by Polars",
        [(instant(row[0]), *(value or None for value in row[1:])) for row in frame.iter_rows()],
        expected,
    )
    frame = pandas.read_csv(files["csv"], dtype=str, keep_default_na=False, engine="c", lineterminator=None)
    check(
        "csv by pandas",
        [
            (instant(row[0]), *(value or None for value in row[1:]))
            for row in frame.itertuples(index=False, name=None)
        ],
        expected,
    )

    # NDJSON and JSON by the others, event_data left to DuckDB as JSON text.
    for ending, form in (("ndjson", "newline_delimited"), ("json", "array")):
        types = ", ".join(
            f"'{name}': '{'JSON' if name == 'event_data' else 'VARCHAR'}'" for name in COLUMNS
        )
        rows = connection.execute(
            f"SELECT {', '.join(COLUMNS)} FROM read_json('{files[ending]}', format = '{form}', "
            f"columns = {{{types}}}, maximum_object_size = {BIG})"
        ).fetchall()
        place = COLUMNS.index("event_data")
        got = [
            (instant(row[0]), *row[1:place], json_value(row[place]), *row[place + 1 :]) for row in rows
        ]
        # DuckDB's JSON holds numbers as doubles.
        check(f"{ending} by DuckDB", with_doubles(got), with_doubles(with_data_as_values(expected)))

    # Parquet.
    table = pyarrow.parquet.read_table(files["parquet"])
    schema = table.schema
    assert schema.names == COLUMNS, schema.names
    moment = schema.field("timestamp")
    assert pyarrow.types.is_timestamp(moment.type) and moment.type.tz and moment.type.unit == "us", moment
    assert not moment.nullable, "timestamp is optional"
    assert all(schema.field(name).type == pyarrow.string() for name in TEXT), schema
    check("parquet by pyarrow", arrow_rows(table), expected)
    metadata = pyarrow.parquet.read_metadata(files["parquet"]).metadata
    assert metadata[b"export.rows"] == str(len(expected)).encode(), metadata
    rows = connection.execute(f"{select} '{files['parquet']}'").fetchall()
    check("parquet by DuckDB", rows, expected)
    frame = polars.read_parquet(files["parquet"])
    stamps = frame["timestamp"].dt.epoch("us").to_list()
    rows = zip(stamps, *(frame[name].to_list() for name in TEXT))
    check("parquet by Polars", list(rows), expected)
    frame = pandas.read_parquet(files["parquet"])
    stamps = frame["timestamp"].astype("int64").tolist()
    columns = [
        [None if pandas.isna(value) else value for value in frame[name]] for name in TEXT
    ]
    check("parquet by pandas", list(zip(stamps, *columns)), expected)

    # Arrow, where it was exported.
    stream = next(folder.glob("*.arrows"), None)
    if stream is not None:
        with pyarrow.ipc.open_stream(stream) as reader:
            table = reader.read_all()
        assert table.schema.names == COLUMNS, table.schema.names
        check("arrow by pyarrow", arrow_rows(table), expected)
        frame = polars.read_ipc_stream(stream)
        stamps = frame["timestamp"].dt.epoch("us").to_list()
        rows = zip(stamps, *(frame[name].to_list() for name in TEXT))
        check("arrow by Polars", list(rows), expected)


if __name__ == "__main__":
    main()
