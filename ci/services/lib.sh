#!/usr/bin/env bash
# The common parts of the service scripts. Sourced by them, not run.
#
# A script defines svc_installed, svc_install, svc_start, svc_ready and svc_env, then calls `oc_main "$@"`.
#
#   OPENCONNECT_CACHE     where everything goes; default ~/.cache/openconnect
#   OPENCONNECT_INSTANCE  a second instance of the same service: its own folder (give it its own ports too)
#   OPENCONNECT_TIMEOUT   seconds that `start` waits for readiness; default 60
set -euo pipefail
umask 022

OPENCONNECT_CACHE=${OPENCONNECT_CACHE:-$HOME/.cache/openconnect}
OC_SCRIPTS=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
OC_NAME=$(basename "$0" .sh)
OC_HOME=$OPENCONNECT_CACHE/$OC_NAME # what `install` puts there
OC_RUN=$OPENCONNECT_CACHE/run/$OC_NAME${OPENCONNECT_INSTANCE:+-$OPENCONNECT_INSTANCE}
OC_DATA=$OC_RUN/data # fresh at every `start`, unless `start --keep`
OC_TIMEOUT=${OPENCONNECT_TIMEOUT:-60}

say() { printf '%s: %s\n' "$OC_NAME" "$*" >&2; }
die() {
  say "error: $*"
  exit 1
}
need() { # need COMMAND HINT
  command -v "$1" >/dev/null 2>&1 || die "'$1' is not on the PATH ($2)"
}
as_root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo -n "$@"; fi; }

# --- packages -------------------------------------------------------------------------------------------------

oc_apt_update() { # at most once in six hours
  local stamp=$OPENCONNECT_CACHE/apt-updated
  [ -n "$(find "$stamp" -mmin -360 2>/dev/null)" ] && return
  as_root apt-get update -qq || die "apt-get update failed (root or passwordless sudo is needed)"
  touch "$stamp"
}
oc_apt_install() { # oc_apt_install PACKAGE...: installed into the system, no service of theirs is started
  oc_apt_update
  # policy-rc.d keeps the packages from starting their own server on the default port
  local policy=/usr/sbin/policy-rc.d mine=
  if [ ! -e "$policy" ]; then
    printf '#!/bin/sh\nexit 101\n' | as_root tee "$policy" >/dev/null && as_root chmod 755 "$policy" && mine=1
  fi
  local rc=0
  as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >"$OC_RUN/install.log" 2>&1 || rc=$?
  if [ -n "$mine" ]; then as_root rm -f "$policy"; fi
  [ $rc = 0 ] || {
    tail -n 20 "$OC_RUN/install.log" >&2
    die "apt-get install $* failed (the whole log: $OC_RUN/install.log)"
  }
}
# --- processes ------------------------------------------------------------------------------------------------

