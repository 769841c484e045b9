#!/usr/bin/env python3
"""Licences of the crates in the library, out of `cargo metadata`, `cargo tree` and the sources that cargo has already fetched. No network.

licenses.py check PLATFORM      refuses licences that are not in ALLOWED, crates in two versions that are not in TWICE, an old debian/copyright
licenses.py texts PLATFORM      every crate with its licence and the texts, each text once
licenses.py copyright PLATFORM  debian/copyright, in Debian's machine-readable format
"""

import json
import os
import re
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

# Permissive ones: none asks for more than its text, which the packages carry.
ALLOWED = {
    "0BSD", "Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "ISC", "MIT", "MIT-0", "PostgreSQL", "Unicode-3.0", "Unlicense", "Zlib",
}
# Chosen in this order where there is a choice.
PREFERRED = ["MIT", "ISC", "Apache-2.0"]
# In the library twice, and why that cannot be helped. A line that is no longer needed is an error too.
TWICE = {
    "hashbrown": "petgraph, of pgrx, is a version behind indexmap",
    "untrusted": "aws-lc-rs is two versions behind rustls-webpki",
    "syn": "macros only: pgrx-macros is a major version behind serde_derive",
}
MIT = """Permission is hereby granted, free of charge, to any person obtaining a copy of this software and associated documentation
files (the "Software"), to deal in the Software without restriction, including without limitation the rights to use, copy,
modify, merge, publish, distribute, sublicense, and/or sell copies of the Software, and to permit persons to whom the
Software is furnished to do so, subject to the following conditions:

The above copyright notice and this permission notice shall be included in all copies or substantial portions of the
Software.

THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR IMPLIED, INCLUDING BUT NOT LIMITED TO THE
WARRANTIES OF MERCHANTABILITY, FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE AUTHORS OR
COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR OTHERWISE,
ARISING FROM, OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE SOFTWARE.
"""


def chosen(expression):
    """The licences of an SPDX expression that apply when we choose, or None when none of the choices is allowed.

    >>> chosen("MIT OR Apache-2.0"), chosen("Apache-2.0/MIT"), chosen("GPL-3.0 OR ISC")
    (['MIT'], ['MIT'], ['ISC'])
    >>> chosen("(MIT OR Apache-2.0) AND Unicode-3.0"), chosen("ISC AND (Apache-2.0 OR ISC)")
    (['MIT', 'Unicode-3.0'], ['ISC'])
    >>> chosen("Apache-2.0 WITH LLVM-exception OR MIT")
    ['MIT']
    >>> print(chosen("MIT AND GPL-3.0"), chosen("AGPL-3.0 OR SSPL-1.0"), chosen(""), chosen("MIT WITH Strange-exception"))
    None None None None
    """
    words = re.findall(r"[()/]|[\w.+-]+", expression or "")
    answer, rest = _any(words)
    return None if rest else answer


def _any(words):
    choices, rest = [], ["OR", *words]
    while rest and rest[0] in ("OR", "/"):
        choice, rest = _all(rest[1:])
        choices.append(choice)
    rank = lambda names: [len(names), *(PREFERRED.index(n) if n in PREFERRED else 9 for n in names)]
    return min((c for c in choices if c), key=rank, default=None), rest


def _all(words):
    together, rest = [], ["AND", *words]
    while rest and rest[0] == "AND":
        if rest[1:2] == ["("]:
            part, rest = _any(rest[2:])
            if rest[:1] != [")"]:
                return None, ["unbalanced"]
            rest = rest[1:]
        else:
            part, rest = [rest[1]] if rest[1:] and rest[1] in ALLOWED else None, rest[2:]
        if rest[:1] == ["WITH"]:
            part, rest = None, rest[2:]
        together = None if part is None or together is None else sorted({*together, *part})
    return together, rest


