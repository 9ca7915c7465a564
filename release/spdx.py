#!/usr/bin/env python3
"""spdx.py BILL NAME: prints a bill of material in CycloneDX (image/sbom.sh) as SPDX 2.3 (https://spdx.github.io/spdx-spec/v2.3/)."""

import datetime
import hashlib
import json
import os
import sys

ALGORITHMS = {"SHA-1": "SHA1", "SHA-256": "SHA256", "SHA-384": "SHA384", "SHA-512": "SHA512"}


def licence(component):
    """The licence that a component declares: an SPDX expression, or an identifier."""
    for entry in component.get("licenses", []):
        found = entry.get("expression") or entry.get("license", {}).get("id")
        if found:
            # crates.io's old way to write OR.
            return " ".join(found.replace("/", " OR ").split())
    return "NOASSERTION"


def package(component, identifier):
    result = {
        "SPDXID": identifier,
        "name": component["name"],
        "downloadLocation": "NOASSERTION",
        "filesAnalyzed": False,
        "licenseConcluded": "NOASSERTION",
        "licenseDeclared": licence(component),
        "copyrightText": "NOASSERTION",
    }
    if component.get("version"):
        result["versionInfo"] = component["version"]
    sums = [hash for hash in component.get("hashes", []) if hash["alg"] in ALGORITHMS]
    if sums:
        result["checksums"] = [{"algorithm": ALGORITHMS[hash["alg"]], "checksumValue": hash["content"]} for hash in sums]
    if component.get("purl"):
        locator = {"referenceCategory": "PACKAGE-MANAGER", "referenceType": "purl", "referenceLocator": component["purl"]}
        result["externalRefs"] = [locator]
    return result


def convert(bill, name, created):
    root = bill["metadata"]["component"]
    components = [root] + sorted(bill.get("components", []), key=lambda component: component["bom-ref"])
    identifiers = {component["bom-ref"]: f"SPDXRef-Package-{index}" for index, component in enumerate(components)}
    relationships = [("SPDXRef-DOCUMENT", "DESCRIBES", identifiers[root["bom-ref"]])]
    for dependency in bill.get("dependencies", []):
        for needed in dependency.get("dependsOn", []):
            if dependency["ref"] in identifiers and needed in identifiers:
                relationships.append((identifiers[dependency["ref"]], "DEPENDS_ON", identifiers[needed]))
    digest = hashlib.sha256(json.dumps(bill, sort_keys=True).encode()).hexdigest()
    return {
        "spdxVersion": "SPDX-2.3",
        "dataLicense": "CC0-1.0",
        "SPDXID": "SPDXRef-DOCUMENT",
        "name": name,
        "documentNamespace": f"https://gitward.dev/spdx/{name}-{digest}",
        "creationInfo": {"created": created, "creators": ["Organization: gitward", "Tool: gitward-release-spdx.py"]},
        "packages": [package(component, identifiers[component["bom-ref"]]) for component in components],
        "relationships": [
            {"spdxElementId": element, "relationshipType": kind, "relatedSpdxElement": related}
            for element, kind, related in sorted(set(relationships))
        ],
    }


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        bill = json.load(file)
    epoch = datetime.datetime.fromtimestamp(int(os.environ["SOURCE_DATE_EPOCH"]), datetime.timezone.utc)
    document = convert(bill, sys.argv[2], epoch.strftime("%Y-%m-%dT%H:%M:%SZ"))
    print(json.dumps(document, indent=1, sort_keys=True))


if __name__ == "__main__":
    main()
