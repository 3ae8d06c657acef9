#!/bin/sh
# Prints a Python the plugin runs on: 3.12 first (what Dify runs it on), then newer ones; looked for on PATH, then under
# pyenv. A candidate counts when it starts (pyenv's shims may not), is new enough and can make a virtual environment.

pyenv="${PYENV_ROOT:-$HOME/.pyenv}/versions"

usable() {
    "$1" -c 'import sys, venv, ensurepip; sys.exit(not (3, 12) <= sys.version_info[:2] < (3, 15))' >/dev/null 2>&1
}

for version in 3.12 3.13 3.14 3; do
    patches=$(ls "$pyenv" 2>/dev/null | sed -n "s/^$version\.\([0-9]*\)\$/\1/p" | sort -rn)  # the newest first
    for candidate in "python$version" $(for patch in $patches; do echo "$pyenv/$version.$patch/bin/python"; done); do
        if usable "$candidate"; then
            "$candidate" -c 'import sys; print(sys.executable)'
            exit 0
        fi
    done
done
echo "Python 3.12 (or 3.13, 3.14) with its venv module is needed and was not found on PATH or under pyenv: install it, for example with 'pyenv install 3.12' or 'apt install python3.12-venv', or name one with 'make PYTHON=/path/to/python3.12'." >&2
exit 1
