#!/usr/bin/env bash
# Makes the virtual environment of the loopback robot (franka-sim), which needs other versions of numpy and MuJoCo than the
# project: scripts/setup_loopback.sh. A second call installs nothing.
#   PYTHON  the interpreter that makes the environment (python3)
set -euo pipefail
cd "$(dirname "$0")/.."

python=${PYTHON:-python3}
venv=.venv-franka-sim
pins=scripts/loopback_requirements.txt
unset PYTHONPATH PYTHONHOME # of a sourced ROS 2 or another environment

fail() {
    echo "error: $*" >&2
    exit 1
}

stamp=$venv/.stamps/$(sha256sum <"$pins" | cut -c1-16)
[[ -e $stamp && -x $venv/bin/python ]] && exit 0
[[ -x $venv/bin/python ]] || "$python" -m venv "$venv" || fail "$python cannot make $venv: install its venv package"
echo "Installing the loopback robot (franka-sim) into $venv; takes about half a minute"
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check --requirement "$pins" </dev/null ||
    fail "pip could not install franka-sim; the lines above say why"
mkdir -p "$(dirname "$stamp")"
touch "$stamp"
