#!/usr/bin/env bash
# MySQL, from Debian unstable's packages: downloaded and unpacked into the cache with their own libc, not installed into the system.
# Row binlog with full metadata, GTIDs, TLS with a certificate of its own. Where unstable's MySQL can't be had or doesn't run, MariaDB
# takes its place, says so each time, and OPENCONNECT_TEST_MYSQL_FLAVOR is mariadb. `install` tries MySQL again.
#
# OPENCONNECT_TEST_MYSQL_ARGS   more options for mysqld, for example "--gtid-mode=OFF --binlog-row-image=MINIMAL"
. "$(dirname "$0")/lib.sh"

PORT=${OPENCONNECT_TEST_MYSQL_PORT:-10306}
ROOT=$OC_HOME/root         # the unpacked packages
TEMPLATE=$OC_HOME/template # an initialised data folder; `start` copies it

mariadb_instead() {
  OPENCONNECT_INSTANCE=as-mysql${OPENCONNECT_INSTANCE:+-$OPENCONNECT_INSTANCE} OPENCONNECT_TEST_MARIADB_PORT=$PORT \
    OPENCONNECT_TEST_MARIADB_ARGS=${OPENCONNECT_TEST_MYSQL_ARGS:-} "$OC_SCRIPTS/mariadb.sh" "$@"
}
run() { # run PROGRAM ARGUMENT...: with the unpacked libc and libraries
  local program=$1 libs loader
  shift
  libs=$(ls -d "$ROOT"/usr/lib/*-linux-gnu "$ROOT"/usr/lib/mysql/private 2>/dev/null | paste -sd:) || true # one of them is not there
  loader=$(ls "$ROOT"/usr/lib*/ld-linux* "$ROOT"/usr/lib/*-linux-gnu/ld-linux* 2>/dev/null | head -n 1) || true
  set -- "$loader" --library-path "$libs" "$program" "$@"
  if [ -n "${SPAWN:-}" ]; then oc_spawn "$SPAWN" "$@"; else "$@"; fi
}
mysql() { run "$ROOT/usr/bin/mysql" --no-defaults "$@"; }
mysqld() {
  run "$ROOT/usr/sbin/mysqld" --no-defaults --user="$(id -un)" --basedir="$ROOT/usr" --lc-messages-dir="$ROOT/usr/share/mysql" \
    --character-sets-dir="$ROOT/usr/share/mysql/charsets" --plugin-dir="$(ls -d "$ROOT"/usr/lib/mysql/plugin)" "$@"
}

apt_opts() {
  local apt=$OC_HOME/apt
  APT=(-qq -o "Dir::Etc::SourceList=$apt/sources.list" -o Dir::Etc::SourceParts=/dev/null -o "Dir::State::Lists=$apt/lists"
    -o "Dir::Cache=$apt/cache" -o "Dir::State::Status=$apt/status" -o Dir::Etc::Preferences=/dev/null -o Dir::Etc::PreferencesParts=/dev/null
    -o "APT::Sandbox::User=$(id -un)" -o Acquire::Languages=none)
}
get_mysql() {
  local apt=$OC_HOME/apt mirror deb
  mkdir -p "$apt/lists/partial" "$apt/cache/archives/partial"
  : >"$apt/status" # nothing counts as installed: libc and all come along
  mirror=$(apt-get indextargets --format '$(REPO_URI) $(LABEL)' 'Created-By: Packages' 2>/dev/null | awk '$2 == "Debian" { print $1; exit }')
  [ -n "$mirror" ] || { oc_apt_update && mirror=$(apt-get indextargets --format '$(REPO_URI) $(LABEL)' 'Created-By: Packages' | awk '$2 == "Debian" { print $1; exit }'); }
  [ -n "$mirror" ] || { say "this machine's apt has no Debian mirror" && return 1; }
  echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror sid main" >"$apt/sources.list"
  apt_opts
  apt-get "${APT[@]}" update || return 1
  apt-get "${APT[@]}" -o APT::Keep-Downloaded-Packages=true -o Dpkg::Use-Pty=0 -o Debug::NoLocking=1 \
    install -y --download-only --no-install-recommends mysql-server-core mysql-client-core || return 1
  rm -rf "$ROOT" && mkdir -p "$ROOT"
  for deb in "$apt"/cache/archives/*.deb; do
    case ${deb##*/} in perl* | libperl*) continue ;; esac
    dpkg-deb -x "$deb" "$ROOT" || return 1
  done
  # the whole of unstable's lists and archives is of no more use
  rm -rf "$apt" "$ROOT/usr/share/doc" "$ROOT/usr/share/man" "$ROOT/usr/share/locale"
  mysqld --version >&2 || return 1
  rm -rf "$TEMPLATE"
  mysqld --initialize-insecure --datadir="$TEMPLATE" || return 1
  rm -f "$TEMPLATE/auto.cnf"
}

