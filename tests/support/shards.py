# SPDX-License-Identifier: Apache-2.0
"""A model in several weight files, as the large ones are: a copy of a directory with one.

Python's standard library only.
"""
import json
import os
import shutil

SINGLE = "model.safetensors"
INDEX = "model.safetensors.index.json"


def read_single(path):
    """Header and bytes of a safetensors file."""
    with open(path, "rb") as file:
        size = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(size))
        return header, file.read()


def write_single(path, header, tensors, content):
    told, at = {}, 0
    parts = []
    if "__metadata__" in header:
        told["__metadata__"] = header["__metadata__"]
    for name in tensors:
        first, end = header[name]["data_offsets"]
        parts.append(content[first:end])
        told[name] = {**header[name], "data_offsets": [at, at + end - first]}
        at += end - first
    text = json.dumps(told).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text + b"".join(parts))


def in_shards(source, target, count):
    """The names of its weight files, of about one size."""
    shutil.copytree(source, target)
    header, content = read_single(os.path.join(target, SINGLE))
    os.unlink(os.path.join(target, SINGLE))
    tensors = sorted(name for name in header if name != "__metadata__")
    groups, weight_map, done = [[] for _ in range(count)], {}, 0
    names = [f"model-{i + 1:05d}-of-{count:05d}.safetensors" for i in range(count)]
    for name in tensors:
        first, end = header[name]["data_offsets"]
        at = min(count - 1, done * count // max(1, len(content)))
        groups[at].append(name)
        weight_map[name] = names[at]
        done += end - first
    for name, group in zip(names, groups):
        write_single(os.path.join(target, name), header, group, content)
    with open(os.path.join(target, INDEX), "w", encoding="utf-8") as file:
        json.dump({"metadata": {"total_size": len(content)}, "weight_map": weight_map}, file)
    return names
