# SPDX-License-Identifier: Apache-2.0
"""Two nodes, `a` and `b`, each in a network namespace of its own, with a link of a given rate
between them.  Needs root, ip and tc."""
import json
import os
import shutil
import subprocess

from cluster import DEMO_MODEL, ROOT, processes_below, snapshot, tool

SPACES = {"a": ("troupe-bar-a", "10.203.7.1"), "b": ("troupe-bar-b", "10.203.7.2")}


def run(*words, check=True, **more):
    done = subprocess.run(words, capture_output=True, text=True, check=False, **more)
    if check and done.returncode != 0:
        raise RuntimeError(f"{' '.join(words)}: {(done.stderr or done.stdout).strip()}")
    return done


def inside(name, *words):
    return ["ip", "netns", "exec", SPACES[name][0], *words]


def make_link(gbit):
    for space, _ in SPACES.values():
        run("ip", "netns", "delete", space, check=False)
        run("ip", "netns", "add", space)
    run("ip", "link", "add", "veth", "netns", SPACES["a"][0], "type", "veth", "peer", "name",
        "veth", "netns", SPACES["b"][0])
    for name, (_, address) in SPACES.items():
        run(*inside(name, "ip", "address", "add", f"{address}/24", "dev", "veth"))
        run(*inside(name, "ip", "link", "set", "veth", "up"))
        run(*inside(name, "ip", "link", "set", "lo", "up"))
        if gbit:
            run(*inside(name, "tc", "qdisc", "add", "dev", "veth", "root", "tbf", "rate",
                        f"{gbit}gbit", "burst", "4mb", "latency", "20ms"))


def drop_link():
    for space, _ in SPACES.values():
        run("ip", "netns", "delete", space, check=False)


def make_model(path, shape):
    """A model of random weights that nodes take in; its size in bytes."""
    run(os.path.join(ROOT, "scripts", "make_shape_model"), path, shape)
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        shutil.copy(os.path.join(DEMO_MODEL, name), path)
    return sum(os.path.getsize(os.path.join(path, name)) for name in os.listdir(path))


class Node:
    def __init__(self, place, name, **environment):
        self.name = name
        self.home = os.path.join(place, name)
        self.environment = dict(os.environ, **environment)
        self.models = os.path.join(place, "store-" + name)
        self.settings = ["--home", self.home, "--name", name, "--http", "127.0.0.1:0",
                         "--listen", SPACES[name][1] + ":0", "--store", self.models]

    def troupe(self, *words, **more):
        return run(*inside(self.name, tool("troupe"), *words), env=self.environment, **more)

    def told(self, *words, **more):
        return self.troupe(*words, "--home", self.home, **more)

    def up(self):
        return self.troupe("up", *self.settings)

    def join(self, other):
        token = json.loads(other.told("token", "--json").stdout)["token"]
        return self.troupe("join", "-", *self.settings, input=token)

    def stored(self, model):
        """The directory of a model's files; None when it has none."""
        return snapshot(self.models, model)

    def stop(self):
        return self.told("stop", check=False)

    def processes(self, role=None):
        """Process ids of its actors, or of those of one role."""
        return [pid for pid, (its, _, home) in processes_below(os.path.dirname(self.home)).items()
                if home == self.home and role in (None, its)]

    def cpu_s(self):
        """Of its transferer."""
        spent = 0
        for pid in self.processes("transferer"):
            try:
                with open(f"/proc/{pid}/stat", encoding="utf-8") as file:
                    fields = file.read().rpartition(")")[2].split()
                spent += int(fields[11]) + int(fields[12])
            except OSError:
                continue
        return spent / os.sysconf("SC_CLK_TCK")
