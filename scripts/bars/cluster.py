# SPDX-License-Identifier: Apache-2.0
"""What the bars and tests about whole clusters share: nodes on this machine, each in a home of its
own, started and stopped by the command line or by a parent that stands for the service manager.

Python's standard library only.  Everything a cluster makes lies below one temporary directory.
"""
import hashlib
import http.client
import json
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

ROOT = os.path.abspath(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", ".."))
BUILD = os.path.realpath(os.environ.get("TROUPE_BUILD_DIR", os.path.join(ROOT, "build")))
DEMO_MODEL = os.path.join(ROOT, "scripts", "demo-model", "model")
FIXED_ROLES = ("supervisor", "master", "planner", "downloader", "transferer", "gateway")


END_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


def end_by_signal(number, frame):
    """Whoever is told to end takes his nodes with him: the exception leaves every `with`."""
    del frame
    for each in END_SIGNALS:  # once: the nodes' end is not to be cut short
        signal.signal(each, lambda *_: None)
    raise SystemExit(128 + number)


def end_nodes_on_signals():
    """From here on, in the main thread, which alone may take signals."""
    if threading.current_thread() is threading.main_thread():
        for number in END_SIGNALS:
            signal.signal(number, end_by_signal)


class Failed(Exception):
    """The bar does not hold, or the cluster did not do what was asked; the sentence says what."""


def tool(name):
    path = os.path.join(BUILD, "runtime", "tools", name)
    if not os.path.isfile(path):
        sys.exit(f"there is no {path}; build first (ninja -C {BUILD})")
    return path


def engine_tool():
    path = os.path.join(BUILD, "actors", "runner", "engine", "troupe-engine")
    if not os.path.isfile(path):
        sys.exit(f"there is no {path}; build first (ninja -C {BUILD})")
    return path


# A broken invariant, a crash, a system call outside the filter, or what a sanitizer found.
OWN_DEATH = re.compile(r"broken invariant|killed by SIG(SEGV|ABRT|BUS|FPE|ILL|SYS)|"
                       r"ERROR: (?!Leak)\w+Sanitizer|WARNING: ThreadSanitizer|runtime error: ")


def free_port():
    """Below those the system gives to connections: it is free still when its node comes back."""
    while True:
        port = random.SystemRandom().randrange(20000, 30000)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
                return port
            except OSError:
                continue


def wait_for(what, condition, limit_s=30):
    end = time.monotonic() + limit_s
    while not condition():
        if time.monotonic() > end:
            raise Failed(f"{what}: not within {limit_s} s")
        time.sleep(0.05)


def processes_below(directory):
    """{pid: (role, parent, home)} of all processes of this build with a home below `directory`."""
    found = {}
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        try:
            with open(f"/proc/{entry}/cmdline", "rb") as file:
                words = file.read().decode(errors="replace").split("\0")
            try:
                program = os.readlink(f"/proc/{entry}/exe").removesuffix(" (deleted)")
            except PermissionError:  # an actor hides that from its own user
                program = os.path.realpath(words[0])
            if not program.startswith(BUILD + os.sep):
                continue
            with open(f"/proc/{entry}/stat", encoding="utf-8", errors="replace") as file:
                fields = file.read().rpartition(")")[2].split()
        except OSError:
            continue
        if fields[0] == "Z":
            continue
        line = " ".join(words).replace("--home=", "--home ")
        home = line.partition("--home ")[2].partition(" ")[0]
        role = os.path.basename(program).removeprefix("troupe-")
        if home.startswith(directory + os.sep) and role in FIXED_ROLES + ("launcher", "runner"):
            found[int(entry)] = (role, int(fields[1]), home)
    return found


def mapped_shared():
    """Names below /dev/shm that some process has mapped."""
    found = set()
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                with open(f"/proc/{entry}/maps", encoding="utf-8", errors="replace") as file:
                    found |= {line.partition("/dev/shm/")[2].strip() for line in file
                              if "/dev/shm/" in line}
            except OSError:
                continue
    return found


def snapshot(store, model):
    """The one snapshot of a model in a store in the hub's layout; None: there is none."""
    place = os.path.join(store, "models--" + model.replace("/", "--"), "snapshots")
    commits = os.listdir(place) if os.path.isdir(place) else []
    return os.path.join(place, commits[0]) if commits else None


def file_digest(path):
    """The SHA-256 of a file; None when it went, as one that was on its way does."""
    found = hashlib.sha256()
    try:
        with open(path, "rb") as file:
            while block := file.read(1 << 20):
                found.update(block)
    except FileNotFoundError:
        return None
    return found.hexdigest()


def stored_digests(node, model):
    """Name -> digest of the files of a stored model; those that are still written are not there."""
    place = node.stored(model)
    found = {name: file_digest(os.path.join(place, name)) for name in os.listdir(place)
             if not name.endswith(".troupe.new")} if place else {}
    return {name: value for name, value in found.items() if value}


class Node:
    """One node.  Its HTTP port is fixed, so that clients find it again."""

    def __init__(self, cluster, name):
        self.cluster = cluster
        self.name = name
        self.home = os.path.join(cluster.place, name)
        self.port = free_port()
        self.manager = None
        self.inside = []  # words before its commands, such as those that enter a namespace
        self.own = {}     # environment beside the cluster's

    @property
    def environment(self):
        return {**self.cluster.environment, **self.own}

    def settings(self):
        return ["--home", self.home, "--name", self.name, "--http", f"127.0.0.1:{self.port}",
                "--store", self.models]

    @property
    def models(self):
        """Its own store, never the user's cache."""
        return os.path.join(self.home, "models")

    def stored(self, model):
        """The directory of a model's files; None when it has none."""
        return snapshot(self.models, model)

    def troupe(self, *words, check=True, timeout=120, text=None):
        """Runs a command of the command line on this node."""
        run = subprocess.run([*self.inside, tool("troupe"), *words, "--home", self.home],
                             capture_output=True, text=True, check=False, timeout=timeout,
                             input=text, env=self.environment)
        if check and run.returncode != 0:
            raise Failed(f"troupe {words[0]} on {self.name} failed: {run.stderr.strip()}")
        return run

    def json(self, *words):
        return json.loads(self.troupe(*words, "--json").stdout)

    def up(self, *words):
        run = subprocess.run([*self.inside, tool("troupe"), "up", *self.settings(), *words],
                             capture_output=True, text=True, check=False, env=self.environment)
        if run.returncode != 0:
            raise Failed(f"troupe up of {self.name} failed: {run.stderr.strip()}")

    def join(self, other, token=None):
        token = token or other.json("token")["token"]
        run = subprocess.run([*self.inside, tool("troupe"), "join", "-", *self.settings()],
                             input=token, capture_output=True, text=True, check=False,
                             env=self.environment)
        if run.returncode != 0:
            raise Failed(f"troupe join of {self.name} failed: {run.stderr.strip()}")

    def stop(self):
        self.troupe("stop", check=False)

    def processes(self):
        """{role: pid} of the node's own; of several runners, one."""
        return {role: pid for pid, (role, _, home) in self.cluster.processes().items()
                if home == self.home}

    def listed(self, what):
        """What `troupe nodes`, `troupe models`... list."""
        value = self.json(what)
        return value.get(what, value) if isinstance(value, dict) else value

    def events(self):
        run = subprocess.run([tool("troupe-log"), "list", "--home", self.home, "--json"],
                             capture_output=True, text=True, check=False)
        if run.returncode != 0:
            raise Failed(f"troupe-log of {self.name} failed: {run.stderr.strip()}")
        return [json.loads(line) for line in run.stdout.splitlines()]

    def connect(self, timeout=15):
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)

    def request(self, method, path, body=None, timeout=15):
        """(status, JSON) of one request on a connection of its own."""
        connection = self.connect(timeout)
        try:
            connection.request(method, path, json.dumps(body) if body is not None else None,
                               {"Content-Type": "application/json"})
            answer = connection.getresponse()
            text = answer.read()
            return answer.status, json.loads(text) if text else None
        finally:
            connection.close()

    def chat(self, question, timeout=60, **settings):
        body = {"model": "demo", "temperature": 0,
                "messages": [{"role": "user", "content": question}], **settings}
        return self.request("POST", "/v1/chat/completions", body, timeout)


