#!/usr/bin/env python3
"""provenance.py SUMS: prints how the files of a list by sha256sum(1) were built, as an in-toto statement with SLSA provenance v1
(https://slsa.dev/spec/v1.0/provenance).

It says what ran where, and claims no SLSA level: who signs the statement vouches for it. Nothing in it is of the moment of the build, so that
a second build on a machine of the same kind gives the same statement.
"""

import hashlib
import json
import os
import pathlib
import subprocess
import sys

REPOSITORY = pathlib.Path(__file__).resolve().parent.parent
SOURCE = os.environ.get("SOURCE_URL", "https://github.com/gitward/gitward")


def output(*command):
    """What a command prints, or "unknown"."""
    try:
        return subprocess.run(command, cwd=REPOSITORY, check=True, capture_output=True, text=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def subjects(sums):
    lines = (line.rstrip("\n").split("  ", 1) for line in sums)
    return [{"name": name, "digest": {"sha256": digest}} for digest, name in lines]


def dependency(name):
    """A file of the repository that pins what is built in."""
    return {"uri": name, "digest": {"sha256": hashlib.sha256((REPOSITORY / name).read_bytes()).hexdigest()}}


def builder():
    """Where this runs: a hosted runner of GitHub with its workflow, or a machine of which nothing is known."""
    versions = {"rustc": output("rustc", "--version"), "cargo": output("cargo", "--version"), "go": output("go", "env", "GOVERSION")}
    if os.environ.get("GITHUB_ACTIONS") == "true":
        server = os.environ["GITHUB_SERVER_URL"]
        workflow = f"{server}/{os.environ['GITHUB_WORKFLOW_REF']}"
        run = f"{server}/{os.environ['GITHUB_REPOSITORY']}/actions/runs/{os.environ['GITHUB_RUN_ID']}"
        return {"builder": {"id": workflow, "version": versions}, "metadata": {"invocationId": run}}
    return {"builder": {"id": "https://gitward.dev/release/builders/unhosted", "version": versions}}


def main():
    with open(sys.argv[1], encoding="utf-8") as sums:
        subject = subjects(sums)
    commit = output("git", "rev-parse", "HEAD")
    modified = output("git", "status", "--porcelain") not in ("", "unknown")
    pins = ["Cargo.lock", "release/requirements.txt", "tests/cluster/tools/helm/go.sum", "tests/cluster/tools/kustomize/go.sum"]
    statement = {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": subject,
        "predicateType": "https://slsa.dev/provenance/v1",
        "predicate": {
            "buildDefinition": {
                "buildType": "https://gitward.dev/release/make-dist/v1",
                "externalParameters": {"source": SOURCE, "commit": commit, "target": "make dist"},
                "internalParameters": {"workTree": "modified" if modified else "clean"},
                "resolvedDependencies": [{"uri": f"git+{SOURCE}", "digest": {"gitCommit": commit}}] + [dependency(name) for name in pins],
            },
            "runDetails": builder(),
        },
    }
    print(json.dumps(statement, indent=1, sort_keys=True))


if __name__ == "__main__":
    main()
