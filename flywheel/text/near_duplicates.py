"""Which texts are nearly the same: clusters of near-duplicates, found by MinHash and then verified.

Two texts are near-duplicates when the Jaccard similarity of their character shingles is at least
the threshold. Candidates come from MinHash signatures cut into bands (Broder 1997; Leskovec,
Rajaraman and Ullman, Mining of Massive Datasets, ch. 3); every candidate is then compared for real,
so a pair below the threshold never joins two clusters. A pair at the threshold is missed with a
chance of at most 3 %, a more similar one more rarely.

Clusters are connected components: A near B and B near C puts all three together even if A is not
near C. So no verified pair is ever split between training and holdout. The price is that texts made
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
from flywheel.text.normalize import normalise, visible

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

SHINGLE = 3  # characters
HASHES = 128
NEIGHBOURS = 8  # texts that each text meets in a bucket, besides the bucket's first
COLUMNS = 2**31 - 1  # of the matrix of shingles: what 32 bits can number

_MISSED = 0.03  # highest chance to miss a pair whose similarity equals the threshold
_SLACK = 0.2  # the estimate's error that is forgiven; its standard deviation is below 0.045
_ROWS_AT_ONCE = 20_000
_PAIRS_AT_ONCE = 200_000

Integers = NDArray[np.int64]


def clusters(texts: Sequence[str], *, threshold: float = 0.7, seed: int = 0) -> list[int]:
    """Give each text the number of its cluster, numbered from 0 by first occurrence.

    Texts equal after :func:`flywheel.text.normalize.normalise` always share a cluster, and what
    nobody sees parts none. The same set of texts is clustered the same way in any order and with
    any repeats; adding texts can only find pairs between other texts anew or, in buckets of more
    than ``NEIGHBOURS`` texts, miss one.

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
    folded = [_folded(text) for text in texts]
    distinct = sorted(set(folded))
    shingles = _shingles(distinct)
    labels = np.arange(len(distinct))
    keys, signatures = _sign(shingles, threshold, seed)
    for band, key in enumerate(keys):
        for left, right in _candidates(key, keys[(band + 1) % len(keys)]):
            labels = _merge(labels, left, right, shingles, signatures, threshold)
    label_of = dict(zip(distinct, labels.tolist(), strict=True))
    numbers: dict[int, int] = {}
    return [numbers.setdefault(label_of[text], len(numbers)) for text in folded]


def alike(texts: Sequence[str], others: Sequence[str], *, threshold: float = 0.7) -> list[bool]:
    """Tell for each text whether it is a near-duplicate of one of ``others``: all are compared.

    Work grows with the product of both numbers, so ``others`` should be few. Equal texts are
    alike. ``threshold`` as in `clusters`.
    """
    from scipy.sparse import csr_matrix

    if not texts or not others:
        return [False] * len(texts)
    folded = [_folded(text) for text in texts]
    few = sorted({_folded(text) for text in others})
    shingles = _shingles([*folded, *few])
    sizes = np.diff(shingles.indptr)
    # of the columns only those of ``others`` can be shared: a matrix narrow enough to transpose
    last = shingles.indptr[len(folded)]
    columns = np.unique(shingles.indices[last:])
    place = np.minimum(np.searchsorted(columns, shingles.indices), len(columns) - 1)
    held = columns[place] == shingles.indices
    starts = np.concatenate([[0], np.cumsum(held)])[shingles.indptr]
    ones = np.ones(int(starts[-1]), dtype=np.int64)
    narrow = csr_matrix((ones, place[held], starts), shape=(len(sizes), len(columns)))
    theirs, turned = sizes[len(folded) :], narrow[len(folded) :].T.tocsr()
    found: list[bool] = []
    for first in range(0, len(folded), _ROWS_AT_ONCE):
        rows = slice(first, min(first + _ROWS_AT_ONCE, len(folded)))
        shared = (narrow[rows] @ turned).toarray()
        likeness = shared / (sizes[rows, None] + theirs - shared)
        found += (likeness >= threshold).any(axis=1).tolist()
    return found


def _folded(text: str) -> str:
    return normalise(visible(text))


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
        unique = np.sort(row << 31 | number)  # numpy 2.4's unique() is ten times slower
        unique = unique[np.concatenate([[True], unique[1:] != unique[:-1]])]
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


