#!/bin/sh
# Make the peer that the feed and runs are read beside: FastAPI and asyncpg, in an environment of their own.
#
#   sh tests/benchmarks/make_api_baseline.sh FOLDER           makes FOLDER/env; a minute
#   FASTAPI_PYTHON=FOLDER/env/bin/python make bench
set -eu

folder=${1:?expected a folder to make the baseline in}
mkdir -p "$folder"
cd "$folder"
[ -d env ] || "${PYTHON:-python3}" -m venv env
env/bin/python -m pip install --quiet fastapi==0.165.0 asyncpg==0.32.0 uvicorn==0.54.0 httptools==0.9.0 uvloop==0.23.0
echo "$PWD/env/bin/python"
