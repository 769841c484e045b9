#!/usr/bin/env python3
"""sbom.py PLATFORM: the parts of the library as a CycloneDX 1.6 bill of materials, out of `cargo metadata` and Cargo.lock.

The same sources give the same bill: its time is SOURCE_DATE_EPOCH, its number comes from what is in it.
"""

import datetime
import json
import os
import re
import subprocess
import sys
import tomllib
import uuid

import licenses


def component(package, checksums):
    """A crate as CycloneDX has it.

    >>> part = component({"name": "a", "version": "1.0.0", "license": "MIT/ISC", "repository": None}, {("a", "1.0.0"): "0f"})
    >>> part["purl"], part["licenses"], part["hashes"]
    ('pkg:cargo/a@1.0.0', [{'expression': 'MIT OR ISC'}], [{'alg': 'SHA-256', 'content': '0f'}])
    """
    purl = f"pkg:cargo/{package['name']}@{package['version']}"
    part = {"type": "library", "bom-ref": purl, "name": package["name"], "version": package["version"], "purl": purl,
            "licenses": [{"expression": package["license"].replace("/", " OR ")}]}
    checksum = checksums.get((package["name"], package["version"]))
    if checksum:
        part["hashes"] = [{"alg": "SHA-256", "content": checksum}]
    if package.get("repository"):
        part["externalReferences"] = [{"type": "vcs", "url": package["repository"]}]
    return part


def rust():
    """The standard library."""
    version = subprocess.run(["rustc", "--version"], check=True, stdout=subprocess.PIPE, text=True).stdout.split()[1]
    return {"type": "library", "bom-ref": f"pkg:generic/rust-std@{version}", "name": "rust-std", "version": version,
            "purl": f"pkg:generic/rust-std@{version}", "licenses": [{"expression": "MIT OR Apache-2.0"}]}


def aws_lc(package):
    """The C library in its crate, by the version that advisories name."""
    header = os.path.join(os.path.dirname(package["manifest_path"]), "aws-lc/include/openssl/base.h")
    with open(header, encoding="utf-8") as file:
        version = re.search(r'#define AWSLC_VERSION_NUMBER_STRING "([^"]+)"', file.read())[1]
    purl = f"pkg:github/aws/aws-lc@v{version}"
    return {"type": "library", "bom-ref": purl, "name": "aws-lc", "version": version, "purl": purl,
            "licenses": [{"expression": package["license"]}]}


def bill(data, lock, time):
    checksums = {(p["name"], p["version"]): p.get("checksum") for p in lock["package"]}
    packages = {p["id"]: p for p in data["packages"]}
    root = packages[data["resolve"]["root"]]
    shipped = licenses.shipped(data)
    ref = lambda package: f"pkg:cargo/{package['name']}@{package['version']}"
    inside = {p["id"] for p in [root, *shipped]}
    needs = {
        ref(packages[node["id"]]): sorted(
            ref(packages[d["pkg"]]) for d in node["deps"] if d["pkg"] in inside and any(kind["kind"] is None for kind in d["dep_kinds"])
        )
        for node in data["resolve"]["nodes"] if node["id"] in inside
    }
    others = [rust()]
    needs[ref(root)].append(others[0]["bom-ref"])
    for package in shipped:
        if package["name"] == "aws-lc-sys":
            others.append(aws_lc(package))
            needs[ref(package)].append(others[-1]["bom-ref"])
    needs.update({part["bom-ref"]: [] for part in others})
    answer = {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "timestamp": datetime.datetime.fromtimestamp(time, datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "lifecycles": [{"phase": "build"}],
            "component": {**component(root, checksums), "description": root["description"]},
        },
        "components": sorted([*(component(p, checksums) for p in shipped), *others], key=lambda part: part["bom-ref"]),
        "dependencies": [{"ref": name, "dependsOn": needs[name]} for name in sorted(needs)],
    }
    answer["serialNumber"] = f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, json.dumps(answer, sort_keys=True))}"
    return answer


if __name__ == "__main__":
    with open(os.path.join(licenses.ROOT, "Cargo.lock"), "rb") as file:
        lock = tomllib.load(file)
    made = bill(licenses.metadata(sys.argv[1]), lock, int(os.environ["SOURCE_DATE_EPOCH"]))
    print(json.dumps(made, indent=2, ensure_ascii=False))
