"""Near-duplicates: ours against datasketch, on generated sentences with planted edits.

    python -m benchmarks.near_duplicates --json

Both are given the same texts, the same shingles' length, the same threshold and 128 permutations,
both verify their candidates by the exact Jaccard similarity and both end in clusters. They take
turns within one run, and the fastest of each one's rounds counts. datasketch chooses its own bands.

What it does not cover: texts are English and 5 to 40 words long, made from clause patterns, so they
resemble each other more than customers' own words do.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence

import numpy as np
from datasketch import MinHash, MinHashLSH
from scipy.sparse import csr_matrix

from flywheel.text.near_duplicates import HASHES, SHINGLE, clusters
from flywheel.text.normalize import normalise

THRESHOLD = 0.7
PLANTED = 0.2  # share of texts that are an edited copy of an earlier one
EXACT_ROWS = 6_000  # of them, every pair is compared

_CLAUSES = """
the {thing} {came} {when}
my {thing} has {fault} {when}
i asked for {a} {thing} and got {a} {thing}
{who} was {how} when i called about the {thing}
your {place} charged me {number} for {a} {thing}
we ordered {number} of the {thing} for our {place}
could you tell me where the {thing} is
i have been waiting {number} days for {a} {thing}
the {part} of the {thing} {fault} after {number} weeks
nobody at the {place} knew how the {part} works
please send {a} {thing} to my {place} instead
the {thing} is {how} and the {part} feels {how}
i would buy the {thing} again because it is {how}
returning the {thing} took {number} calls and {who} stayed {how}
it does not fit the {part} of my {thing}
{who} promised that {a} {thing} would arrive {when}
the invoice for the {thing} shows {number} twice
after the update the {part} {fault} whenever i open the {thing}
{who} said the {part} is not in stock
the {thing} looks {how} next to the {thing} we had
my refund for order {number} is still missing
i cannot sign in to the {place} since {when}
the manual of the {thing} never mentions the {part}
shipping to our {place} cost more than the {thing}
{who} replaced the {part} {when} at no charge
for the price this {thing} is {how}
there was no {part} in the box of the {thing}
""".strip().splitlines()
_WORDS = {
    "thing": "kettle blender lamp router tablet jacket backpack printer monitor headset keyboard "
    "toaster vacuum mattress bookshelf drill camera tripod scooter helmet stroller charger speaker "
    "thermostat doorbell freezer grill tent raincoat wallet umbrella saucepan notebook projector "
    "microphone treadmill armchair hammock telescope dishwasher",
    "part": "lid handle cable battery screen zip switch hinge filter strap wheel sensor socket "
    "remote stand button cover valve pedal lens antenna drawer cushion blade",
    "place": "office shop warehouse website branch school studio kitchen clinic garage account",
    "who": "the driver|your agent|a technician|the manager|support|the lady at the desk|"
    "my neighbour",
    "came": "arrived broken|was delivered|never came|turned up|got lost|was left outside",
    "when": "yesterday|on monday|last week|in march|two days late|this morning|before the holidays|"
    "right on time|after a month|over the weekend|on my birthday",
    "fault": "stopped working|cracked|made a strange noise|fell off|leaked|overheated|"
    "lost its colour",
    "how": "friendly|rude|flimsy|solid|wonderful|useless|cheap|heavier than expected|patient|slow|"
    "surprisingly good|a disappointment|brilliant|confusing|helpful",
    "a": "a red|a small|another|a second|a new|the large|a used|a cheaper|a blue|the wrong",
}
_CHOICES = {name: words.split("|" if "|" in words else " ") for name, words in _WORDS.items()}
_JOINS = (", and ", ", but ", ". ", "; ", " because ", ", so ", "! ")


def sentences(rows: int, seed: int) -> tuple[list[str], list[tuple[int, int]]]:
    """Return texts of 5 to 40 words, and the pairs (original, edited copy) planted among them."""
    draw = random.Random(seed)
    texts: list[str] = []
    planted: list[tuple[int, int]] = []
    for row in range(rows):
        if row and draw.random() < PLANTED:
            original = draw.randrange(row)
            texts.append(_edited(texts[original], draw))
            planted.append((original, row))
        else:
            texts.append(_sentence(draw))
    return texts, planted


def _sentence(draw: random.Random) -> str:
    clauses = [_clause(draw) for _ in range(draw.choice((1, 1, 2, 2, 3, 4)))]
    text = clauses[0]
    for clause in clauses[1:]:
        text += draw.choice(_JOINS) + clause
    return " ".join(text.split()[:40]).capitalize() + draw.choice((".", ".", "!", "", "..."))


def _clause(draw: random.Random) -> str:
    words = []
    for piece in draw.choice(_CLAUSES).split("{"):
        slot, closed, rest = piece.partition("}")
        if not closed:
            words.append(piece)
            continue
        number = slot == "number"
        words.append((str(draw.randint(2, 9999)) if number else draw.choice(_CHOICES[slot])) + rest)
    return "".join(words)


def _edited(text: str, draw: random.Random) -> str:
    words = text.split()
    for _ in range(draw.choice((1, 1, 2))):
        place = draw.randrange(len(words))
        match draw.choice(("typo", "swap", "added", "punctuation")):
            case "typo":
                word = words[place]
                at = draw.randrange(len(word))
                words[place] = word[:at] + draw.choice("aeinrst") + word[at + 1 :]
            case "swap" if place:
                words[place - 1], words[place] = words[place], words[place - 1]
            case "added":
                words.insert(place, draw.choice(("really", "just", "honestly", "very", "again")))
            case _:
                words[place] += draw.choice((",", "!", "...", "?"))
    return " ".join(words)


def true_pairs(texts: Sequence[str]) -> list[tuple[int, int]]:
    """All pairs of distinct texts at or above the threshold, each similarity counted exactly."""
    sets = [shingles(text) for text in texts]
    columns: dict[str, int] = {}
    indices = [columns.setdefault(s, len(columns)) for found in sets for s in sorted(found)]
    sizes = np.array([len(found) for found in sets])
    indptr = np.concatenate([[0], np.cumsum(sizes)])
    matrix = csr_matrix((np.ones(len(indices), dtype=np.int32), indices, indptr))
    pairs = []
    for first in range(0, len(sets), 1_000):
        shared = (matrix[first : first + 1_000] @ matrix.T).tocoo()
        left, right = shared.row + first, shared.col
        similar = shared.data / (sizes[left] + sizes[right] - shared.data) >= THRESHOLD
        keep = similar & (left < right)
        pairs += list(zip(left[keep].tolist(), right[keep].tolist(), strict=True))
    return pairs


def shingles(text: str) -> set[str]:
    """The character shingles of a text, counted one by one."""
    padded = f" {normalise(text)} ".ljust(SHINGLE)
    return {padded[at : at + SHINGLE] for at in range(len(padded) - SHINGLE + 1)}


def datasketch_clusters(texts: Sequence[str]) -> list[int]:
    """One cluster per text by datasketch's MinHash and MinHashLSH, candidates verified."""
    sets = [shingles(text) for text in texts]
    index = MinHashLSH(threshold=THRESHOLD, num_perm=HASHES)
    parent = list(range(len(texts)))

    def root(node: int) -> int:
        while parent[node] != node:
            parent[node] = parent[parent[node]]
            node = parent[node]
        return node

    encoded = ([shingle.encode() for shingle in found] for found in sets)
    for row, sketch in enumerate(MinHash.generator(encoded, num_perm=HASHES)):
        for other in index.query(sketch):
            ours, theirs = root(row), root(other)
            if ours != theirs:
                shared = len(sets[row] & sets[other])
                if shared / (len(sets[row]) + len(sets[other]) - shared) >= THRESHOLD:
                    parent[max(ours, theirs)] = min(ours, theirs)
        index.insert(row, sketch, check_duplication=False)
    return [root(row) for row in range(len(texts))]


