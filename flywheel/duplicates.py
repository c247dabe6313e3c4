"""Which texts are nearly the same: clusters of near-duplicates, found by MinHash and then verified.

Two texts are near-duplicates when the Jaccard similarity of their character shingles is at least
the threshold. Candidates come from MinHash signatures cut into bands (Broder 1997; Leskovec,
Rajaraman and Ullman, Mining of Massive Datasets, ch. 3); every candidate is then compared for real,
so a pair below the threshold never joins two clusters. A pair at the threshold is missed with a
chance of at most 3 %, a more similar one more rarely.

Clusters are connected components: A near B and B near C puts all three together even if A is not
near C. So no verified pair is ever split between training and exam. The price is that texts made
from one long template chain into one cluster.

Work and memory grow with the number of texts, not with its square: in each bucket a text meets its
next neighbours and the bucket's first member, never all. numpy computes the signatures, because
fetching them from a compiled MinHash library costs more than computing them here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from flywheel.errors import ConfigError
from flywheel.text import normalise

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

SHINGLE = 3  # characters
HASHES = 128
NEIGHBOURS = 8  # texts that each text meets in a bucket, besides the bucket's first
COLUMNS = 2**31 - 1  # of the matrix of shingles: what 32 bits can number

_MISSED = 0.03  # highest chance to miss a pair whose similarity equals the threshold
_ROWS_AT_ONCE = 20_000
_PAIRS_AT_ONCE = 200_000

Integers = NDArray[np.int64]


def clusters(texts: Sequence[str], *, threshold: float = 0.7, seed: int = 0) -> list[int]:
    """Give each text the number of its cluster, numbered from 0 by first occurrence.

    Texts equal after :func:`flywheel.text.normalise` always share a cluster. The same set of texts
    is clustered the same way in any order and with any repeats; adding texts can only find pairs
    between other texts anew or, in buckets of more than ``NEIGHBOURS`` texts, miss one.

    Args:
        texts: Anything, the empty text included.
        threshold: Lowest Jaccard similarity of near-duplicates, in (0, 1]; 1 is the same shingles.
        seed: Decides which of the pairs close to the threshold are missed.

    Raises:
        ConfigError: ``threshold`` is outside (0, 1].
    """
    if not 0 < threshold <= 1:
        raise ConfigError(
            f"The threshold of near-duplicates must be above 0 and at most 1; found {threshold!r}. "
            "Nothing was compared; 0.7 suits short sentences.",
            threshold=threshold,
        )
    folded = [normalise(text) for text in texts]
    distinct = sorted(set(folded))
    shingles = _shingles(distinct)
    labels = np.arange(len(distinct))
    for keys in _bands(shingles, threshold, seed):
        labels = _join(labels, shingles, keys, threshold)
    label_of = dict(zip(distinct, labels.tolist(), strict=True))
    numbers: dict[int, int] = {}
    return [numbers.setdefault(label_of[text], len(numbers)) for text in folded]


def _shingles(texts: Sequence[str]) -> csr_matrix:
    """One row per text with a 1 for each shingle that occurs in it; every row has at least one."""
    from scipy.sparse import csr_matrix

    # A space on both sides marks the ends of the words there; a text too short is one shingle.
    padded = [f" {text} ".ljust(SHINGLE) for text in texts]
    codes = np.frombuffer("".join(padded).encode("utf-32-le", "surrogatepass"), dtype=np.uint32)
    seen = np.zeros(0x110000, dtype=bool)
    seen[codes] = True
    alphabet = int(seen.sum())
    rank = np.cumsum(seen, dtype=np.int64) - 1
    lengths = np.fromiter(map(len, padded), dtype=np.int64, count=len(padded))
    del padded
    starts = np.concatenate([[0], np.cumsum(lengths)])

    indices, counts = [np.zeros(0, dtype=np.int32)], [np.zeros(0, dtype=np.int64)]
    for first in range(0, len(texts), _ROWS_AT_ONCE):
        last = min(first + _ROWS_AT_ONCE, len(texts))
        letters = rank[codes[starts[first] : starts[last]]]
        row = np.repeat(np.arange(last - first), lengths[first:last])
        number = np.zeros(len(letters) - SHINGLE + 1, dtype=np.int64)
        for offset in range(SHINGLE):
            number = number * alphabet + letters[offset : len(number) + offset]
        if alphabet**SHINGLE > COLUMNS:  # more than 1,290 different characters: hashed
            number = (_mix(number.view(np.uint64)) % np.uint64(COLUMNS)).view(np.int64)
        whole = row[: len(number)] == row[SHINGLE - 1 :]
        number, row = number[whole], row[: len(number)][whole]
        unique = np.unique(row << 31 | number)
        indices.append((unique & COLUMNS).astype(np.int32))
        counts.append(np.bincount(unique >> 31, minlength=last - first))
    columns = np.concatenate(indices)
    indptr = np.concatenate([[0], np.cumsum(np.concatenate(counts))])
    # int32 throughout keeps scipy from copying the columns into 64 bits
    indptr = indptr.astype(np.int32 if len(columns) < 2**31 else np.int64)
    ones = np.ones(len(columns), dtype=np.int16)
    return csr_matrix((ones, columns, indptr), shape=(len(texts), COLUMNS))


def _mix(numbers: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Spread numbers over 64 bits (the finaliser of SplitMix64: Steele et al. 2014, OOPSLA)."""
    mixed = numbers + np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ mixed >> np.uint64(30)) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ mixed >> np.uint64(27)) * np.uint64(0x94D049BB133111EB)
    return mixed ^ mixed >> np.uint64(31)


