#!/usr/bin/env bash
# Makes a virtual environment hold what some extras of setup.py need: scripts/setup.sh sim ros
# Called by the Makefile. A second call with the same extras installs nothing.
#   PYTHON  the interpreter that makes the environment (python3)    VENV  where it lies (.venv)
set -euo pipefail
cd "$(dirname "$0")/.."

python=${PYTHON:-python3}
venv=${VENV:-.venv}
extras=("$@")
export PATH=$PATH:/usr/sbin:/sbin # ldconfig, for users whose PATH lacks it
unset PYTHONPATH PYTHONHOME       # of a sourced ROS 2 or another environment

fail() {
    echo "error: $*" >&2
    exit 1
}

stamp_folder() {
    echo "$venv/.stamps/$(cat constraints.txt setup.py pyproject.toml | sha256sum | cut -c1-16)"
}

is_installed() {
    local extra
    for extra in "${extras[@]}"; do
        [[ -e $(stamp_folder)/$extra ]] || return 1
    done
    [[ -x $venv/bin/python ]]
}

# --- Debian packages --------------------------------------------------------------------------------------------------

has_library() {
    grep -qF "$1" <<<"$(ldconfig -p)" # not a pipe: grep -q would break it, and pipefail take that for "missing"
}

has_egl_driver() {
    if compgen -G '/usr/share/glvnd/egl_vendor.d/*nvidia*.json' >/dev/null; then return 0; fi
    compgen -G '/usr/lib/*/dri/*_dri.so' >/dev/null || compgen -G '/usr/lib*/dri/*_dri.so' >/dev/null
}

missing_debian_packages() {
    if ! command -v "$python" >/dev/null; then
        printf '%s\n' python3 python3-venv
    elif [[ ! -x $venv/bin/python ]] && ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
        "$python" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])'
    fi
    has_library libEGL.so.1 || echo libegl1
    has_egl_driver || echo libgl1-mesa-dri
    has_library libGL.so.1 || echo libgl1
    has_library libglib-2.0.so.0 || echo libglib2.0-0
}

install_debian_packages() {
    local missing
    mapfile -t missing < <(missing_debian_packages)
    ((${#missing[@]})) || return 0
    local command=(apt-get)
    command -v apt-get >/dev/null || fail "install the equivalents of these Debian packages, then run this again: ${missing[*]}"
    if ((EUID != 0)); then
        sudo -n true 2>/dev/null || fail "ask an administrator for: sudo apt-get install -y ${missing[*]}"
        command=(sudo -n DEBIAN_FRONTEND=noninteractive apt-get)
    fi
    echo "Installing Debian packages: ${missing[*]}"
    export DEBIAN_FRONTEND=noninteractive
    "${command[@]}" update -qq </dev/null || true # the lists at hand may do
    "${command[@]}" install -y -qq --no-install-recommends "${missing[@]}" </dev/null >/dev/null ||
        fail "apt-get could not install ${missing[*]}: install them by hand, then run this again"
    mapfile -t missing < <(missing_debian_packages)
    ((${#missing[@]} == 0)) || fail "still missing after the installation: ${missing[*]}"
}

# --- Python packages --------------------------------------------------------------------------------------------------

check_python_version() {
    local version
    version=$("$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])') || fail "$1 does not run: $2"
    case $version in
    3.11 | 3.12) ;;
    *) fail "$1 is Python $version, the ROS 2 wheels need 3.11 or 3.12: $2" ;;
    esac
}

make_environment() {
    if [[ -e $venv ]]; then
        check_python_version "$venv/bin/python" "remove $venv and run this again"
        return
    fi
    check_python_version "$python" "name another one with PYTHON=/path/to/python3.11"
    "$python" -m venv "$venv"
}

install_python_packages() {
    local list
    list=$(IFS=,; echo "${extras[*]}")
    echo "Installing Python packages ($list) into $venv; the first time this takes a few minutes"
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --constraint constraints.txt \
        --editable ".[$list]" </dev/null || fail "pip could not install the packages; the lines above say why"
}

leave_stamps() {
    local extra
    mkdir -p "$(stamp_folder)"
    for extra in "${extras[@]}"; do touch "$(stamp_folder)/$extra"; done
}

is_installed && exit 0
install_debian_packages
make_environment
install_python_packages
leave_stamps
