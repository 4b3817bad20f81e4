"""Checks days and offsets against Python's zoneinfo, through the command line.

usage: zones.py ROWSPOUT [FOLDER]

ROWSPOUT is the binary; the environment names a ClickHouse whose tables exist. Instants around hard transitions are loaded
into a website of their own. Then every day is exported by itself in every zone: each row must be on the day that zoneinfo
puts it on, with zoneinfo's offset, and over all days no row may be lost or doubled.
"""

import csv
import datetime
import io
import pathlib
import subprocess
import sys
import tempfile
import uuid
import zoneinfo

UTC = datetime.timezone.utc
STEP = datetime.timedelta(minutes=7, seconds=30, milliseconds=250)

# Zone, and the first and the last day to export.
CASES = [
    ("UTC", "2026-03-01", "2026-03-02"),
    ("America/New_York", "2026-03-07", "2026-03-09"),
    ("America/New_York", "2026-10-31", "2026-11-02"),
    ("Asia/Kolkata", "2026-03-07", "2026-03-08"),
    ("Australia/Lord_Howe", "2026-04-04", "2026-04-06"),
    ("Australia/Lord_Howe", "2026-10-03", "2026-10-05"),
    ("America/Sao_Paulo", "2018-11-03", "2018-11-05"),  # a midnight that did not exist
    ("America/Sao_Paulo", "2018-02-17", "2018-02-18"),  # an hour before midnight that came twice
    ("Pacific/Apia", "2011-12-28", "2012-01-01"),  # a day that did not exist
    ("Pacific/Kwajalein", "1993-08-19", "1993-08-23"),
    ("Pacific/Kiritimati", "1994-12-30", "1995-01-02"),
    ("America/St_Johns", "2010-11-06", "2010-11-08"),  # clocks went back over midnight: a day in two pieces
    ("America/Havana", "2026-10-31", "2026-11-02"),
    ("Africa/Casablanca", "2026-02-14", "2026-02-16"),
    ("Europe/London", "2026-03-28", "2026-03-30"),
    ("Asia/Pyongyang", "2018-05-04", "2018-05-05"),
    ("Antarctica/Troll", "2026-03-28", "2026-03-30"),
]


def run(rowspout, *arguments):
    done = subprocess.run([rowspout, *arguments], capture_output=True, check=False)
    assert done.returncode == 0, (arguments, done.stderr.decode())
    return done.stdout


def main():
    rowspout = str(pathlib.Path(sys.argv[1]).resolve())
    site = f"site_zones_{uuid.uuid4().hex[:12]}"
    run(rowspout, "site", "add", site, "--name", "Zones")

    # Every instant that any of the days could hold, once.
    day = datetime.timedelta(days=1)
    instants = set()
    for _, first, last in CASES:
        begin = datetime.datetime.fromisoformat(first).replace(tzinfo=UTC) - day - day / 2
        until = datetime.datetime.fromisoformat(last).replace(tzinfo=UTC) + day * 2 + day / 2
        moment = begin
        while moment < until:
            instants.add(moment)
            instants.add(moment.replace(minute=0, second=0, microsecond=0))
            moment += STEP
    instants = sorted(instants)
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "instants.csv"
        with open(path, "w", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(["timestamp", "event_type", "url"])
            for moment in instants:
                text = moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
                writer.writerow([text, "pageview", str(int(moment.timestamp() * 1000))])
        run(rowspout, "load", str(path), "--site", site)

    total = 0
    for zone, first, last in CASES:
        info = zoneinfo.ZoneInfo(zone)
        date = datetime.date.fromisoformat(first)
        seen = []
        while date <= datetime.date.fromisoformat(last):
            out = run(
                rowspout, "export", "--site", site, "--start", str(date), "--end", str(date), "--timezone", zone
            ).decode()
            rows = list(csv.DictReader(io.StringIO(out)))
            expected = [moment for moment in instants if moment.astimezone(info).date() == date]
            assert [int(row["url"]) for row in rows] == [int(m.timestamp() * 1000) for m in expected], (
                f"{zone} {date}: {len(rows)} rows, not {len(expected)}, or others"
            )
            for row, moment in zip(rows, expected):
                local = moment.astimezone(info)
                spec = "milliseconds" if moment.microsecond else "seconds"
                text = local.isoformat(timespec=spec)
                if zone == "UTC":
                    text = text.replace("+00:00", "Z")
                assert row["timestamp"] == text, f"{zone}: {row['timestamp']}, not {text}"
            seen += rows
            date += day
        # The days together are the window, with nothing lost or doubled.
        whole = run(
            rowspout, "export", "--site", site, "--start", first, "--end", last, "--timezone", zone
        ).decode()
        rows = list(csv.DictReader(io.StringIO(whole)))
        assert sorted(rows, key=str) == sorted(seen, key=str), f"{zone}: the days are not the window"
        assert len({row["url"] for row in rows}) == len(rows)
        total += len(rows)
        print(f"  {zone} {first} to {last}: {len(rows)} rows on their days")
    print(f"{len(CASES)} windows, {total} rows")


if __name__ == "__main__":
    main()
