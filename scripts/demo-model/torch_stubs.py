#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Make a registry torch wheel importable on a CPU-only machine without the CUDA
runtime packages: for each missing NEEDED library write a stub shared object that
defines the undefined symbols (with their version tags) the torch libraries expect.

usage: torch_stubs.py SITE_PACKAGES/torch/lib
"""

import collections, re, shutil, subprocess, sys, tempfile
from pathlib import Path

if len(sys.argv) != 2:
    raise SystemExit(__doc__)
lib = Path(sys.argv[1])
out = lambda *a: subprocess.run(a, capture_output=True, text=True).stdout
have = {p.name for p in lib.iterdir()}
objs = [p for p in lib.glob("*.so*") if not p.is_symlink()]
defined, undef, need = set(), {}, collections.defaultdict(set)
for p in objs:
    for m in re.finditer(r"NEEDED.*\[(.*?)\]", out("readelf", "-d", str(p))):
        need[m[1]].add(p.name)
pat = re.compile(r"^lib(cu|nv|nccl)")
missing = sorted(n for n in need if n not in have and pat.match(n))
print("missing:", missing)
prefix = [
    ("libcudart", r"cuda[A-Z]|__cuda"),
    ("libcublasLt", r"cublasLt"),
    ("libcublas", r"cublas"),
    ("libcudnn", r"cudnn"),
    ("libcusparseLt", r"cusparseLt"),
    ("libcusparse", r"cusparse"),
    ("libcufft", r"cufft"),
    ("libcusolver", r"cusolver"),
    ("libcupti", r"cupti"),
    ("libnccl", r"nccl|pnccl"),
    ("libcufile", r"cuFile"),
    ("libnvrtc", r"nvrtc"),
    ("libnvshmem", r"nvshmem"),
]
syms = collections.defaultdict(lambda: collections.defaultdict(set))
for p in objs:
    ver_owner = {}
    cur = None
    for line in out("readelf", "-VW", str(p)).splitlines():
        m = re.search(r"File: (\S+)", line)
        if m:
            cur = m[1]
        m = re.search(r"Name: (\S+)\s+Flags", line)
        if m and cur:
            ver_owner[m[1]] = cur
    for line in out("readelf", "--dyn-syms", "-W", str(p)).splitlines():
        f = line.split()
        if len(f) < 8 or f[6] != "UND":
            continue
        name = f[7]
        base, _, ver = name.partition("@")
        ver = ver.lstrip("@")
        owner = ver_owner.get(ver)
        if owner in missing:
            syms[owner][ver].add(base)
        elif not ver:
            for lp, rx in prefix:
                if re.match(rx, base):
                    for n in missing:
                        if re.match(re.escape(lp) + r"\.so|" + re.escape(lp) + r"_host\.so", n):
                            syms[n][""].add(base)
                    break
ERR = "100"  # cudaErrorNoDevice
work = Path(tempfile.mkdtemp())
for n in missing:
    src, ver = [], []
    for v, names in syms[n].items():
        for s in sorted(names):
            r = "0" if s.startswith("__cuda") else ERR
            src.append(f"long {s}(void){{return {r};}}")
        if v:
            ver.append(v + " { global: " + "; ".join(sorted(names)) + "; };")
    (work / "stub.c").write_text("\n".join(src) or "int stub_;")
    args = [
        "gcc",
        "-O1",
        "-fno-builtin",
        "-w",
        "-shared",
        "-fPIC",
        f"-Wl,-soname,{n}",
        "-o",
        str(lib / n),
        str(work / "stub.c"),
    ]
    if ver:
        (work / "stub.map").write_text("\n".join(ver))
        args.append(f"-Wl,--version-script={work}/stub.map")
    r = subprocess.run(args, capture_output=True, text=True)
    print(n, sum(len(x) for x in syms[n].values()), r.stderr[:300])
shutil.rmtree(work)