def _sign(
    shingles: csr_matrix, threshold: float, seed: int
) -> tuple[NDArray[np.uint32], NDArray[np.uint8]]:
    """MinHash every text: one key per band and text, and one byte of each hash, by text.

    Texts with an equal key are candidates. The share of equal bytes estimates the similarity.
    """
    rows = _rows_per_band(threshold)
    keys = np.zeros((HASHES // rows, shingles.shape[0]), dtype=np.uint32)
    signatures = np.zeros((shingles.shape[0], HASHES), dtype=np.uint8)
    draw = np.random.default_rng(seed)
    factors = draw.integers(2**32, size=HASHES, dtype=np.uint32) | np.uint32(1)
    shifts = draw.integers(2**32, size=HASHES, dtype=np.uint32)
    # Few rows at a time stay in the processor's cache.
    for first in range(0, shingles.shape[0], 1_000):
        bounds = shingles.indptr[first : first + 1_001]
        columns = shingles.indices[bounds[0] : bounds[-1]].astype(np.uint64)
        values = (_mix(columns) >> np.uint64(32)).astype(np.uint32)
        starts = (bounds[:-1] - bounds[0]).astype(np.int64)
        lowest = np.empty((HASHES, len(starts)), dtype=np.uint32)
        for factor, shift, into in zip(factors, shifts, lowest, strict=True):
            np.minimum.reduceat(values * factor + shift, starts, out=into)
        signatures[first : first + 1_000] = (lowest & np.uint32(255)).T
        for band in range(len(keys)):
            key = np.zeros(len(starts), dtype=np.uint64)
            for row in lowest[band * rows : (band + 1) * rows]:
                key = _mix(key + row)
            keys[band, first : first + 1_000] = key >> np.uint64(32)
    return keys, signatures


def _rows_per_band(threshold: float) -> int:
    """The most rows a band can have while a pair at the threshold is missed rarely enough."""
    fitting = [
        rows
        for rows in range(1, HASHES + 1)
        if (1 - threshold**rows) ** (HASHES // rows) <= _MISSED
    ]
    return max(fitting, default=1)


def _candidates(
    keys: NDArray[np.uint32], following: NDArray[np.uint32]
) -> Iterator[tuple[Integers, Integers]]:
    """Yield pairs of texts with equal keys, in two lots: what the first joins, the second skips.

    The key of the following band brings the closest texts of a bucket together.
    """
    both = keys.astype(np.uint64) << np.uint64(32) | following
    order = np.argsort(both, kind="stable")
    bucket = keys[order]
    place = np.arange(len(order))
    opens = np.concatenate([[True], bucket[1:] != bucket[:-1]])[: len(order)]
    start = np.maximum.accumulate(np.where(opens, place, 0))

    next_to = place[~opens]
    yield order[next_to - 1], order[next_to]
    pairs = [(place[d:][bucket[d:] == bucket[:-d]], d) for d in range(2, NEIGHBOURS + 1)]
    far = place[place - start > NEIGHBOURS]
    yield (
        np.concatenate([*(order[later - d] for later, d in pairs), order[start[far]]]),
        np.concatenate([*(order[later] for later, _ in pairs), order[far]]),
    )


def _merge(
    labels: Integers,
    left: Integers,
    right: Integers,
    shingles: csr_matrix,
    signatures: NDArray[np.uint8],
    threshold: float,
) -> Integers:
    """Return the labels after joining those pairs that are near-duplicates."""
    sizes = np.diff(shingles.indptr)
    for first in range(0, len(left), _PAIRS_AT_ONCE):
        ours, theirs = left[first : first + _PAIRS_AT_ONCE], right[first : first + _PAIRS_AT_ONCE]
        small = np.minimum(sizes[ours], sizes[theirs])
        large = np.maximum(sizes[ours], sizes[theirs])
        worth = (labels[ours] != labels[theirs]) & (small >= threshold * large * (1 - 1e-9))
        ours, theirs = ours[worth], theirs[worth]
        agreeing = np.count_nonzero(signatures[ours] == signatures[theirs], axis=1)
        worth = agreeing >= (threshold - _SLACK) * HASHES
        ours, theirs = ours[worth], theirs[worth]
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
