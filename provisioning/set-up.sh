#!/bin/sh
# What `make` needs from the system, said plainly where it cannot be had.
#   set-up.sh venv PYTHON DIR            a virtual environment on Python >= 3.11
#   set-up.sh package COMMAND PACKAGE    the Debian package behind a command or folder, or stop with one line
#   set-up.sh wanted COMMAND PACKAGE     the same, but go on without it
set -eu

say() { printf '%s\n' "$*" >&2; }

have() { command -v "$1" >/dev/null 2>&1 || [ -x "/usr/sbin/$1" ] || [ -d "$1" ]; }

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; else sudo -n "$@" 2>/dev/null; fi
}

apt_install() {
    command -v apt-get >/dev/null 2>&1 || return 1
    say "Installing the system package $1 …"
    export DEBIAN_FRONTEND=noninteractive
    # A list that is a day old serves; a machine that never had one needs it first.
    as_root apt-get -qq -o DPkg::Lock::Timeout=120 install -y --no-install-recommends "$1" >/dev/null 2>&1 && return 0
    as_root apt-get -qq update >/dev/null 2>&1 || return 1
    as_root apt-get -qq -o DPkg::Lock::Timeout=120 install -y --no-install-recommends "$1" >/dev/null 2>&1
}

case "$1" in
venv)
    python=$2 dir=$3
    "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || {
        say "Wellread needs Python 3.11 or newer; '$python' is $("$python" --version 2>&1 || echo missing)."
        say "Say which one to use: make PYTHON=python3.12 …"
        exit 1
    }
    "$python" -c 'import ensurepip, venv' 2>/dev/null || apt_install python3-venv || {
        say "Python's venv module is missing: install the package python3-venv and try again."
        exit 1
    }
    "$python" -m venv "$dir"
    ;;
package)
    have "$2" || { apt_install "$3" && have "$2"; } || {
        say "'$2' is missing and could not be installed: install the package $3 (sudo apt-get install $3) and try again."
        exit 1
    }
    ;;
wanted)
    have "$2" || apt_install "$3" || say "Going on without '$2' (package $3): the tests that need it will be skipped."
    ;;
*)
    say "unknown step: $1 (expected venv, package or wanted)"
    exit 2
    ;;
esac
