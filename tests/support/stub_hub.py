#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A model hub on loopback that speaks as huggingface.co does, and misbehaves when told to.

usage: tests/support/stub_hub.py DIR [--repo ORG/NAME] [--log FILE]
       serves the files of DIR as one repository until it is ended; prints HF_ENDPOINT

Two servers: the hub, and a "CDN" on another port to which it sends those who ask for large files.
As a library: Repository, Fault and StubHub.  Every request is one line of JSON in the log.

Checked against the huggingface_hub client by tests/support/check_stub_hub.py.
"""
import argparse
import collections
import email.utils
import gzip
import hashlib
import http.server
import json
import os
import re
import socket
import socketserver
import ssl
import sys
import threading
import time
import urllib.parse

PAGE_SIZE = 1000
LFS_SIZE = 10 << 20      # plain git holds what is smaller, unless the name says otherwise
LFS_NAMES = (".safetensors", ".bin", ".gguf", ".model")
PIECE = 64 << 10


class Content:
    """The bytes of one file: in memory or on disk."""

    def __init__(self, source):
        self.source = source
        self.size = len(source) if isinstance(source, bytes) else os.path.getsize(source)
        sha256 = hashlib.sha256()
        sha1 = hashlib.sha1(b"blob %d\0" % self.size)
        for piece in self.pieces(0, self.size):
            sha256.update(piece)
            sha1.update(piece)
        self.sha256, self.sha1 = sha256.hexdigest(), sha1.hexdigest()

    def pieces(self, first, end):
        if isinstance(self.source, bytes):
            for at in range(first, end, PIECE):
                yield self.source[at:min(end, at + PIECE)]
            return
        with open(self.source, "rb") as file:
            file.seek(first)
            while first < end:
                piece = file.read(min(PIECE, end - first))
                first += len(piece)
                yield piece


class Repository:
    """Files of one commit; `files` maps a path to bytes or to the name of a file on disk."""

    def __init__(self, name, files, gated=False, private_token=None, license_text="apache-2.0"):
        self.name = name
        self.gated = gated                  # True: nobody has access; a token: its owner has
        self.private_token = private_token  # only with this token does it exist
        self.license_text = license_text
        self.branches = {}
        self.commits = {}
        self.commit(files)

    def commit(self, files, branch="main"):
        held = {path: source if isinstance(source, Content) else Content(source)
                for path, source in files.items()}
        key = json.dumps([(path, one.sha256) for path, one in sorted(held.items())])
        sha = hashlib.sha1((self.name + key).encode()).hexdigest()
        self.commits[sha] = held
        self.branches[branch] = sha
        return sha

    @classmethod
    def of_directory(cls, name, directory, **options):
        files = {}
        for folder, _, names in os.walk(directory):
            for one in names:
                path = os.path.join(folder, one)
                files[os.path.relpath(path, directory)] = path
        return cls(name, files, **options)

    def resolve(self, revision):
        sha = self.branches.get(revision, revision)
        return sha if sha in self.commits else None

    @property
    def files(self):
        return self.commits[self.branches["main"]]


class Fault:
    """What goes wrong, with which requests, how often.

    kind: status (status=, headers=, body=), rate_limit (seconds=, style=), ignore_range, gzip,
    stall (after=, seconds=), truncate (after=), flip (at= one place or several, flips= of the one
    place), endless, slow (rate=),
    redirect (to=), call (run=).  `match` is a pattern of "METHOD host path", with host hub or cdn.
    """

    def __init__(self, kind, match=".", times=1, skip=0, **options):
        self.kind, self.match, self.times, self.skip = kind, re.compile(match), times, skip
        self.options = options
        self.count = 0
        at = options.get("at", 0)
        self.places = list(at) if isinstance(at, (list, tuple)) else [at] * options.get("flips", 1)

    def get(self, name, default=None):
        return self.options.get(name, default)


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "stub", ""
    timeout = 60

    def log_message(self, *_):
        pass

    def do_HEAD(self):
        self.serve()

    def do_GET(self):
        self.serve()

    def do_CONNECT(self):
        """Of whoever takes this for a proxy to a host by TLS: it is noted and refused."""
        self.server.stub.begin({"host": self.server.role, "method": "CONNECT", "path": self.path,
                                "headers": {}, "status": 403, "sent": 0})
        self.send_error(403)

    # ---- what each request does ----

    def serve(self):
        hub = self.server.stub
        self.row = {"time": time.monotonic(), "host": self.server.role, "method": self.command,
                    "path": self.path, "range": self.headers.get("Range"),
                    "headers": {key.lower(): value for key, value in self.headers.items()},
                    "status": None, "sent": 0}
        hub.begin(self.row)
        self.fault = hub.fault_of(f"{self.command} {self.server.role} {self.path}")
        try:
            if not self.fault_answer():
                self.route(urllib.parse.urlsplit(self.path))
        except (BrokenPipeError, ConnectionResetError, TimeoutError):
            self.close_connection = True
        finally:
            hub.log(self.row)

    def fault_answer(self):
        fault = self.fault
        if not fault:
            return False
        if fault.kind == "call":
            fault.get("run")()
            self.fault = None
        elif fault.kind == "status":
            body = fault.get("body", b"")
            self.answer(fault.get("status"), body, dict(fault.get("headers", {})))
            return True
        elif fault.kind == "rate_limit":
            seconds = fault.get("seconds", 1)
            styles = {"ratelimit": {"ratelimit": f'"api";r=0;t={seconds}',
                                    "ratelimit-policy": '"fixed window";"api";q=500;w=300'},
                      "retry-after": {"Retry-After": str(seconds)}, "none": {},
                      "date": {"Retry-After": email.utils.formatdate(
                          int(time.time()) + 1 + seconds, usegmt=True)}}
            self.row["rate_limited_s"] = seconds
            self.answer(429, b'{"error":"rate limited"}', styles[fault.get("style", "ratelimit")])
            return True
        elif fault.kind == "redirect":
            self.answer(fault.get("status", 302), b"", {"Location": fault.get("to")(self)})
            return True
        return False

    def answer(self, status, body=b"", headers=None):
        self.row["status"] = status
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
            self.row["sent"] += len(body)

    def refuse(self, status, code, sentence):
        self.answer(status, json.dumps({"error": sentence}).encode(),
                    {"X-Error-Code": code, "X-Error-Message": sentence,
                     "Content-Type": "application/json"} if code else {})

    def route(self, url):
        hub = self.server.stub
        path = urllib.parse.unquote(url.path)
        if self.server.role == "cdn":
            self.route_cdn(path)
            return
        for old, new in hub.renamed.items():
            for prefix in ("/api/models/", "/"):
                if path.startswith(prefix + old + "/"):
                    self.answer(307, b"", {"Location": self.path.replace(old, new, 1)})
                    return
        found = re.fullmatch(r"/api/models/(.+?)/(revision|tree)/([^/]+)/?", path)
        if found:
            self.api(*found.groups(), urllib.parse.parse_qs(url.query))
            return
        found = re.fullmatch(r"/(.+?)/resolve/([^/]+)/(.+)", path)
        if found:
            self.resolve(*found.groups())
            return
        found = re.fullmatch(r"/api/resolve-cache/models/(.+)/([0-9a-f]{40})/(.+)", path)
        if found:
            repository = self.find(found.group(1))
            if repository:
                self.send_content(repository.commits[found.group(2)][found.group(3)],
                                  {"X-Repo-Commit": found.group(2)}, plain=True)
            return
        self.refuse(404, "", "Not Found")

    def find(self, name):
        hub = self.server.stub
        repository = hub.repositories.get(name)
        token = (self.headers.get("Authorization") or "").removeprefix("Bearer ")
        if not repository or (repository.private_token and token != repository.private_token):
            # As the hub does: who is not known is not told what exists.
            if token:
                self.refuse(404, "RepoNotFound", "Repository not found")
            else:
                self.refuse(401, "RepoNotFound", "Invalid username or password.")
            return None
        return repository

    def has_access(self, repository):
        token = (self.headers.get("Authorization") or "").removeprefix("Bearer ")
        if not repository.gated or repository.gated == token:
            return True
        self.refuse(403 if token else 401, "GatedRepo",
                    f"Access to model {repository.name} is restricted.")
        return False

    def api(self, name, what, revision, query):
        repository = self.find(name)
        if not repository:
            return
        sha = repository.resolve(revision)
        if not sha:
            self.refuse(404, "RevisionNotFound", f"Invalid rev id: {revision}")
            return
        if what == "revision":
            body = {"_id": "0", "id": repository.name, "modelId": repository.name, "sha": sha,
                    "private": False, "gated": "manual" if repository.gated else False,
                    "disabled": False, "downloads": 0, "likes": 0, "tags": [],
                    "siblings": [{"rfilename": path} for path in repository.commits[sha]]}
            self.answer(200, json.dumps(body).encode(), {"Content-Type": "application/json"})
            return
        self.tree(repository, sha, query)

    def tree(self, repository, sha, query):
        hub = self.server.stub
        rows = [self.tree_row(path, one) for path, one in repository.commits[sha].items()]
        first = int(query.get("cursor", ["0"])[0])
        if self.fault and self.fault.kind == "endless":
            self.endless_list()
            return
        page = rows[first:first + hub.page_size]
        headers = {"Content-Type": "application/json"}
        if first + hub.page_size < len(rows) or hub.lists_for_ever:
            target = hub.cursor_endpoint or hub.endpoint
            cursor = 0 if hub.lists_for_ever else first + hub.page_size
            rest = {"recursive": "true", "expand": "false", "cursor": cursor}
            headers["Link"] = (f"<{target}/api/models/{repository.name}/tree/{sha}?"
                               f"{urllib.parse.urlencode(rest)}>; rel=\"next\"")
        self.answer(200, json.dumps(page).encode(), headers)

    def endless_list(self):
        self.close_connection = True
        self.row["status"] = 200
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        row = b'{"type": "file", "oid": "%s", "size": 1, "path": "a.json"},' % (40 * b"a")
        self.write(b"[")
        while not self.server.stub.stopping.is_set():
            self.write(row * 1000)

    def tree_row(self, path, content):
        row = {"type": "file", "oid": content.sha1, "size": content.size, "path": path}
        if is_lfs(path, content):
            row["oid"] = hashlib.sha1(content.sha256.encode()).hexdigest()
            row["lfs"] = {"oid": content.sha256, "size": content.size, "pointerSize": 134}
        return row

    def resolve(self, name, revision, path):
        hub = self.server.stub
        repository = self.find(name)
        if not repository or not self.has_access(repository):
            return
        sha = repository.resolve(revision)
        if not sha:
            self.refuse(404, "RevisionNotFound", f"Invalid rev id: {revision}")
            return
        content = repository.commits[sha].get(path)
        if not content:
            self.refuse(404, "EntryNotFound", "Entry not found")
            return
        headers = {"X-Repo-Commit": sha, "Accept-Ranges": "bytes"}
        if is_lfs(path, content):
            headers.update({"X-Linked-Etag": f'"{content.sha256}"',
                            "X-Linked-Size": str(content.size), "ETag": f'"{content.sha256}"',
                            "Location": f"{hub.cdn_endpoint}/{repository.name}/{content.sha256}"
                                        f"?name={urllib.parse.quote(path)}&Signature=s"})
            self.answer(302, b"Found. Redirecting", headers)
        elif hub.redirects_plain:
            quoted = urllib.parse.quote(path)
            headers.update({"X-Linked-Etag": f'"{content.sha1}"',
                            "X-Linked-Size": str(content.size), "ETag": f'"{content.sha1}"',
                            "Location": f"/api/resolve-cache/models/{repository.name}/{sha}/"
                                        f"{quoted}"})
            self.answer(307, b"", headers)
        else:
            self.send_content(content, {"X-Repo-Commit": sha}, plain=True)

    def route_cdn(self, path):
        name, _, digest = path[1:].rpartition("/")
        repository = self.server.stub.repositories.get(name)
        if repository:
            for files in repository.commits.values():
                for content in files.values():
                    if content.sha256 == digest:
                        self.send_content(self.server.stub.swapped.get(digest, content), {})
                        return
        self.answer(403, b"<Error><Code>AccessDenied</Code></Error>")

    # ---- bodies ----

    def send_content(self, content, headers, plain=False):
        fault = self.fault
        kind = fault.kind if fault else None
        etag = content.sha1 if plain else content.sha256
        headers = {"ETag": f'"{etag}"', "Accept-Ranges": "bytes", **headers}
        first, end, status = 0, content.size, 200
        asked = self.headers.get("Range")
        condition = self.headers.get("If-Range")
        if asked and kind not in ("ignore_range", "gzip") and \
                (not condition or condition.strip('"') == etag):
            found = re.fullmatch(r"bytes=(\d+)-(\d*)", asked)
            if not found or int(found.group(1)) >= content.size:
                self.answer(416, b"", {"Content-Range": f"bytes */{content.size}"})
                return
            first = int(found.group(1))
            end = min(content.size, int(found.group(2)) + 1) if found.group(2) else content.size
            status = 206
            headers["Content-Range"] = f"bytes {first}-{end - 1}/{content.size}"
        if kind == "gzip":
            body = gzip.compress(b"".join(content.pieces(first, end)), 1)
            self.answer(200, body, {**headers, "Content-Encoding": "gzip",
                                    "ETag": f'W/"{etag}-gzip"'})
            return
        self.row["status"] = status
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if kind == "endless":
            self.send_header("Connection", "close")
            self.close_connection = True
        else:
            self.send_header("Content-Length", str(end - first))
        self.end_headers()
        if self.command != "HEAD":
            self.send_pieces(content, first, end, kind)

    def send_pieces(self, content, first, end, kind):
        hub, fault = self.server.stub, self.fault
        rate = fault.get("rate") if kind == "slow" else hub.rate
        begun = time.monotonic()
        sent = 0
        for piece in content.pieces(first, end):
            limit = fault.get("after", 0) if kind in ("stall", "truncate") else None
            if limit is not None and sent + len(piece) > limit:
                self.write(piece[:limit - sent])
                self.wfile.flush()
                if kind == "stall":
                    hub.stopping.wait(fault.get("seconds", 30))
                self.close_connection = True
                self.connection.shutdown(socket.SHUT_RDWR)
                return
            for at in {place for place in fault.places if kind == "flip" and
                       first + sent <= place < first + sent + len(piece)} if fault else ():
                fault.places.remove(at)
                wrong = bytearray(piece)
                wrong[at - first - sent] ^= 1
                piece = bytes(wrong)
                self.row["flipped"] = at
            self.write(piece)
            sent += len(piece)
            if rate:
                hub.stopping.wait(max(0, begun + sent / rate - time.monotonic()))
        while kind == "endless" and not hub.stopping.is_set():
            self.write(b"\0" * PIECE)

    def write(self, piece):
        self.wfile.write(piece)
        self.row["sent"] += len(piece)


def is_lfs(path, content):
    return path.endswith(LFS_NAMES) or content.size >= LFS_SIZE


class Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 64

    def handle_error(self, request, client_address):
        # A client was killed, or ends what was changed on its way by TLS.
        if not isinstance(sys.exc_info()[1], (ConnectionError, ssl.SSLError)):
            super().handle_error(request, client_address)


class StubHub:
    """Both servers, in threads of this process; use as a context."""

    def __init__(self, *repositories, log=None, rate=None):
        self.repositories = {one.name: one for one in repositories}
        self.renamed = {}            # old name -> new name
        self.faults = []
        self.swapped = {}            # sha256 -> another Content that the CDN has in its place
        self.page_size = PAGE_SIZE
        self.cursor_endpoint = None  # a Link header that leads elsewhere
        self.lists_for_ever = False  # the next page is always the first one
        self.redirects_plain = True
        self.rate = rate             # bytes a second of each connection
        self.rows = []
        self.log_file = open(log, "a", encoding="utf-8") if log else None
        self.lock = threading.Lock()
        self.stopping = threading.Event()
        self.servers = []
        for role in ("hub", "cdn"):
            server = Server(("127.0.0.1", 0), Handler)
            server.role, server.stub = role, self
            self.servers.append(server)
        self.endpoint = f"http://127.0.0.1:{self.servers[0].server_port}"
        self.cdn_endpoint = f"http://127.0.0.1:{self.servers[1].server_port}"

    def __enter__(self):
        for server in self.servers:
            threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_):
        self.stopping.set()
        for server in self.servers:
            server.shutdown()
            server.server_close()
        if self.log_file:
            self.log_file.close()

    def add(self, repository):
        self.repositories[repository.name] = repository
        return repository

    def fault(self, kind, match=".", **options):
        fault = Fault(kind, match, **options)
        with self.lock:
            self.faults.append(fault)
        return fault

    def fault_of(self, line):
        with self.lock:
            for fault in self.faults:
                if not fault.match.search(line):
                    continue
                fault.count += 1
                if fault.skip < fault.count <= fault.skip + fault.times:
                    return fault
        return None

    def begin(self, row):
        with self.lock:
            self.rows.append(row)

    def log(self, row):
        with self.lock:
            if self.log_file:
                self.log_file.write(json.dumps(row) + "\n")
                self.log_file.flush()

    def bytes_sent(self, method="GET", pattern="."):
        """Bytes of file contents, also of requests that still run."""
        with self.lock:
            return sum(row["sent"] for row in self.rows
                       if row["method"] == method and row["status"] in (200, 206) and
                       "/api/models/" not in row["path"] and re.search(pattern, row["path"]))

    def hosts_with_token(self):
        with self.lock:
            return collections.Counter(row["host"] for row in self.rows
                                       if "authorization" in row["headers"])


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory")
    parser.add_argument("--repo", default="org/model")
    parser.add_argument("--log")
    parser.add_argument("--rate", type=float, help="bytes a second of each connection")
    options = parser.parse_args()
    repository = Repository.of_directory(options.repo, options.directory)
    with StubHub(repository, log=options.log, rate=options.rate) as hub:
        print(f"HF_ENDPOINT={hub.endpoint}", flush=True)
        try:
            threading.Event().wait()
        except KeyboardInterrupt:
            pass


if __name__ == "__main__":
    main()