# A process is known by its pid and its start time, so that a pid used again by another is never signalled.
oc_started_at() {
  local stat
  stat=$(cat "/proc/$1/stat" 2>/dev/null) || return 1
  [[ ${stat##*) } != Z* ]] || return 1 # a zombie has ended
  set -- ${stat##*) }
  echo "${20}"
}
oc_alive() { # oc_alive [PROCESS]: is what we started still there?
  local pid at
  read -r pid at <"$OC_RUN/${1:-$OC_NAME}.pid" 2>/dev/null || return 1
  [ "$(oc_started_at "$pid")" = "$at" ]
}
oc_any_alive() {
  local f
  for f in "$OC_RUN"/*.pid; do
    [ -e "$f" ] && oc_alive "$(basename "$f" .pid)" && return 0
  done
  return 1
}
oc_spawn() { # oc_spawn PROCESS COMMAND...: in the background, output to PROCESS.log
  local name=$1 pid
  shift
  setsid "$@" >"$OC_RUN/$name.log" 2>&1 </dev/null 9>&- &
  pid=$!
  echo "$pid $(oc_started_at "$pid" || echo 0)" >"$OC_RUN/$name.pid"
  echo "$name" >>"$OC_RUN/order"
}
oc_log_tail() {
  local f
  for f in "$OC_RUN"/*.log; do
    case $f in */install.log) continue ;; esac
    [ -s "$f" ] && { echo "--- $f" && tail -n 15 "$f"; } >&2
  done
  return 0
}
oc_wait() { # oc_wait PROCESS WHAT COMMAND...: until COMMAND succeeds; dies when PROCESS ends or the time is up
  local name=$1 what=$2 end=$((SECONDS + OC_TIMEOUT))
  shift 2
  until "$@" >/dev/null 2>&1; do
    if ! oc_alive "$name"; then
      oc_log_tail
      die "$name ended before $what"
    fi
    if [ $SECONDS -ge $end ]; then
      oc_log_tail
      die "no $what after $OC_TIMEOUT s (OPENCONNECT_TIMEOUT sets the limit)"
    fi
    sleep 0.1
  done
}
oc_port_open() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }
oc_port_free() { # oc_port_free PORT VARIABLE: a killed server may keep its port for a moment
  local n
  for ((n = 0; n < 100; n++)); do
    oc_port_open "$1" || return 0
    sleep 0.1
  done
  die "port $1 is in use by another program; choose another with $2"
}
oc_signal() { # oc_signal SIGNAL: to all that we started, the last one first, each waited for
  local signal=$1 name pid at n
  [ -e "$OC_RUN/order" ] || return 0
  for name in $(tac "$OC_RUN/order"); do
    if oc_alive "$name"; then
      read -r pid at <"$OC_RUN/$name.pid"
      kill "-$signal" "$pid" 2>/dev/null || true
      for ((n = 0; n < 300; n++)); do
        oc_alive "$name" || break
        sleep 0.1
      done
      if oc_alive "$name"; then
        say "$name (pid $pid) did not end in 30 s; killing it"
        kill -KILL "$pid" 2>/dev/null || true
        for ((n = 0; n < 50; n++)); do oc_alive "$name" && sleep 0.1 || break; done
      fi
    fi
    rm -f "$OC_RUN/$name.pid"
  done
  rm -f "$OC_RUN/order"
}
oc_mysql_users() { # what mysqld and mariadbd run at their start
  cat >"$OC_RUN/init.sql" <<'SQL'
CREATE DATABASE IF NOT EXISTS openconnect;
CREATE USER IF NOT EXISTS openconnect@'%' IDENTIFIED BY 'openconnect';
GRANT ALL ON *.* TO openconnect@'%' WITH GRANT OPTION;
CREATE USER IF NOT EXISTS cdc@'%' IDENTIFIED BY 'cdc';
GRANT SELECT, REPLICATION SLAVE, REPLICATION CLIENT ON *.* TO cdc@'%';
SQL
}
oc_tmp() { # an empty folder of this instance: at its start MariaDB deletes the temporary tables of others too
  rm -rf "${OC_RUN:?}/tmp"
  mkdir -p "$OC_RUN/tmp"
  echo "$OC_RUN/tmp"
}
oc_fresh_data() {
  rm -rf "${OC_DATA:?}"
  mkdir -p "$OC_DATA"
}

# --- commands -------------------------------------------------------------------------------------------------

oc_usage() {
  cat >&2 <<USAGE
usage: $OC_NAME.sh COMMAND
  install        get what is needed; nothing is done where it is there already
  start [--keep] install, start on 127.0.0.1 with a fresh data folder (--keep: with the last one), wait until ready
  ready          does it answer right now? (exit code)
  env            print what the tests need, as export lines: eval "\$($OC_NAME.sh env)"
  stop           end what start started
  kill           the same with SIGKILL, for fault tests
  remove         stop, and delete the data and logs
USAGE
  exit 64
}
oc_install() {
  svc_installed && return
  exec 8>"$OC_HOME/lock" # what is installed is shared by all instances
  flock -w 1800 8 || die "another installation takes too long"
  if ! svc_installed; then
    local from=$SECONDS
    say "installing into $OC_HOME"
    svc_install
    svc_installed || die "installed, but it does not run"
    say "installed in $((SECONDS - from)) s"
  fi
  exec 8>&-
}
oc_main() {
  mkdir -p "$OC_HOME" "$OC_RUN"
  case ${1:-} in
    install | start | stop | kill | remove) # one at a time
      exec 9>"$OC_RUN/lock"
      flock -w 1800 9 || die "another $OC_NAME.sh is running"
      ;;
  esac
  case ${1:-} in
    install) oc_install ;;
    start)
      oc_install
      if oc_any_alive; then
        svc_ready >/dev/null 2>&1 || die "it runs but is not ready; 'stop' it first (logs: $OC_RUN)"
        say "already running"
      else
        rm -f "$OC_RUN"/*.pid "$OC_RUN/order"
        if [ "${2:-}" != --keep ] || [ ! -d "$OC_DATA" ]; then oc_fresh_data; fi
        trap '[ $? = 0 ] || oc_signal TERM' EXIT
        svc_start
        svc_ready >/dev/null 2>&1 || die "started, but it does not answer (logs: $OC_RUN)"
        say "ready"
      fi
      ;;
    ready) svc_ready >/dev/null ;;
    env) svc_env ;;
    stop) oc_signal TERM ;;
    kill) oc_signal KILL ;;
    remove)
      oc_signal TERM
      rm -rf "${OC_DATA:?}" "${OC_RUN:?}" "${OC_RUN:?}.users"
      ;;
    *) oc_usage ;;
  esac
}