def recall(found: Sequence[int], pairs: Iterable[tuple[int, int]]) -> float:
    """Share of the pairs whose two texts are in one cluster; 1 where there are no pairs."""
    hits = [found[left] == found[right] for left, right in pairs]
    return sum(hits) / len(hits) if hits else 1.0


def measure(rows: int = 100_000, seed: int = 0, *, rounds: int = 2) -> dict[str, float]:
    """Speed and recall of both on the same ``rows`` texts.

    Recall is over every pair at or above the threshold: among the first ``EXACT_ROWS`` texts, and,
    of the whole, the planted ones.
    """
    texts, planted = sentences(rows, seed)
    ours_s, theirs_s = [], []
    for _ in range(rounds):
        before = time.perf_counter()
        ours = clusters(texts, threshold=THRESHOLD)
        between = time.perf_counter()
        theirs = datasketch_clusters(texts)
        ours_s.append(between - before)
        theirs_s.append(time.perf_counter() - between)
    pairs = true_pairs(texts[:EXACT_ROWS])
    planted = [pair for pair in planted if true_pairs([texts[row] for row in pair])]
    largest = int(np.bincount(ours).max())
    return {
        "near_duplicate_rows": rows,
        "near_duplicate_s": round(min(ours_s), 3),
        "near_duplicate_s_datasketch": round(min(theirs_s), 3),
        "near_duplicate_speedup": round(min(theirs_s) / min(ours_s), 2),
        "near_duplicate_pairs": len(pairs),
        "near_duplicate_recall": round(recall(ours, pairs), 4),
        "near_duplicate_recall_datasketch": round(recall(theirs, pairs), 4),
        "near_duplicate_planted": len(planted),
        "near_duplicate_planted_recall": round(recall(ours, planted), 4),
        "near_duplicate_planted_recall_datasketch": round(recall(theirs, planted), 4),
        "near_duplicate_largest_share": round(largest / rows, 4),
    }


