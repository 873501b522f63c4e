"""Nested state (dicts, lists, tuples) as named tensors, and a tree in JSON that puts them back.

A tensor's name is the way to it, with dots: {"model": {"fc.bias": tensor}} has "model.fc.bias".  In the tree it
is "$t" or "$n" (torch or numpy); what JSON cannot say is {"$tuple": [...]}, {"$items": [[key, value], ...]} and
{"$float": "nan"}; other strings that begin with "$" have one more of it.
"""

from __future__ import annotations

import math
import re
from typing import Any, Callable, Dict, List, Tuple

from ._arrays import NUMPY, TORCH, Shard, kind_of, shard_of
from ._native import Error

_TREES = {TORCH: "torch", NUMPY: "numpy"}  # Of a plain dict of tensors that are all of one kind.
_GONE = object()
_INT_MAX = 2**1000  # What a reader of JSON that takes it for a double can read.


def flatten(state: Any) -> Tuple[Dict[str, Any], Any]:
    """The tensors by name, and the tree."""
    if not isinstance(state, dict):
        raise TypeError(f"the state is a {type(state).__name__}; it must be a dict of names, such as "
                        '{"model": model.state_dict(), "optimizer": optimizer.state_dict()}')
    leaves: Dict[str, Any] = {}
    tree = _encode(state, "", leaves)
    kinds = set(tree.values()) if all(isinstance(mark, str) for mark in tree.values()) else set()
    if len(kinds) == 1 and len(leaves) == len(tree) and list(leaves) == list(tree):
        return leaves, _TREES[kinds.pop()]
    return leaves, tree


def _encode(node: Any, path: str, leaves: Dict[str, Any]) -> Any:
    node = shard_of(node, path)
    kind = kind_of(node.array if isinstance(node, Shard) else node)
    if kind is not None:
        if path in leaves:
            raise ValueError(f"two tensors would be named {path!r}; rename one of them")
        leaves[path] = node
        return kind
    if node is None or isinstance(node, (bool, int)):
        if isinstance(node, int) and abs(node) >= _INT_MAX:
            raise ValueError(f"{path}: an integer of {node.bit_length()} bits cannot be saved; those below 1000 bits can")
        return node
    if isinstance(node, str):
        _check_text(node, path)
        return "$" + node if node.startswith("$") else node
    if isinstance(node, float):
        return node if math.isfinite(node) else {"$float": str(node)}
    if isinstance(node, dict):
        return _encode_dict(node, path, leaves)
    if isinstance(node, (list, tuple)):
        items = [_encode(item, _join(path, index), leaves) for index, item in enumerate(node)]
        return items if isinstance(node, list) else {"$tuple": items}
    raise TypeError(f"{path}: a {type(node).__name__} cannot be saved; tensors, arrays, muster.Shard, dicts, lists, "
                    "tuples, numbers, strings and None can. Save its state_dict(), or make one of these of it")


def _check_text(text: str, path: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"{path}: the string {text!r:.100} cannot be saved: it is no valid Unicode "
                         f"({error.reason})") from None


def _encode_dict(node: Dict[Any, Any], path: str, leaves: Dict[str, Any]) -> Any:
    for key in node:
        if isinstance(key, str):
            _check_text(key, path or "the state")
        if not isinstance(key, (str, int, float, bool, type(None))):
            raise TypeError(f"{path or 'the state'}: a key is a {type(key).__name__}; strings and numbers can be "
                            "saved")
        if not _join(path, key):
            raise ValueError("a key of the state is empty; tensors are named by their keys: give it a name")
    items = [(key, _encode(value, _join(path, key), leaves)) for key, value in node.items()]
    if all(isinstance(key, str) and not key.startswith("$") for key in node):
        return dict(items)
    return {"$items": [[_encode(key, path, leaves), value] for key, value in items]}


def _join(path: str, key: Any) -> str:
    return f"{path}.{key}" if path else str(key)


def unflatten(tree: Any, make: Callable[[str, Any], Any], names: List[str], pattern: str = "*") -> Dict[str, Any]:
    """The nested state, of those tensors that are among `names`, make(name, kind), and of the numbers and strings whose
    names match.  Tensors that the tree does not know come under their names; Error if one that it knows and that
    matches is not among `names`."""
    wanted = set(names)
    missing: List[str] = []
    letters = {"*": ".*", "?": "."}
    matches = re.compile("".join(letters.get(c, re.escape(c)) for c in pattern), re.DOTALL).fullmatch

    def leaf(name: str, kind: str) -> Any:
        if name not in wanted:
            if matches(name):
                missing.append(name)
            return _GONE
        wanted.discard(name)
        return make(name, kind)

    if isinstance(tree, str):
        kind = {word: mark for mark, word in _TREES.items()}.get(tree)
        return {name: make(name, kind) for name in names}
    chosen = None if pattern == "*" else lambda path: matches(path) is not None
    state = _decode(tree, "", leaf, None, chosen) if isinstance(tree, dict) else {}
    if missing:
        raise Error(f"the checkpoint is not whole: it names {_some(missing)}, which did not come with it")
    if state is _GONE:
        state = {}
    for name in names:
        if name in wanted:
            state[name] = make(name, None)
    return state


