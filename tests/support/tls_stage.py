# SPDX-License-Identifier: Apache-2.0
"""TLS in front of a stub hub, and a wire that flips bits: what tests/process/test_hub_tls.py needs.

The certificate is made when it is needed, by the openssl program, and trusted by nobody else."""
import os
import shutil
import socket
import ssl
import subprocess
import threading

PIECE = 16 << 10


def certificate(place):
    """(path of a certificate for 127.0.0.1 that is its own authority, path of its key); None: this
    machine has no openssl program."""
    if not shutil.which("openssl"):
        return None
    paths = os.path.join(place, "ca.pem"), os.path.join(place, "key.pem")
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
                    "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-subj",
                    "/CN=stub hub", "-addext", "subjectAltName=IP:127.0.0.1",
                    "-out", paths[0], "-keyout", paths[1]], check=True, capture_output=True)
    return paths


def speak_tls(hub, paths):
    """The hub and its CDN answer by TLS from here on; before they are served."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*paths)
    for server in hub.servers:
        plain = server.RequestHandlerClass

        class ByTls(plain):
            def setup(self):
                # Here, in the connection's own thread: a slow handshake stops nobody else.
                self.request.settimeout(10)
                self.request = context.wrap_socket(self.request, server_side=True)
                super().setup()

            def finish(self):
                try:
                    super().finish()
                finally:
                    self.request.close()
        server.RequestHandlerClass = ByTls


class Wire:
    """Before a server: passes on what comes, and flips bits.  `flip(at)`: one in the first
    connection that has carried `at` bytes more to the client from then on, a single time."""

    def __init__(self, port):
        self.port = port
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.endpoint = f"https://127.0.0.1:{self.listener.getsockname()[1]}"
        self.lock = threading.Lock()
        self.due = []  # (bytes a connection has carried, at which one of its bits is flipped)
        self.flipped = 0
        self.connections = 0

    def __enter__(self):
        threading.Thread(target=self.accept, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()

    def flip(self, *places):
        with self.lock:
            self.due += places

    def accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            server = socket.create_connection(("127.0.0.1", self.port))
            self.connections += 1
            for source, target, is_down in ((client, server, False), (server, client, True)):
                threading.Thread(target=self.carry, args=(source, target, is_down),
                                 daemon=True).start()

    def carry(self, source, target, is_down):
        carried = 0
        try:
            while piece := source.recv(PIECE):
                target.sendall(self.changed(piece, carried) if is_down else piece)
                carried += len(piece)
        except OSError:
            pass
        for end in (source, target):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def changed(self, piece, carried):
        with self.lock:
            for at in self.due:
                if carried <= at < carried + len(piece):
                    self.due.remove(at)
                    self.flipped += 1
                    wrong = bytearray(piece)
                    wrong[at - carried] ^= 0x10
                    return bytes(wrong)
        return piece
