#!/bin/sh
# A PostgreSQL for as long as the tests run: a new cluster on a free port of this machine, with a password and TLS, and gone afterwards.
#
#   tests/store/postgres.sh COMMAND...   runs the command with its address in FEATHERGATE_TEST_POSTGRES
#   tests/store/postgres.sh              prints the address, and keeps it running until stopped (Ctrl-C, SIGTERM)
#
# Without PostgreSQL's programs it installs them, if it may; else the command runs without the variable, and its tests say so.
set -eu

find_programs() {
    for folder in "$(pg_config --bindir 2>/dev/null || true)" /usr/lib/postgresql/*/bin /opt/homebrew/opt/postgresql*/bin /usr/pgsql-*/bin; do
        if [ -x "$folder/initdb" ] && [ -x "$folder/postgres" ]; then
            programs=$folder
        fi
    done
    [ -n "${programs:-}" ]
}

if ! find_programs && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    echo "store: installing PostgreSQL" >&2
    { apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends postgresql; } >/dev/null 2>&1 || true
fi
if ! find_programs; then
    echo "store: PostgreSQL is not installed (on Debian and Ubuntu: apt-get install postgresql)" >&2
    [ $# -gt 0 ] || exit 1
    exec "$@"
fi

folder=$(mktemp -d "${TMPDIR:-/tmp}/feathergate-postgres.XXXXXX")
chmod 755 "$folder"
# The server refuses to run as root; Debian's package brings a user for it.
as=
if [ "$(id -u)" = 0 ]; then
    as="setpriv --reuid postgres --regid postgres --clear-groups"
    chown postgres "$folder"
fi
server=
stop() {
    trap - EXIT INT TERM
    if [ -n "$server" ]; then
        kill -INT "$server" 2>/dev/null || true
        wait "$server" 2>/dev/null || true
    fi
    rm -rf "$folder"
}
trap stop EXIT
trap 'stop; exit 130' INT
trap 'stop; exit 143' TERM

cd "$folder"
password=$(od -An -N16 -tx1 /dev/urandom | tr -d ' \n')
printf '%s\n' "$password" > password
# Where it knows ICU, texts sort by language unless a column says otherwise: as they do at most operators'.
initdb() {
    $as "$programs/initdb" -D "$folder/data" -U postgres -A scram-sha-256 --pwfile password -E UTF8 --no-sync "$@" >initdb.log 2>&1
}
initdb --locale-provider=icu --icu-locale=en --locale=C || { rm -rf data; initdb --locale=C; } || { cat initdb.log >&2; exit 1; }
tls=off
query="sslmode=disable"
if command -v openssl >/dev/null && openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 7 \
    -subj /CN=feathergate-test -addext basicConstraints=critical,CA:FALSE -addext subjectAltName=IP:127.0.0.1 \
    -keyout server.key -out server.crt 2>/dev/null; then
    chmod 600 server.key
    [ "$(id -u)" != 0 ] || chown postgres server.key
    tls=on
    query="sslmode=verify-full&sslrootcert=$folder/server.crt&channel_binding=require"
fi

for attempt in 1 2 3 4 5; do
    port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
    $as "$programs/postgres" -D "$folder/data" -p "$port" -c listen_addresses=127.0.0.1 -c unix_socket_directories= -c fsync=off \
        -c max_connections=300 -c ssl=$tls -c ssl_cert_file="$folder/server.crt" -c ssl_key_file="$folder/server.key" \
        >server.log 2>&1 &
    server=$!
    tries=0
    while kill -0 "$server" 2>/dev/null && [ $tries -lt 300 ]; do
        if grep -q "ready to accept connections" server.log; then break 2; fi
        tries=$((tries + 1))
        sleep 0.1
    done
    kill -INT "$server" 2>/dev/null || true
    wait "$server" 2>/dev/null || true
    [ "$attempt" -lt 5 ] || { cat server.log >&2; exit 1; }
done

cd "$OLDPWD"
address="postgres://postgres:$password@127.0.0.1:$port/postgres?$query"
if [ $# -gt 0 ]; then
    FEATHERGATE_TEST_POSTGRES=$address "$@"
else
    printf '%s\n' "$address"
    wait "$server"
fi
