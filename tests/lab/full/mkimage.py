#!/usr/bin/python3
"""Puts a container image together as a docker archive: mkimage.py OUT.tar NAME:TAG [--entrypoint WORD]... LAYER...

A LAYER is dir:FOLDER (all that is in the folder) or files:SOURCE=PATH[,SOURCE=PATH]... (programs, mode 0755).
The same input gives the same bytes: owners and times are fixed, entries sorted. An image is named by what is in it.
"""

import argparse
import hashlib
import io
import json
import os
import sys
import tarfile
import tempfile

EPOCH = 0
PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def plain(entry):
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = ""
    entry.mtime = EPOCH
    return entry


def add_program(layer, source, path):
    entry = plain(layer.gettarinfo(source, arcname=path.lstrip("/")))
    entry.mode = 0o755
    with open(source, "rb") as content:
        layer.addfile(entry, content)


def write_layer(spec, output):
    """Writes one layer and returns the digest of its bytes."""
    kind, _, argument = spec.partition(":")
    with tarfile.open(fileobj=output, mode="w", format=tarfile.GNU_FORMAT) as layer:
        if kind == "dir":
            for name in sorted(os.listdir(argument)):
                layer.add(os.path.join(argument, name), arcname=name, filter=plain)
        elif kind == "files":
            for pair in argument.split(","):
                source, path = pair.split("=")
                add_program(layer, os.path.realpath(source), path)
        else:
            sys.exit("mkimage: %s: a layer is dir:FOLDER or files:SOURCE=PATH,..." % spec)
    output.seek(0)
    digest = hashlib.sha256()
    for block in iter(lambda: output.read(1 << 20), b""):
        digest.update(block)
    return digest.hexdigest()


def configuration(entrypoint, digests):
    created = "1970-01-01T00:00:00Z"
    return json.dumps({
        "architecture": "amd64", "os": "linux", "created": created,
        "config": {"Entrypoint": entrypoint or None, "Env": [PATH], "WorkingDir": "/"},
        "rootfs": {"type": "layers", "diff_ids": ["sha256:" + digest for digest in digests]},
        "history": [{"created": created, "created_by": "kpeer lab"} for _ in digests],
    }, sort_keys=True).encode()


def add_bytes(archive, name, content):
    entry = plain(tarfile.TarInfo(name))
    entry.size = len(content)
    archive.addfile(entry, io.BytesIO(content))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output")
    parser.add_argument("reference")
    parser.add_argument("layers", nargs="+", metavar="LAYER")
    parser.add_argument("--entrypoint", action="append", default=[], metavar="WORD")
    args = parser.parse_args()

    with tarfile.open(args.output, "w", format=tarfile.GNU_FORMAT) as archive:
        digests = []
        for spec in args.layers:
            with tempfile.TemporaryFile(dir=os.path.dirname(os.path.abspath(args.output))) as layer:
                digest = write_layer(spec, layer)
                if digest not in digests:
                    entry = plain(tarfile.TarInfo(digest + ".tar"))
                    entry.size = layer.seek(0, os.SEEK_END)
                    layer.seek(0)
                    archive.addfile(entry, layer)
                digests.append(digest)
        config = configuration(args.entrypoint, digests)
        name = hashlib.sha256(config).hexdigest() + ".json"
        add_bytes(archive, name, config)
        add_bytes(archive, "manifest.json", json.dumps([{
            "Config": name, "RepoTags": [args.reference], "Layers": [digest + ".tar" for digest in digests],
        }]).encode())


if __name__ == "__main__":
    main()
