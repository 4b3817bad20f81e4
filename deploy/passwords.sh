#!/bin/bash
# Gives the users of schema/users.sql their passwords, when ClickHouse's container starts for the first time.
set -eu
clickhouse-client --user "$CLICKHOUSE_USER" --password "$CLICKHOUSE_PASSWORD" --multiquery <<END
ALTER USER rowspout IDENTIFIED BY '$READER_PASSWORD';
ALTER USER rowspout_log IDENTIFIED BY '$LOG_PASSWORD';
END
