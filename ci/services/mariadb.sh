#!/usr/bin/env bash
# MariaDB, Debian's package, in a data folder of its own. Row binlog with full metadata.
#
# OPENCONNECT_TEST_MARIADB_ARGS   more options for mariadbd
. "$(dirname "$0")/lib.sh"

PORT=${OPENCONNECT_TEST_MARIADB_PORT:-10307}

TEMPLATE=$OC_HOME/template # an initialised data folder: copied, not made anew, since several starts at once can fail at that

server() { command -v mariadbd || ls /usr/sbin/mariadbd 2>/dev/null; }
make_template() {
  rm -rf "$TEMPLATE.new" "$TEMPLATE"
  mariadb-install-db --no-defaults --datadir="$TEMPLATE.new" --user="$(id -un)" --auth-root-authentication-method=normal --skip-test-db \
    >"$OC_RUN/initdb.log" 2>&1 || {
    tail -n 20 "$OC_RUN/initdb.log" >&2
    die "mariadb-install-db failed (log: $OC_RUN/initdb.log)"
  }
  mv "$TEMPLATE.new" "$TEMPLATE"
}
svc_installed() { server >/dev/null && command -v mariadb >/dev/null && [ -d "$TEMPLATE/mysql" ]; }
svc_install() {
  { server && command -v mariadb-install-db && command -v mariadb; } >/dev/null || oc_apt_install mariadb-server-core mariadb-client-core
  make_template
}
svc_start() {
  oc_port_free "$PORT" OPENCONNECT_TEST_MARIADB_PORT
  [ -d "$OC_DATA/mysql" ] || cp -a "$TEMPLATE/." "$OC_DATA/"
  oc_mysql_users
  # shellcheck disable=SC2086
  oc_spawn mariadb "$(server)" --no-defaults --user="$(id -un)" --datadir="$OC_DATA" --tmpdir="$(oc_tmp)" --init-file="$OC_RUN/init.sql" \
    --bind-address=127.0.0.1 --port="$PORT" --socket="$OC_DATA/s" --pid-file="$OC_DATA/pid" --skip-name-resolve --server-id=1 --log-bin=binlog --binlog-format=ROW \
    --binlog-row-metadata=FULL --binlog-row-image=FULL --local-infile=ON ${OPENCONNECT_TEST_MARIADB_ARGS:-}
  oc_wait mariadb "login on port $PORT" svc_ready
}
client() { mariadb --no-defaults -h127.0.0.1 -P"$PORT" -uopenconnect -popenconnect "$@"; }
svc_ready() { client -e 'SELECT 1' openconnect; }
svc_env() {
  cat <<ENV
export OPENCONNECT_TEST_MARIADB=mysql://openconnect:openconnect@127.0.0.1:$PORT/openconnect
export OPENCONNECT_TEST_MARIADB_CDC_URL=mysql://cdc:cdc@127.0.0.1:$PORT/openconnect
export OPENCONNECT_TEST_MARIADB_FLAVOR=mariadb
ENV
}

if [ "${1:-}" = client ]; then # client ARGUMENT...: the mariadb command line, logged in
  shift
  client openconnect "$@"
  exit
fi
oc_main "$@"
