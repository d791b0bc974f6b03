#!/usr/bin/env bash
# PostgreSQL: the one on the PATH or in Debian's folders, else Debian's package. Logical replication on.
# Without fsync: what is committed survives every kill of the server, not a crash of the machine.
# It does not run as root: then it runs as `nobody`, and its data is below /var/lib/openconnect, which that user can reach.
#
# OPENCONNECT_TEST_POSTGRES_ARGS   more options for postgres, for example "-c max_connections=20"
. "$(dirname "$0")/lib.sh"

PORT=${OPENCONNECT_TEST_POSTGRES_PORT:-10432}
SERVER_USER=nobody
if [ "$(id -u)" = 0 ]; then OC_DATA=/var/lib/openconnect/${OC_RUN##*/}; fi

bin() { # bin PROGRAM: where it is
  local found
  # The newest of Debian's folders: what is on the PATH there is a wrapper.
  found=$(ls -d /usr/lib/postgresql/*/bin/"$1" 2>/dev/null | sort -V | tail -n 1)
  [ -n "$found" ] || found=$(command -v "$1") || return 1
  echo "$found"
}
in_use() { # has a server process, which works in the data folder, outlived its killed parent?
  { ls -l /proc/[0-9]*/cwd 2>/dev/null || true; } | grep -qF -- "-> $OC_DATA"
}
unprivileged() { # the array AS is the prefix of a command that runs as the server's user
  AS=()
  if [ "$(id -u)" = 0 ]; then
    AS=(setpriv "--reuid=$(id -u $SERVER_USER)" "--regid=$(id -g $SERVER_USER)" --clear-groups)
    chown -R "$SERVER_USER:$(id -g $SERVER_USER)" "$OC_DATA"
    cd "$OC_DATA" # a folder that the user can enter
  fi
}

svc_installed() { bin initdb >/dev/null && bin postgres >/dev/null && bin psql >/dev/null; }
svc_install() { oc_apt_install postgresql postgresql-client; }
svc_start() {
  oc_port_free "$PORT" OPENCONNECT_TEST_POSTGRES_PORT
  local fresh= n
  for ((n = 0; n < 100; n++)); do in_use && sleep 0.1 || break; done
  # A killed server whose process nobody has waited for still counts as running to PostgreSQL.
  rm -f "$OC_DATA/postmaster.pid"
  unprivileged
  if [ ! -e "$OC_DATA/PG_VERSION" ]; then
    fresh=1
    # The password's file is a pipe that the server's user can open.
    echo openconnect | "${AS[@]}" bash -c '"$0" "$@" --pwfile=<(cat)' "$(bin initdb)" -D "$OC_DATA" -U openconnect --auth=scram-sha-256 \
      -E UTF8 --locale=C --no-sync >"$OC_RUN/initdb.log" 2>&1 || die "initdb failed (log: $OC_RUN/initdb.log)"
  fi
  # shellcheck disable=SC2086
  oc_spawn postgres "${AS[@]}" "$(bin postgres)" -D "$OC_DATA" -p "$PORT" -c listen_addresses=127.0.0.1 -c unix_socket_directories= \
    -c fsync=off -c wal_level=logical -c max_connections=200 ${OPENCONNECT_TEST_POSTGRES_ARGS:-}
  oc_wait postgres "login on port $PORT" client -d postgres -c 'SELECT 1'
  [ -z "$fresh" ] || client -d postgres -qc 'CREATE DATABASE openconnect' || die "the database could not be made"
}
client() { PGPASSWORD=openconnect "$(bin psql)" -X -h 127.0.0.1 -p "$PORT" -U openconnect "$@"; }
svc_ready() { client -d openconnect -c 'SELECT 1'; }
svc_env() { echo "export OPENCONNECT_TEST_POSTGRES=postgres://openconnect:openconnect@127.0.0.1:$PORT/openconnect"; }

if [ "${1:-}" = client ]; then # client ARGUMENT...: psql, logged in
  shift
  client -d openconnect "$@"
  exit
fi
oc_main "$@"
