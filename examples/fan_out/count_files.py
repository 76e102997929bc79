"""One task for each file of a directory, shared among all nodes, with the progress as results come in.

Type these in this directory, each in a terminal of its own; the second node is optional, and more may join:

    meshq node words
    meshq node words
    python count_files.py ..

What travels is the text of each file, so the nodes need no access to the directory. Where all hosts mount the
same directory, send the path instead, and let the task open the file.
"""

import sys
from collections import Counter
from pathlib import Path

from meshq import Mesh

from words import count_words

folder = Path(sys.argv[1] if len(sys.argv) > 1 else ".")
files = sorted(path for path in folder.rglob("*.py") if path.is_file())
total: Counter[str] = Counter()

with Mesh() as mesh:
    # Both arguments are made as they are needed: map reads ahead, but never all of a large input.
    names = (str(path) for path in files)
    texts = (path.read_text(encoding="utf-8") for path in files)
    for done, (name, counts) in enumerate(mesh.map(count_words, names, texts, ordered=False), start=1):
        total.update(counts)
        print(f"[{done}/{len(files)}] {name}: {sum(counts.values())} words")

print(f"{len(files)} files, {total.total()} words, {len(total)} different ones")
print("most frequent:", ", ".join(f"{word} ({count})" for word, count in total.most_common(3)))