def cargo(*arguments):
    return subprocess.run(["cargo", *arguments, "--offline", "--locked"], cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout


def metadata(platform):
    """What `cargo metadata` says, and as `built` what is compiled: the former also counts what features such as `ring?/alloc` only name."""
    data = json.loads(cargo("metadata", "--format-version", "1", "--filter-platform", platform))
    tree = cargo("tree", "--target", platform, "--edges", "normal", "--prefix", "none", "--format", "{p}")
    data["built"] = {tuple(line.split()[:2]) for line in tree.splitlines()}
    return data


def shipped(data):
    """The packages that the library is made of: no tests, no build scripts."""
    found = [p for p in data["packages"] if (p["name"], "v" + p["version"]) in data["built"] and p["id"] != data["resolve"]["root"]]
    return sorted(found, key=lambda p: (p["name"], p["version"]))


def check(data):
    wrong = []
    for package in data["packages"]:
        if not chosen(package["license"]):
            wrong.append(f"{package['name']} {package['version']}: {package['license']} is no licence that we allow")
    versions = {}
    for package in shipped(data):
        versions.setdefault(package["name"], []).append(package["version"])
    twice = {name for name, each in versions.items() if len(each) > 1}
    for name in sorted(twice - TWICE.keys()):
        wrong.append(f"{name} is in the library as {' and '.join(versions[name])}")
    for name in sorted(TWICE.keys() - twice):
        wrong.append(f"{name} is there once: take it out of TWICE")
    with open(os.path.join(ROOT, "debian/copyright"), encoding="utf-8") as file:
        if file.read() != copyright_file(data):
            wrong.append("debian/copyright is not of these crates: python3 .ci/licenses.py copyright PLATFORM >debian/copyright")
    if wrong:
        sys.exit("\n".join(wrong))
    print(f"{len(data['packages'])} packages with allowed licences; {len(twice)} in two versions, all known")


def files_of(package):
    """The texts that come with a crate, of those licences that we choose if it has them apart."""
    folder = os.path.dirname(package["manifest_path"])
    found = []
    for name in sorted(os.listdir(folder)):
        path = os.path.join(folder, name)
        if not re.match(r"(UN)?LICEN[CS]E|COPYING|COPYRIGHT|NOTICE", name, re.I):
            continue
        inside = sorted(os.listdir(path)) if os.path.isdir(path) else [""]
        found += [os.path.join(path, each) if each else path for each in inside]
    licences = chosen(package["license"])
    others = {"MIT": "MIT", "APACHE": "Apache-2.0", "UNLICENSE": "Unlicense", "ZLIB": "Zlib", "UNICODE": "Unicode-3.0"}

    def wanted(path):
        name = os.path.basename(path).upper()
        of = [licence for word, licence in others.items() if word in name]
        return not of or any(licence in licences for licence in of)

    return [path for path in found if wanted(path) and os.path.isfile(path)]


def texts_of(package):
    found = []
    for path in files_of(package):
        with open(path, encoding="utf-8", errors="replace") as file:
            found.append(file.read().strip() + "\n")
    if not any(len(text) > 400 for text in found):
        if chosen(package["license"]) != ["MIT"]:
            sys.exit(f"{package['name']} comes without the text of {package['license']}")
        authors = ", ".join(re.sub(r" *<.*?>", "", author) for author in package["authors"]) or f"the authors of {package['name']}"
        found.append(f"Copyright (c) {authors}\n\n{MIT}")
    return found


def rust():
    """The standard library, which is in the library too."""
    sysroot = subprocess.run(["rustc", "--print", "sysroot"], check=True, stdout=subprocess.PIPE, text=True).stdout.strip()
    version = subprocess.run(["rustc", "--version"], check=True, stdout=subprocess.PIPE, text=True).stdout.split()[1]
    path = os.path.join(sysroot, "share/doc/rust/licenses/MIT.txt")
    text = "Copyright (c) The Rust Project Contributors\n\n" + MIT
    if os.path.exists(path):
        with open(path, encoding="utf-8") as file:
            text = "Copyright (c) The Rust Project Contributors\n\n" + file.read().strip() + "\n"
    return f"Rust's standard library {version} (MIT OR Apache-2.0)", [text]


def collect(data):
    """Names of crates with their licences; and each text with the crates that it belongs to."""
    crates = [(f"{p['name']} {p['version']} ({p['license'].replace('/', ' OR ')})", texts_of(p)) for p in shipped(data)]
    crates.append(rust())
    holders = {}
    for name, texts in crates:
        for text in texts:
            holders.setdefault(text, []).append(name.split(" (")[0])
    return [name for name, _ in crates], holders


def holders_of(texts, authors):
    """Who holds the copyright, as the texts say.

    >>> holders_of(["Copyright (c) 2020 A\\n * Copyright 2021 B\\nCOPYRIGHT\\nHOLDERS BE\\nCopyright [yyyy] [name]\\n"], [])
    ['2020 A', '2021 B']
    >>> holders_of([""], ["C <c@example.org>"]), holders_of(["Copyright (c) 2015--2017\\n\\nPermission"], ["C", "D"])
    (['C <c@example.org>'], ['2015--2017 C, D'])
    """
    pattern = r"^[^\w\n]*Copyright:?\s+(?:(?:\([Cc]\)|©)\s*(?=\w)|(?=[A-Z0-9]))(.*)$"
    said = (re.sub(r"\s+", " ", line).strip(" */.") for text in texts for line in re.findall(pattern, text, re.M))
    named = [line for line in said if not re.match("notice|licen[cs]e", line, re.I)]
    # Years alone stand for the authors.
    named = [line if re.search("[a-z]", line, re.I) else f"{line} {', '.join(authors)}" for line in named]
    return list(dict.fromkeys(named)) or authors


def field(name, lines):
    """One field of Debian's control format: what follows the first line is indented, and an empty line is a dot."""
    return f"{name}:" + "\n".join(f" {line.rstrip()}" if line.strip() else " ." for line in lines) + "\n"


def copyright_file(data):
    """All crates in the library, by the folders that `cargo vendor --versioned-dirs` gives them."""
    with open(os.path.join(ROOT, "LICENSE"), encoding="utf-8") as file:
        title, _, ours = file.read().strip().partition("\n\n")
    holder, _, ours = ours.partition("\n\n")
    parts = [
        "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\nUpstream-Name: scope_roles\n"
        + field("Comment", [
            "Made by .ci/licenses.py. The library contains these crates, which the build fetches (their folders are named as",
            "`cargo vendor` names them), and what it uses of Rust's standard library (Copyright The Rust Project Contributors,",
            "MIT or Apache-2.0). Where a licence leaves a choice, it is made here: the first of " + ", ".join(PREFERRED),
            "among them.",
        ]),
        "Files: *\n" + field("Copyright", [holder.removeprefix("Copyright (c) ")]) + field("License", ["PostgreSQL", *ours.splitlines()]),
    ]
    for package in shipped(data):
        texts, licences = texts_of(package), chosen(package["license"])
        body = [] if licences == ["MIT"] else "\n".join(map(without_apache, texts)).splitlines()
        parts.append(
            f"Files: vendor/{package['name']}-{package['version']}/*\n"
            + field("Copyright", holders_of(texts, package["authors"]) or [f"the authors of {package['name']}"])
            + field("License", [" and ".join(licences), *body])
            + (field("Comment", [f"Offered as {package['license'].replace('/', ' OR ')}."]) if package["license"] != " AND ".join(licences) else "")
        )
    parts.append(field("License", ["MIT", *MIT.splitlines()]))
    return "\n".join(parts)


def without_apache(text):
    """Debian has this text on every machine, and wants it named."""
    pattern = r"[ \t]*Apache License\s+Version 2\.0, January 2004.*?END OF TERMS AND CONDITIONS"
    return re.sub(pattern, "(Apache License 2.0: see /usr/share/common-licenses/Apache-2.0)", text, flags=re.S)


def main():
    mode, platform = sys.argv[1:]
    data = metadata(platform)
    if mode == "check":
        return check(data)
    if mode == "copyright":
        return print(copyright_file(data), end="")
    crates, holders = collect(data)
    print("The library contains these crates, each under the licence that it names; where that leaves a choice, under the first\n"
          "of " + ", ".join(PREFERRED) + " among them.\n")
    for name in crates:
        print(f"  {name}")
    print("\nTheir notices and texts:")
    for text, names in holders.items():
        print(f"\n{'-' * 80}\n{', '.join(names)}\n{'-' * 80}\n\n{text}", end="")


if __name__ == "__main__":
    main()
