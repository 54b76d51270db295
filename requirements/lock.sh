#!/bin/sh
# Resolve the lock files anew. uv is used for this alone: it resolves for every platform at once and leaves out the
# index's address, which pip-compile writes into the file.
set -eu
cd "$(dirname "$0")/.."
"$PYTHON" -m pip --disable-pip-version-check -q install uv
compile() {
    "$PYTHON" -m uv pip compile -q --universal --python-version 3.11 --generate-hashes --upgrade \
        --no-emit-index-url --no-emit-find-links --no-header --no-annotate "$@"
}
compile pyproject.toml --extra postgres -o requirements/run.txt
compile pyproject.toml --extra postgres --extra sandbox -c requirements/run.txt -o requirements/sandbox.txt
compile pyproject.toml --extra dev -c requirements/sandbox.txt -o requirements/dev.txt
compile --group pyproject.toml:build -o requirements/build.txt
compile --group pyproject.toml:release -c requirements/build.txt -c requirements/dev.txt -o requirements/release.txt
compile --group pyproject.toml:deploy -c requirements/dev.txt -o requirements/deploy.txt
