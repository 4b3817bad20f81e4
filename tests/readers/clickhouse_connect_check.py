"""Checks that clickhouse-connect, a client nobody here wrote, can query and insert through an engine.

    python clickhouse_connect_check.py HOST PORT PASSWORD

Prints what was checked; exits with 1 at the first check that fails.
"""

import datetime
import sys

import clickhouse_connect
from clickhouse_connect.driver.exceptions import DatabaseError


def check(name, found, expected):
    if found != expected:
        print(f"{name}: expected {expected!r}, found {found!r}", file=sys.stderr)
        sys.exit(1)
    print(f"ok  {name}")


def main():
    host, port, password = sys.argv[1:]
    client = clickhouse_connect.get_client(host=host, port=int(port), username="default", password=password)

    check("ping", client.ping(), True)
    check("a command", client.command("SELECT 1"), 1)

    parameters = {"text": "it's a \\ \n\t\"test\" {x:String}", "number": -5, "list": ["a'", "b\\"]}
    query = "SELECT {text:String}, {number:Int64}, {list:Array(String)}"
    check("parameters", client.query(query, parameters=parameters).result_rows, [tuple(parameters.values())])

    settings = {"max_block_size": 123}
    found = client.query("SELECT getSetting('max_block_size')", settings=settings).result_rows
    check("settings", found, [(123,)])

    client.command("DROP TABLE IF EXISTS connect_check")
    client.command(
        "CREATE TABLE connect_check (id UInt64, name String, tag LowCardinality(String), score Nullable(Float64), "
        "at DateTime64(3, 'UTC')) ENGINE = MergeTree ORDER BY id"
    )
    at = datetime.datetime(2026, 3, 1, 12, 0, 0, 250_000)
    rows = [[i, f"name {i}\n", f"tag {i % 7}", None if i % 3 else i / 2, at] for i in range(50_000)]
    summary = client.insert("connect_check", rows, column_names=["id", "name", "tag", "score", "at"])
    check("an insert", summary.written_rows, len(rows))
    found = client.query("SELECT * FROM connect_check ORDER BY id").result_rows
    check("its rows", [list(row[:4]) for row in found], [row[:4] for row in rows])
    check("its time", found[0][4].replace(tzinfo=None), at)

    total = 0
    with client.query_rows_stream("SELECT number FROM numbers(2000000)") as stream:
        for (number,) in stream:
            if number != total:
                break
            total += 1
    check("a stream of rows", total, 2_000_000)

    raw = client.raw_query("SELECT number AS n FROM numbers(3)", fmt="CSVWithNames")
    check("a format", raw, b'"n"\n0\n1\n2\n')
    client.raw_insert("connect_check", ["id", "name"], b"70000,x\n70001,y\n", fmt="CSV")
    check("a raw insert", client.command("SELECT count() FROM connect_check WHERE id >= 70000"), 2)
    table = client.query_arrow("SELECT number AS n FROM numbers(200000)")
    check("Arrow", (table.num_rows, table.column("n")[199_999].as_py()), (200_000, 199_999))
    frame = client.query_df("SELECT number AS n, toString(number) AS s FROM numbers(1000)")
    check("a data frame", (len(frame), frame["s"].iloc[-1]), (1_000, "999"))
    check("no rows", client.query("SELECT number FROM numbers(0)").result_rows, [])

    for name, query, code in [
        ("an unknown table", "SELECT * FROM nowhere", "60"),
        ("an error in mid-stream", "SELECT throwIf(number = 3000000) FROM numbers(5000000)", "395"),
    ]:
        try:
            client.query(query)
            message = "no error"
        except DatabaseError as error:
            message = str(error)
        check(name, f"ode: {code}" in message or f"ode {code}" in message or message, True)

    client.command("DROP TABLE connect_check")
    client.close()


main()
