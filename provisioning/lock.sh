#!/bin/sh
# Hash-pinned requirements files, one per extra, for every platform and Python at once; `make lock` runs this.
# dev holds edge and central, so it is solved first and the others are held to its versions.
set -eu
uv=$1
compile() { "$uv" pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate "$@"; }

compile pyproject.toml --extra dev --no-emit-package wellread -o requirements/dev.txt
for extra in edge central; do
    compile pyproject.toml --extra "$extra" -c requirements/dev.txt -o "requirements/$extra.txt"
done
echo 'setuptools' | compile - -c requirements/dev.txt -o requirements/build.txt
# PyTorch is installed by itself (see Makefile); what only its CUDA build needs stays out.
compile pyproject.toml --extra train -o requirements/train.txt
"$(dirname "$uv")/python" - <<'PY'
from pathlib import Path

path = Path("requirements/train.txt")
blocks = path.read_text().replace("\\\n", "\\\0").splitlines(keepends=True)
left_out = ("torch==", "nvidia-", "triton==", "cuda-")
path.write_text("".join(b for b in blocks if not b.startswith(left_out)).replace("\\\0", "\\\n"))
PY
