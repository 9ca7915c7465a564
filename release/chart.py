#!/usr/bin/env python3
"""chart.py CONFIG: reads the metadata of a chart as helm's templates have it from standard input, writes them to CONFIG as `helm push` stores them,
and prints the annotations that it gives the manifest."""

import datetime
import json
import os
import re
import sys


def field(name):
    """A field of Go as Chart.yaml names it: APIVersion is apiVersion."""
    return re.sub(r"^([A-Z]+(?=[A-Z])|[A-Z])", lambda match: match.group().lower(), name)


def main():
    metadata = {field(name): value for name, value in json.load(sys.stdin).items() if value and name != "IsRoot"}
    with open(sys.argv[1], "w", encoding="utf-8") as config:
        json.dump(metadata, config, separators=(",", ":"))
    created = datetime.datetime.fromtimestamp(int(os.environ["SOURCE_DATE_EPOCH"]), datetime.timezone.utc)
    annotations = {
        "created": created.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "description": metadata["description"],
        "title": metadata["name"],
        "version": metadata["version"],
    }
    print(json.dumps({f"org.opencontainers.image.{name}": value for name, value in annotations.items()}))


if __name__ == "__main__":
    main()