def values(tree: Any) -> Dict[str, Any]:
    """What is no tensor, by the way to it."""
    found: Dict[str, Any] = {}
    if isinstance(tree, dict):
        _decode(tree, "", lambda name, kind: _GONE, found)
    return found


def left_out(state: Any, leaves: Dict[str, Any], tree: Any) -> str:
    """A sentence about those tensors of the tree that lie in a dict or list of `state` and are not among its `leaves`,
    or "".  Error if they lie in one that is empty."""
    names: List[str] = []

    def leaf(name: str, kind: str) -> Any:
        names.append(name)
        return _GONE

    if isinstance(tree, dict):
        _decode(tree, "", leaf)
    within: Dict[str, bool] = {}  # Path -> whether anything is in it.
    _containers(state, "", within)
    missing = [name for name in names if name not in leaves]
    around = {name: [path for path in _paths_of(name) if path in within] for name in missing}
    empty = next((path for paths in around.values() for path in paths if not within[path]), None)
    if empty is not None:
        below = [name for name, paths in around.items() if empty in paths]
        raise Error(f"{empty} is empty in the state that is to be filled; in the checkpoint it has {_some(below)}: "
                    "nothing is filled. An optimizer of torch has no moments before its first step; use "
                    f"muster.load() and load_state_dict(), or leave {empty.split('.')[0]!r} out of the state")
    beside = [name for name, paths in around.items() if paths]
    return f"the checkpoint has {_some(beside)} beside those that load_into() was to fill" if beside else ""


def _paths_of(name: str) -> List[str]:
    """"a" and "a.b" of "a.b.c"."""
    return [name[:end] for end, letter in enumerate(name) if letter == "."]


def _containers(node: Any, path: str, found: Dict[str, bool]) -> None:
    pairs: Any = node.items() if isinstance(node, dict) else enumerate(node)
    if path:
        found[path] = bool(node)
    for key, value in pairs:
        if isinstance(value, (dict, list, tuple)):
            _containers(value, _join(path, key), found)


def _some(names: List[str]) -> str:
    return f"{len(names)} tensors ({', '.join(names[:4])}{', ...' if len(names) > 4 else ''})"


def _decode(node: Any, path: str, leaf: Callable[[str, str], Any], found: Any = None, chosen: Any = None) -> Any:
    if node in (TORCH, NUMPY):
        return leaf(path, node)
    if isinstance(node, dict) and "$float" in node:
        return _value(float(node["$float"]), path, found, chosen)
    if not isinstance(node, (dict, list)):
        return _value(node[1:] if isinstance(node, str) and node.startswith("$") else node, path, found, chosen)
    if isinstance(node, list) or "$tuple" in node:
        pairs: Any = enumerate(node if isinstance(node, list) else node["$tuple"])
    elif "$items" in node:
        pairs = ((_decode(key, "", leaf), value) for key, value in node["$items"])
    else:
        pairs = node.items()
    decoded = ((key, _decode(value, _join(path, key), leaf, found, chosen)) for key, value in pairs)
    kept = {key: value for key, value in decoded if value is not _GONE}
    if chosen is not None and not kept:
        return _GONE
    if isinstance(node, list):
        return list(kept.values())
    return tuple(kept.values()) if "$tuple" in node else kept


def _value(value: Any, path: str, found: Any, chosen: Any) -> Any:
    if found is not None:
        found[path] = value
    return value if chosen is None or chosen(path) else _GONE


def set_values(state: Any, saved: Dict[str, Any], path: str = "") -> None:
    """Puts what is no tensor into the dicts and lists of `state`, as far as they have a place for it."""
    pairs = state.items() if isinstance(state, dict) else enumerate(state)
    for key, value in list(pairs):
        way = _join(path, key)
        if isinstance(value, (dict, list)):
            set_values(value, saved, way)
        elif way in saved and isinstance(state, (dict, list)) and kind_of(value) is None:
            state[key] = saved[way]
