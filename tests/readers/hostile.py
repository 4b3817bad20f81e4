"""Loads texts that have broken some exporter somewhere, and exports them in every format.

usage: hostile.py ROWSPOUT FOLDER

ROWSPOUT is the binary; the environment names a ClickHouse whose tables exist. FOLDER then holds one file of each format for
read_back.py. Every text stands in every text column.
"""

import csv
import datetime
import pathlib
import subprocess
import sys
import uuid

TEXTS = [
    '"', '""', ",", "a,b", "\r", "\n", "\r\n", "a\nb\rc", "\t", "\u0001\u001f\u007f", "'", "\\", "\\n", "\\\"", "🦀",
    "e\u0301", "\u2028\u2029\u0085", "\ufeffx", "=1+1", "@SUM(A1)", "+1", "-1", "NULL", "null", "nan", "\\N", "true", "NaN", "Infinity",
    "9223372036854775807", "9223372036854775808", "18446744073709551616", "1e999", "-1e999", "-0", "0123", "1e-999",
    "1.0000000000000000000001", "{", "[1,2", '{"a":1,}', '"open', '{"a": 1}', '{"a":\n\r\n  [1,\n2]}', " [ ] ",
    '{"k":"\\ud800"}', '{"k":"\\ud83e\\udd80"}', '{"\\ud800":1}', '"\\x"', '{"a":1}{"b":2}', "{'a':1}", '{"k":1,"k":2}',
    '{"big":9223372036854775808,"z":1,"a":2}', '{"a":"\\u0000"}', "[" * 100 + "]" * 100, "[" * 125 + "]" * 125, "[" * 126 + "]" * 126, "9" * 38, "9" * 39,
    "Code: 241. DB::Exception: Memory limit exceeded (total): (while reading)) (version 24.10.1.2812))\n",
    "\r\n__exception__\r\nabcdefghijklmnop\r\nCode: 1. DB::Exception: x\r\n", "<script>alert(1)</script>",
    "'; DROP TABLE events; --", "{site:String}", "%00%0d%0a", " leading", "trailing ", "#", "a\u00a0b",
    "x" * 65535, 'ü"\n' * 100_000, "Code: 1. DB::Exception: ))\n" * 40_000, "q" * (1 << 20),
]  # fmt: skip

COLUMNS = (
    "url event_name event_data visitor_id session_id country region city browser os device referrer "
    "utm_source utm_medium utm_campaign"
).split()


def run(rowspout, *arguments):
    done = subprocess.run([rowspout, *arguments], capture_output=True, check=False)
    assert done.returncode == 0, (arguments, done.stderr.decode())


def main():
    rowspout, folder = str(pathlib.Path(sys.argv[1]).resolve()), pathlib.Path(sys.argv[2])
    folder.mkdir(parents=True, exist_ok=True)
    site = f"site_hostile_{uuid.uuid4().hex[:12]}"
    run(rowspout, "site", "add", site, "--name", "Hostile")
    source = folder / "source.txt"
    with open(source, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n", quoting=csv.QUOTE_ALL)
        writer.writerow(["timestamp", "event_type", *COLUMNS])
        moment = datetime.datetime(2026, 3, 3, tzinfo=datetime.timezone.utc)
        for number, text in enumerate(TEXTS):
            stamp = (moment + datetime.timedelta(seconds=number)).isoformat().replace("+00:00", "Z")
            writer.writerow([stamp, "event", *([text] * len(COLUMNS))])
    run(rowspout, "load", str(source), "--site", site, "--format", "csv")
    for form in ("csv", "json", "ndjson", "parquet", "arrows"):
        path = folder / f"hostile.{form}"
        run(rowspout, "export", "--site", site, "--start", "2026-03-03", "--end", "2026-03-03", "-o", str(path))
    csv.field_size_limit(64 << 20)
    with open(folder / "hostile.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))[1:]
    assert [row[2:] for row in rows] == [[text] * len(COLUMNS) for text in TEXTS], "the texts came out otherwise"
    print(f"{len(TEXTS)} hostile texts loaded and exported")


if __name__ == "__main__":
    main()