class ServiceManager(threading.Thread):
    """Stands for the parent of a supervisor: starts it again whenever it ends, unless held."""

    RESTART_S = 0.2

    def __init__(self, node):
        super().__init__(daemon=True)
        self.node = node
        self.process = None
        self.starts = []  # when
        self.may_run = threading.Event()
        self.is_over = False

    def run(self):
        with open(os.path.join(self.node.home, "service.log"), "ab") as log:
            while not self.is_over:
                if not self.may_run.wait(0.1):
                    continue
                self.starts.append(time.monotonic())
                self.process = subprocess.Popen(
                    [tool("troupe"), "up", "--foreground", *self.node.settings()],
                    stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
                    env=self.node.cluster.environment)
                self.process.wait()
                time.sleep(self.RESTART_S)

    def end(self):
        self.is_over = True
        self.may_run.clear()
        if self.process and self.process.poll() is None:
            self.process.terminate()
        self.join(60)
        if self.is_alive():
            raise Failed(f"the supervisor of {self.node.name} did not stop within 60 s of SIGTERM")


class Cluster:
    def __init__(self, names, **settings):
        """`settings` become environment variables TROUPE_NAME of all nodes."""
        end_nodes_on_signals()
        self.place = tempfile.mkdtemp(prefix="troupe-bar-")
        self.scratch = os.path.join(self.place, "tmp")
        os.mkdir(self.scratch)
        self.environment = {key: value for key, value in os.environ.items()
                            if not key.startswith("TROUPE_")}
        self.environment["TMPDIR"] = self.scratch
        self.environment.update({f"TROUPE_{key.upper()}": str(value)
                                 for key, value in settings.items()})
        self.shared_before = set(os.listdir("/dev/shm"))
        self.nodes = [Node(self, name) for name in names]
        self.is_kept = False

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        self.close()

    def start(self):
        self.nodes[0].up()
        for node in self.nodes[1:]:
            node.join(self.nodes[0])

    def wait_in_view(self):
        wait_for("all nodes in the view", lambda: sum(
            bool(node.get("in_view")) for node in self.nodes[0].listed("nodes")) ==
            len(self.nodes))

    def take_model(self, model=DEMO_MODEL, name="demo"):
        """Only the first node takes it in."""
        self.nodes[0].troupe("add", model, "--name", name)

    def place_model(self, sharding, mode="exact", name="demo"):
        words = ["place", name, "--sharding", sharding, "--mode", mode, "--wait"]
        if len(self.nodes) > 1:
            words += ["--min-nodes", str(len(self.nodes))]
        # A node that joined a moment ago has not said yet what it has.
        end = time.monotonic() + 10
        while True:
            run = self.nodes[0].troupe(*words, check=False)
            if run.returncode == 0:
                return
            if "not enough nodes" not in run.stderr or time.monotonic() > end:
                raise Failed(f"troupe place failed: {run.stderr.strip()}")
            time.sleep(0.1)

    def manage(self):
        """Stops the nodes and starts them again below parents that restart them."""
        for node in reversed(self.nodes):
            node.stop()
        for node in self.nodes:
            node.manager = ServiceManager(node)
            node.manager.may_run.set()
            node.manager.start()

    def processes(self):
        return processes_below(self.place)

    def stop(self):
        """Stops all nodes; returns what is left, as sentences."""
        for node in reversed(self.nodes):
            if node.manager:
                node.manager.end()
                node.manager = None
            elif os.path.isdir(node.home):
                node.stop()
        return self.left_over()

    def left_over(self):
        left = [f"process {pid}, {role} of {home}"
                for pid, (role, _, home) in self.processes().items()]
        for node in self.nodes:
            run = os.path.join(node.home, "run")
            for name in sorted(os.listdir(run)) if os.path.isdir(run) else []:
                mode = os.lstat(os.path.join(run, name)).st_mode
                if (mode & 0o170000) in (0o140000, 0o040000):
                    left.append(f"{node.name}/run/{name}")
        left += [f"TMPDIR/{name}" for name in os.listdir(self.scratch)]
        return left + self.left_shared() + self.own_deaths()

    def left_shared(self, limit_s=5):
        """Shared memory that nobody has mapped, and goes on so: other clusters may run beside."""
        ours = ("vader_segment", "sm_segment", "ompi", "troupe", "psm", "pmix")
        left = set(os.listdir("/dev/shm")) - self.shared_before
        end = time.monotonic() + limit_s
        while left and time.monotonic() < end:
            mapped = mapped_shared()
            left = {name for name in left & set(os.listdir("/dev/shm"))
                    if name.startswith(ours) and name not in mapped}
            time.sleep(0.1 if left else 0)
        return [f"/dev/shm/{name}" for name in sorted(left)]

    def own_deaths(self):
        """What the nodes wrote of processes that died by a fault of ours, as sentences."""
        found = []
        for node in self.nodes:
            for name in ("supervisor.log.1", "supervisor.log", "service.log"):
                path = os.path.join(node.home, name)
                if not os.path.exists(path):
                    continue
                with open(path, encoding="utf-8", errors="replace") as log:
                    found += [f"{node.name}/{name}: {line.strip()}" for line in log
                              if OWN_DEATH.search(line)]
        return found

    def keep(self):
        """What the homes hold now stays, for somebody to look at."""
        self.is_kept = True

    def close(self):
        try:
            self.stop()
        except Failed as failure:
            print(failure, file=sys.stderr)
        for pid in self.processes():
            os.kill(pid, signal.SIGKILL)
        if self.is_kept:
            print(f"kept: {self.place}", flush=True)
        else:
            shutil.rmtree(self.place, ignore_errors=True)
