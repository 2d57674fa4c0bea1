"""Decision trees as the attributes of one layer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from costmodel.errors import MalformedModel

Children = Mapping[int, tuple[int, ...]]


def depth(root: int, children: Children) -> int:
    """Comparisons on the longest way from the root to a leaf.

    >>> depth(0, {0: (1, 2), 2: (3, 4)})
    2

    Raises MalformedModel where a node has two parents, as in a cycle.
    """
    level, comparisons, seen = [root], 0, {root}
    while True:
        branching = [node for node in level if node in children]
        if not branching:
            return comparisons
        level = [child for node in branching for child in children[node]]
        if len(set(level)) < len(level) or not seen.isdisjoint(level):
            raise MalformedModel("a node of a tree has two parents")
        seen.update(level)
        comparisons += 1


def numbered(
    tree_ids: Sequence[int], node_ids: Sequence[int], modes: Sequence[str], true_ids: Sequence[int], false_ids: Sequence[int]
) -> list[int]:
    """The depth of every tree whose nodes, each with the numbers of its tree and of itself, are listed in parallel.

    Raises MalformedModel where the lists differ in length or a child does not exist.
    """
    if len({len(tree_ids), len(node_ids), len(modes), len(true_ids), len(false_ids)}) != 1:
        raise MalformedModel("the attributes nodes_* must have one element for each node")
    index = {key: i for i, key in enumerate(zip(tree_ids, node_ids, strict=True))}
    children: dict[int, tuple[int, ...]] = {}
    for i, (tree, mode, *pair) in enumerate(zip(tree_ids, modes, true_ids, false_ids, strict=True)):
        if mode != "LEAF":
            missing = [node for node in pair if (tree, node) not in index]
            if missing:
                raise MalformedModel(f"tree {tree} has no node {missing[0]}")
            children[i] = tuple(dict.fromkeys(index[tree, node] for node in pair))
    first: dict[int, int] = {}
    for tree, node in index:
        first[tree] = min(node, first.get(tree, node))
    return [depth(index[tree, node], children) for tree, node in first.items()]


def rooted(
    roots: Sequence[int], true_ids: Sequence[int], true_leaves: Sequence[int], false_ids: Sequence[int],
    false_leaves: Sequence[int],
) -> list[int]:
    """The depth of every tree whose inner nodes are listed in parallel, with flags for children that are leaves."""
    if len({len(true_ids), len(true_leaves), len(false_ids), len(false_leaves)}) != 1:
        raise MalformedModel("the attributes nodes_* must have one element for each node")
    count = len(true_ids)
    children: dict[int, tuple[int, ...]] = {}
    for i, (true, is_leaf, false, is_other_leaf) in enumerate(
        zip(true_ids, true_leaves, false_ids, false_leaves, strict=True)
    ):
        inner = [node for node, leaf in ((true, is_leaf), (false, is_other_leaf)) if not leaf]
        if any(not 0 <= node < count for node in (*inner, *roots)):
            raise MalformedModel(f"there are {count} nodes; a tree names another")
        children[i] = (*dict.fromkeys(inner), -1 - i)
    return [depth(root, children) for root in roots]


def most_votes(tree_ids: Iterable[int], node_ids: Iterable[int]) -> int:
    """Votes that are added per input: for each tree those of the leaf with the most."""
    per_leaf = Counter(zip(tree_ids, node_ids, strict=False))
    most: dict[int, int] = {}
    for (tree, _), votes in per_leaf.items():
        most[tree] = max(votes, most.get(tree, 0))
    return sum(most.values())
