# shellcheck shell=bash disable=SC2034,SC2154
# The PostgreSQL of the tests; sourced by `check`.

provide_postgres() {
  local bin
  if [[ -n ${COUNTERSIGN_TEST_DATABASE_URL:-} ]]; then
    echo "the server of COUNTERSIGN_TEST_DATABASE_URL"
  elif bin=$(postgres_programs); then
    start_cluster "$bin"
  elif timeout 20 docker info >/dev/null 2>&1 && docker compose config --services | grep -qx postgres; then
    start_compose
  else
    apt_install postgresql
    bin=$(postgres_programs) || die "no PostgreSQL server programs after installing postgresql"
    start_cluster "$bin"
  fi
  export COUNTERSIGN_TEST_DATABASE_URL
}

# The folder of the newest server programs: Debian's and Ubuntu's are not in PATH.
postgres_programs() {
  local bin
  while read -r bin; do
    if [[ -x $bin/initdb && -x $bin/pg_ctl && -x $bin/postgres ]]; then
      echo "$bin"
      return
    fi
  done < <(
    printf '%s\n' /usr/lib/postgresql/*/bin | sort -Vr
    pg_config --bindir 2>/dev/null
    dirname -- "$(command -v pg_ctl)" 2>/dev/null
  )
  return 1
}

# In memory, if there is room: on a disk a third of the time of the tests goes into the files of their databases.
cluster_parent() {
  local free
  free=$(df --output=avail -BM /dev/shm 2>/dev/null | tail -n 1 | tr -d ' M')
  # Free space in /dev/shm does not guarantee free memory.
  if ((${free:-0} >= 4096)) && awk '/^MemAvailable/ { exit $2 < 8388608 }' /proc/meminfo; then
    echo /dev/shm
  else
    echo /tmp
  fi
}

# A cluster that only this run can reach: loopback, a password of its own, a free port. Its durability
# is PostgreSQL's own default, since the tests kill servers and look what is left. initdb stores its
# password as MD5: SCRAM hashes 4096 times for each of thousands of connections, a third of the tests' time.
start_cluster() {
  local password port _
  cluster=$(mktemp -d "$(cluster_parent)/countersign-check.XXXXXX")
  ln -s "$1" "$cluster/bin"
  password=$(od -An -N 24 -tx1 /dev/urandom | tr -d ' \n')
  printf '%s\n' "$password" >"$cluster/password"
  if ((EUID == 0)); then chown -hR "$(server_user)" "$cluster"; fi
  as_server_user bin/initdb --pgdata=data --username=countersign --pwfile=password \
    --auth=md5 --encoding=UTF8 --locale=C >"$cluster/initdb.log" || die "$(cat "$cluster/initdb.log")"
  cat >>"$cluster/data/postgresql.conf" <<SETTINGS
listen_addresses = '127.0.0.1'
unix_socket_directories = '$cluster'
max_connections = 600
SETTINGS
  # Whether a port is free shows when the server takes it; below the range of outgoing connections.
  for _ in {1..8}; do
    port=$((16384 + RANDOM % 16384))
    if as_server_user bin/pg_ctl start --pgdata=data --wait --silent --log=server.log -o "-p $port"; then
      COUNTERSIGN_TEST_DATABASE_URL=postgres://countersign:$password@127.0.0.1:$port/postgres
      echo "a throw-away cluster: $(bin=$1/postgres && "$bin" --version), port $port"
      return
    fi
  done
  die "PostgreSQL does not start: $(tail -n 20 "$cluster/server.log")"
}

# PostgreSQL refuses to run as root.
server_user() { if id -u postgres >/dev/null 2>&1; then echo postgres; else echo nobody; fi; }

as_server_user() (
  cd "$cluster" || exit
  if ((EUID == 0)); then exec runuser -u "$(server_user)" -- "$@"; else exec "$@"; fi
)

# A project and a password of its own, so that no other data of this compose file is touched.
start_compose() {
  local address user password
  secrets=$(mktemp -d /tmp/countersign-check.XXXXXX)
  password=$(od -An -N 24 -tx1 /dev/urandom | tr -d ' \n')
  (umask 022 && printf '%s\n' "$password" >"$secrets/database-password")
  compose=(env SECRETS_DIR="$secrets" docker compose --project-name "countersign-check-$$")
  "${compose[@]}" up --detach --wait --wait-timeout 120 postgres
  address=$("${compose[@]}" port postgres 5432)
  user=$("${compose[@]}" exec -T postgres printenv POSTGRES_USER)
  COUNTERSIGN_TEST_DATABASE_URL=postgres://$user:$password@$address/postgres
  echo "the service postgres of docker-compose.yml, at $address"
}

stop_postgres() {
  if [[ -n $cluster ]]; then
    if [[ -e $cluster/data/postmaster.pid ]]; then
      as_server_user bin/pg_ctl stop --pgdata=data --mode=immediate --silent || true
    fi
    rm -rf "$cluster"
  fi
  if ((${#compose[@]})); then "${compose[@]}" down --volumes >/dev/null 2>&1 || true; fi
  if [[ -n $secrets ]]; then rm -rf "$secrets"; fi
}
