"""Puts the table that run.sh prints between the figure markers of docs/performance.md.

    tests/peer/run.sh | python3 tests/peer/readme_table.py [FILE]
"""

import sys
from pathlib import Path

BEGIN, END = "<!-- figures:begin -->", "<!-- figures:end -->"


def inserted(text, table):
    """The text with what lies between the markers replaced; None when they are not there, once each, in order."""
    if text.count(BEGIN) != 1 or text.count(END) != 1 or text.index(BEGIN) > text.index(END):
        return None
    head, rest = text.split(BEGIN)
    return f"{head}{BEGIN}\n{table.strip()}\n{END}{rest.split(END)[1]}"


def main():
    """The command line."""
    path = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).resolve().parents[2] / "docs/performance.md"
    table = sys.stdin.read()
    if "|" not in table:
        sys.exit("error: no table on stdin, the document is unchanged")
    text = inserted(path.read_text(), table)
    if text is None:
        sys.exit(f"error: {path} lacks the lines {BEGIN} and {END}, once each, in this order")
    path.write_text(text)


if __name__ == "__main__":
    main()