svc_installed() { [ -d "$TEMPLATE/mysql" ] && mysqld --version >/dev/null 2>&1; }
svc_install() {
  if get_mysql >"$OC_RUN/install.log" 2>&1; then
    rm -f "$OC_HOME/fallback"
  else
    tail -n 20 "$OC_RUN/install.log" >&2
    rm -rf "$ROOT" "$TEMPLATE" "$OC_HOME/apt"
    date >"$OC_HOME/fallback"
    FELL_BACK=1 exec "$OC_SCRIPTS/mysql.sh" "${ARGS[@]}"
  fi
}
svc_start() {
  oc_port_free "$PORT" OPENCONNECT_TEST_MYSQL_PORT
  [ -d "$OC_DATA/mysql" ] || cp -a "$TEMPLATE/." "$OC_DATA/"
  oc_mysql_users
  # A killed server that nobody has waited for, or another process with its number, still counts as running to MySQL.
  rm -f "$OC_DATA/s" "$OC_DATA/s.lock"
  # shellcheck disable=SC2086
  SPAWN=mysql mysqld --datadir="$OC_DATA" --tmpdir="$(oc_tmp)" --init-file="$OC_RUN/init.sql" --bind-address=127.0.0.1 --port="$PORT" \
    --socket="$OC_DATA/s" --pid-file="$OC_DATA/pid" --mysqlx=OFF --skip-name-resolve --server-id=1 --log-bin=binlog --gtid-mode=ON --enforce-gtid-consistency=ON \
    --binlog-row-metadata=FULL --binlog-row-image=FULL --local-infile=ON --secure-file-priv= --console ${OPENCONNECT_TEST_MYSQL_ARGS:-}
  oc_wait mysql "login on port $PORT" svc_ready
}
svc_ready() { mysql -h127.0.0.1 -P"$PORT" -uopenconnect -popenconnect -e 'SELECT 1' openconnect; }
svc_env() {
  cat <<ENV
export OPENCONNECT_TEST_MYSQL=mysql://openconnect:openconnect@127.0.0.1:$PORT/openconnect
export OPENCONNECT_TEST_MYSQL_CDC_URL=mysql://cdc:cdc@127.0.0.1:$PORT/openconnect
export OPENCONNECT_TEST_MYSQL_CA=$OC_DATA/ca.pem
export OPENCONNECT_TEST_MYSQL_FLAVOR=mysql
ENV
}

ARGS=("$@")
if [ "${1:-}" = client ]; then # client ARGUMENT...: the mysql command line, logged in
  shift
  mysql -h127.0.0.1 -P"$PORT" -uopenconnect -popenconnect openconnect "$@" 2> >(grep -v 'Using a password' >&2)
  exit
fi
if [ "${1:-}" = install ] && [ -z "${FELL_BACK:-}" ]; then rm -f "$OC_HOME/fallback"; fi
if [ -e "$OC_HOME/fallback" ]; then
  say "############ MySQL could not be had; MariaDB takes its place. What only MySQL does is NOT tested. ############"
  case ${1:-} in
    env) mariadb_instead env | sed 's/_MARIADB/_MYSQL/' ;;
    *) mariadb_instead "$@" ;;
  esac
  exit
fi
oc_main "$@"
