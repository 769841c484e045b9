#!/usr/bin/env python3
"""The floors of the house: every file under src/ imports only from rooms on lower floors, no two rooms import each
other, and no files import each other in a circle, but for parts of a room that name what the room's own file has, such as
its errors. Prints the lines that break this.

>>> sorted(paths("crate::{a::{self, b}, c}"))
['crate::a', 'crate::a::b', 'crate::c']
>>> sorted(paths("super::x::Y as Z"))
['super::x::Y']
>>> [(line, path) for line, path in imports('use crate::a::{b,\\n    c};\\nfn f() { crate::d::e(); } // crate::no')]
[(1, 'crate::a::b'), (1, 'crate::a::c'), (3, 'crate::d::e')]
"""

import pathlib
import re
import sys

# From the roof down. A room imports only rooms that stand below its own floor, or later on the same one.
FLOORS = [
    ["lib", "sql"],
    ["hooks"],
    ["offboard", "spec", "page", "review", "map"],
    ["expiry", "keys", "authenticator", "reassign", "request", "exchange", "temporary", "guard", "sessions", "door", "login"],
    ["credential", "scope", "access", "authority"],
    ["lock", "switch", "composite", "verify", "claims"],
    ["audit", "session", "presence", "label", "wakeup"],
    ["guc", "error", "dependencies", "memberships", "advisory", "waiting", "notice", "log_line", "own_tables", "session_libraries", "pg"],
    ["attention", "claim_rules", "claim_path", "switch_text", "jwks", "jwt", "login_facts", "admission", "acl", "window", "pinned", "log_prefix", "buffer", "flood", "html", "text", "bytes", "timestamp", "digits"],
]


def paths(tree, prefix=""):
    """The full paths in the tree of a `use`."""
    tree = tree.strip()
    brace = tree.find("{")
    if brace < 0:
        name = re.split(r"\s+as\s+", tree)[0].strip()
        whole = prefix + name
        whole = re.sub(r"::(self|\*)$", "", whole)
        if whole:
            yield whole
        return
    head = prefix + tree[:brace].strip()
    depth, start = 0, brace + 1
    inside = tree[brace + 1 : tree.rindex("}")]
    start = 0
    for at, char in enumerate(inside + ","):
        if char == "{":
            depth += 1
        elif char == "}":
            depth -= 1
        elif char == "," and depth == 0:
            part = inside[start:at].strip()
            if part:
                yield from paths(part, head)
            start = at + 1


def code(text):
    """The text with comments and strings blanked, lines kept."""
    blank = lambda found: re.sub(r"[^\n]", " ", found.group())
    return re.sub(r'//[^\n]*|/\*.*?\*/|r#*"(?:.|\n)*?"#*|"(?:\\.|[^"\\])*"', blank, text, flags=re.S)


def imports(text):
    """(line, path) of everything that a file names by crate:: or super::."""
    text = code(text)
    for found in re.finditer(r"\buse\s+((?:crate|super|self)\b[^;]*);|\b((?:crate|super)(?:::\w+)+)", text):
        line = text.count("\n", 0, found.start()) + 1
        if found.group(1):
            for path in paths(found.group(1)):
                yield line, re.sub(r"\s+", "", path)
        else:
            yield line, found.group(2)


def module(src, file):
    parts = list(file.relative_to(src).with_suffix("").parts)
    return tuple(parts) if parts != ["lib"] else ()


def target(modules, here, path):
    """The module that a path leads into: the deepest that has a file."""
    parts = path.split("::")
    at = list(here)
    while parts and parts[0] in ("crate", "super", "self"):
        word = parts.pop(0)
        if word == "crate":
            at = []
        elif word == "super":
            at = at[:-1]
    at = at + parts
    while tuple(at) not in modules:
        at.pop()
    return tuple(at)


def circles(edges):
    """Strongly connected components of more than one file (Tarjan)."""
    index, low, stack, on, found = {}, {}, [], set(), []

    def visit(node):
        index[node] = low[node] = len(index)
        stack.append(node)
        on.add(node)
        for to in edges.get(node, ()):
            if to not in index:
                visit(to)
                low[node] = min(low[node], low[to])
            elif to in on:
                low[node] = min(low[node], index[to])
        if low[node] == index[node]:
            group = []
            while True:
                last = stack.pop()
                on.discard(last)
                group.append(last)
                if last == node:
                    break
            if len(group) > 1:
                found.append(sorted(group))

    sys.setrecursionlimit(10000)
    for node in sorted(edges):
        if node not in index:
            visit(node)
    return found


def check(src):
    order = {room: at for at, room in enumerate(room for floor in FLOORS for room in floor)}
    files = {module(src, file): file for file in sorted(src.rglob("*.rs"))}
    edges, where, problems = {}, {}, []
    for here, file in files.items():
        room = here[0] if here else "lib"
        if room not in order:
            problems.append(f"{file}: the room {room} stands on no floor: give it one in .ci/floors.py")
            continue
        # Tests in a file may look at their own room.
        text = re.split(r"\n#\[cfg\(test\)\]\n(?:#\[.*\]\n)*mod \w+ \{", file.read_text())[0]
        for line, path in imports(text):
            to = target(files, here, path)
            if to == here:
                continue
            other = to[0] if to else "lib"
            if other != room and order.get(other, -1) <= order[room]:
                problems.append(f"{file}:{line}: {room} imports {path}, which stands above it")
            if here[: len(to)] != to:
                edges.setdefault(here, set()).add(to)
                where.setdefault((here, to), f"{file}:{line}: {path}")
    for group in circles(edges):
        problems.append("files import each other in a circle:")
        for here in group:
            for to in sorted(edges[here] & set(group)):
                problems.append("    " + where[here, to])
    return problems


if __name__ == "__main__":
    found = check(pathlib.Path("src"))
    # What runs up makes circles.
    found = [line for line in found if "stands" in line] or found
    print("\n".join(found), end="\n" if found else "")
    sys.exit(1 if found else 0)
