#!/bin/sh
# Resolve the lock files anew. uv is used for this alone: it resolves for every platform at once and leaves out the
# index's address, which pip-compile writes into the file.
set -eu
cd "$(dirname "$0")/.."
"$PYTHON" -m pip --disable-pip-version-check -q install uv
compile() {
    "$PYTHON" -m uv pip compile -q --universal --python-version 3.11 --generate-hashes --upgrade \
        --no-emit-index-url --no-emit-find-links --no-header --no-annotate pyproject.toml "$@"
}
compile --extra postgres -o requirements/run.txt
compile --extra postgres --extra sandbox -c requirements/run.txt -o requirements/sandbox.txt
compile --extra dev -c requirements/sandbox.txt -o requirements/dev.txt
