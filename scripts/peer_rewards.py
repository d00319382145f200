#!/usr/bin/env python3
"""How published rules judge the holes of docs/src/rewards.md: prints the table of its last section.

    python3 scripts/peer_rewards.py           # prints the table
    python3 scripts/peer_rewards.py --check   # fails where the page has another one

The rules, as they were published:

    TRL, trl/rewards/format_rewards.py at 05dc6bd, think_format_reward
    Open-R1, src/open_r1/rewards.py at 0056faa, format_reward and tag_count_reward
"""

import json
import pathlib
import re
import sys

PAGE = pathlib.Path(__file__).parent.parent / "docs/src/rewards.md"
FLAGS = re.DOTALL | re.MULTILINE
TRL_FORMAT = r"^<think>(?!.*<think>)(.*?)</think>.*$"
OPEN_R1_FORMAT = r"^<think>\n.*?\n</think>\n<answer>\n.*?\n</answer>$"
OPEN_R1_TAGS = ["<think>\n", "\n</think>\n", "\n<answer>\n", "\n</answer>"]


def trl_format(text):
    return float(bool(re.match(TRL_FORMAT, text, FLAGS)))


def open_r1_format(text):
    return float(bool(re.match(OPEN_R1_FORMAT, text, FLAGS)))


def open_r1_tag_count(text):
    return sum(0.25 for tag in OPEN_R1_TAGS if text.count(tag) == 1)


def section(page, title):
    """The rows of the table of a section, each a list of cells."""
    body = page.split(f"\n## {title}\n", 1)[1].split("\n## ", 1)[0]
    lines = [line for line in body.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def main():
    page = PAGE.read_text(encoding="utf-8")
    rows = ["| hole | TRL: form | Open-R1: form | Open-R1: tags | here: form | gated |", "| " + "--- | " * 6]
    for name, completion, verdict, gated, _added in section(page, "Holes"):
        text = json.loads(completion.strip("`"))
        judged = [trl_format(text), open_r1_format(text), open_r1_tag_count(text), float(verdict == "correct")]
        rows.append(" | ".join([f"| {name}", *(f"{value:g}" for value in judged), f"{gated} |"]))
    table = "\n".join(row.rstrip() for row in rows)
    if sys.argv[1:] == ["--check"]:
        sys.exit(0 if table in page else f"{PAGE.name} has another table than\n{table}")
    print(table)


if __name__ == "__main__":
    main()