def measure_memory(rows: int = 1_000_000, seed: int = 0) -> dict[str, float]:
    """Seconds of :func:`flywheel.text.near_duplicates.clusters` and the peak MB of a process of its
    own.

    The peak counts the whole process, the texts included.
    """
    command = [sys.executable, "-m", "benchmarks.near_duplicates", "--only-ours", str(rows)]
    done = subprocess.run([*command, "--seed", str(seed)], check=True, capture_output=True)
    return dict(json.loads(done.stdout))


def _only_ours(rows: int, seed: int) -> dict[str, float]:
    texts, _ = sentences(rows, seed)
    before = time.perf_counter()
    found = clusters(texts, threshold=THRESHOLD)
    took = time.perf_counter() - before
    return {
        "near_duplicate_memory_rows": rows,
        "near_duplicate_memory_s": round(took, 1),
        "near_duplicate_peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        "near_duplicate_clusters": max(found) + 1,
    }


def main() -> None:
    """Print the figures, as JSON or one a line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=int, default=100_000, help="texts to compare both on")
    parser.add_argument("--memory-rows", type=int, default=1_000_000, help="texts; 0 leaves it out")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only-ours", type=int, metavar="ROWS", help=argparse.SUPPRESS)
    parser.add_argument("--json", action="store_true", help="one JSON document")
    asked = parser.parse_args()
    if asked.only_ours:
        print(json.dumps(_only_ours(asked.only_ours, asked.seed)))
        return
    figures = measure(asked.rows, asked.seed)
    if asked.memory_rows:
        figures |= measure_memory(asked.memory_rows, asked.seed)
    if asked.json:
        print(json.dumps(figures))
    else:
        print("\n".join(f"{name}: {value}" for name, value in figures.items()))


if __name__ == "__main__":
    main()