def _bands(shingles: csr_matrix, threshold: float, seed: int) -> Iterator[NDArray[np.uint64]]:
    """Yield one key per text and band: texts whose upper 32 bits are equal are candidates.

    The lower 32 bits are the key of the next band, which brings the closest texts together.
    """
    rows = _rows_per_band(threshold)
    bands = HASHES // rows
    keys = np.zeros((bands, shingles.shape[0]), dtype=np.uint32)
    draw = np.random.default_rng(seed)
    factors = draw.integers(2**32, size=(bands, rows), dtype=np.uint32) | np.uint32(1)
    shifts = draw.integers(2**32, size=(bands, rows), dtype=np.uint32)
    # Few rows at a time stay in the processor's cache.
    for first in range(0, shingles.shape[0], 1_000):
        bounds = shingles.indptr[first : first + 1_001]
        columns = shingles.indices[bounds[0] : bounds[-1]].astype(np.uint64)
        values = (_mix(columns) >> np.uint64(32)).astype(np.uint32)
        starts = (bounds[:-1] - bounds[0]).astype(np.int64)
        for band in range(bands):
            key = np.zeros(len(starts), dtype=np.uint64)
            for factor, shift in zip(factors[band], shifts[band], strict=True):
                key = _mix(key + np.minimum.reduceat(values * factor + shift, starts))
            keys[band, first : first + 1_000] = key >> np.uint64(32)
    for band in range(bands):
        following = keys[(band + 1) % bands]
        yield keys[band].astype(np.uint64) << np.uint64(32) | following


def _rows_per_band(threshold: float) -> int:
    """The most rows a band can have while a pair at the threshold is missed rarely enough."""
    fitting = [
        rows
        for rows in range(1, HASHES + 1)
        if (1 - threshold**rows) ** (HASHES // rows) <= _MISSED
    ]
    return max(fitting, default=1)


def _join(
    labels: Integers, shingles: csr_matrix, keys: NDArray[np.uint64], threshold: float
) -> Integers:
    """Return the labels after joining the near-duplicates among one band's candidates."""
    order = np.argsort(keys, kind="stable")
    bucket = (keys >> np.uint64(32)).astype(np.uint32)[order]
    place = np.arange(len(order))
    opens = np.concatenate([[True], bucket[1:] != bucket[:-1]])[: len(order)]
    start = np.maximum.accumulate(np.where(opens, place, 0))

    # The next neighbour first: what it joins need not be compared again.
    near = place[1:][~opens[1:]]
    labels = _merge(labels, shingles, order[near - 1], order[near], threshold)
    steps = [(place[d:][bucket[d:] == bucket[:-d]], d) for d in range(2, NEIGHBOURS + 1)]
    far = place[place - start > NEIGHBOURS]
    left = np.concatenate([*(order[later - d] for later, d in steps), order[start[far]]])
    right = np.concatenate([*(order[later] for later, _ in steps), order[far]])
    return _merge(labels, shingles, left, right, threshold)


def _merge(
    labels: Integers, shingles: csr_matrix, left: Integers, right: Integers, threshold: float
) -> Integers:
    """Join the labels of those pairs that are near-duplicates."""
    sizes = np.diff(shingles.indptr)
    small, large = np.minimum(sizes[left], sizes[right]), np.maximum(sizes[left], sizes[right])
    worth = (labels[left] != labels[right]) & (small / large >= threshold)
    left, right = left[worth], right[worth]
    for first in range(0, len(left), _PAIRS_AT_ONCE):
        some = slice(first, first + _PAIRS_AT_ONCE)
        ours, theirs = left[some], right[some]
        apart = labels[ours] != labels[theirs]
        ours, theirs = ours[apart], theirs[apart]
        shared = _shared(shingles, ours, theirs)
        alike = shared / (sizes[ours] + sizes[theirs] - shared) >= threshold
        if alike.any():
            labels = _connect(labels, labels[ours[alike]], labels[theirs[alike]])
    return labels


def _shared(shingles: csr_matrix, left: Integers, right: Integers) -> Integers:
    """How many shingles each pair has in common."""
    both: Any = shingles[left].multiply(shingles[right])
    return np.asarray(both.sum(axis=1), dtype=np.int64).ravel()


def _connect(labels: Integers, left: Integers, right: Integers) -> Integers:
    """Return labels in which the pairs of labels are one."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    edges = coo_matrix(
        (np.ones(len(left), dtype=bool), (left, right)), shape=(len(labels), len(labels))
    )
    component = connected_components(edges, directed=False)[1]
    return np.asarray(component[labels], dtype=np.int64)
