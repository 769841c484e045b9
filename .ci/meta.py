#!/usr/bin/env python3
"""META.json is what PGXN's specification 1.0.0 asks for; it, debian/ and Cargo.toml say the same."""

import json
import os
import re
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
LICENSES = {
    "agpl_3", "apache_1_1", "apache_2_0", "artistic_1", "artistic_2", "bsd", "freebsd", "gfdl_1_2", "gfdl_1_3", "gpl_1", "gpl_2",
    "gpl_3", "lgpl_2_1", "lgpl_3_0", "mit", "mozilla_1_0", "mozilla_1_1", "openssl", "perl_5", "postgresql", "qpl_1_0", "ssleay",
    "sun", "zlib", "open_source", "restricted", "unrestricted", "unknown",
}
KEYS = {
    "abstract", "description", "generated_by", "license", "maintainer", "meta-spec", "name", "no_index", "prereqs", "provides",
    "release_status", "resources", "tags", "version",
}
# Semantic Versioning 1.0 with PGXN's dash.
VERSION = re.compile(r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)(-?[a-zA-Z][-0-9A-Za-z]*)?")
TERM = re.compile(r"[^\s/\\\x00-\x1f\x7f]{2,}")


def faults(meta, cargo, versions, changelog):
    """
    >>> faults({}, "", [], "")[0]
    'required: abstract'
    """
    for key in ("abstract", "license", "maintainer", "meta-spec", "name", "provides", "version"):
        if not meta.get(key):
            return [f"required: {key}"]
    wrong = []
    require = lambda holds, text: None if holds else wrong.append(text)
    for key in meta:
        require(key in KEYS or re.match("[xX]_", key), f"unknown key {key}")
    require(TERM.fullmatch(meta["name"]), "name is no term")
    require(meta["license"] in LICENSES, "license is no word of the specification")
    require(meta.get("release_status", "stable") in ("stable", "testing", "unstable"), "release_status")
    require(meta["meta-spec"].get("version") == "1.0.0", "meta-spec.version")
    for of in (meta, *meta["provides"].values()):
        require(VERSION.fullmatch(of.get("version", "")), f"{of.get('version')} is no semantic version")
        require(f'\nversion = "{of.get("version")}"\n' in cargo, f"Cargo.toml has another version than {of.get('version')}")
    oldest = meta.get("prereqs", {}).get("runtime", {}).get("requires", {}).get("PostgreSQL")
    require(oldest == f"{versions[0]}.0.0", f"debian/pgversions begins with another version than {oldest}")
    require(changelog.startswith(f"scope-roles ({meta['version']}-"), "debian/changelog begins with another version")
    for name, extension in meta["provides"].items():
        require(TERM.fullmatch(name), f"{name} is no term")
        for key in ("file", "docfile"):
            path = extension.get(key, "" if key == "file" else "README.md")
            require(os.path.isfile(os.path.join(ROOT, path)), f"provides.{name}.{key} is no file")
    for phase, kinds in meta.get("prereqs", {}).items():
        require(phase in ("configure", "build", "test", "runtime", "develop"), f"prereqs.{phase}")
        for kind, needs in kinds.items():
            require(kind in ("requires", "recommends", "suggests", "conflicts"), f"prereqs.{phase}.{kind}")
            for version in needs.values():
                for each in re.split(r"\s*,\s*", str(version)):
                    require(each == "0" or VERSION.fullmatch(re.sub(r"^(>=|<=|==|!=|<|>)\s*", "", each)), f"{each} is no version")
    for tag in meta.get("tags", []):
        require(isinstance(tag, str) and 0 < len(tag) < 256 and not re.search(r"[/\\\x00-\x1f]", tag), f"tag {tag}")
    return wrong


def read(name):
    with open(os.path.join(ROOT, name), encoding="utf-8") as file:
        return file.read()


if __name__ == "__main__":
    versions = re.findall(r"^\d+$", read("debian/pgversions"), re.M)
    wrong = faults(json.loads(read("META.json")), read("Cargo.toml"), versions, read("debian/changelog"))
    if wrong:
        sys.exit("META.json: " + "; ".join(wrong))
