"""A stand-in of the Hugging Face Hub on this machine: as much of its interface as uploading and fetching a model takes.
One commit a repository, files in memory, no LFS."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Hub:
    """repos: the files of each repository. refuse: status that every request gets; 0 for none. asked: paths so far."""

    def __init__(self) -> None:
        self.repos: dict[str, dict[str, bytes]] = {}
        self.refuse = 0
        self.asked: list[str] = []
        self.endpoint = ""

    def commit(self, name: str) -> str:
        return hashlib.sha1(repr(sorted(self.repos[name].items())).encode()).hexdigest()

    def answer(self, method: str, path: str, body: bytes) -> tuple[int, dict[str, str], bytes]:
        self.asked.append(f"{method} {path}")
        if self.refuse:
            return self.refuse, {}, b'{"error": "no"}'
        parts = path.partition("?")[0].strip("/").split("/")
        if parts == ["api", "repos", "create"]:
            wanted = json.loads(body)
            name = f"{wanted['organization']}/{wanted['name']}"
            self.repos.setdefault(name, {})
            return _json({"url": f"{self.endpoint}/{name}", "id": name})
        if parts == ["api", "validate-yaml"]:
            return _json({"warnings": [], "errors": []})
        name = "/".join(parts[2:4]) if parts[0] == "api" else "/".join(parts[:2])
        if name not in self.repos:
            return 404, {"X-Error-Code": "RepoNotFound"}, b"{}"
        files = self.repos[name]
        match parts[4] if parts[0] == "api" and len(parts) > 4 else parts[2] if parts[0] != "api" else "":
            case "preupload":
                return _json({"files": [{"path": file["path"], "uploadMode": "regular", "shouldIgnore": False}
                                        for file in json.loads(body)["files"]]})
            case "commit":
                for line in map(json.loads, body.splitlines()):
                    if line["key"] == "file":
                        files[line["value"]["path"]] = base64.b64decode(line["value"]["content"])
                return _json({"commitUrl": f"{self.endpoint}/{name}/commit/{self.commit(name)}",
                              "commitOid": self.commit(name), "success": True})
            case "tree":
                return _json([{"type": "file", "path": path, "size": len(content),
                               "oid": hashlib.sha1(content).hexdigest()} for path, content in files.items()])
            case "resolve":
                content = files.get("/".join(parts[4:]))
                if content is None:
                    return 404, {"X-Error-Code": "EntryNotFound"}, b""
                etag = f'"{hashlib.sha1(content).hexdigest()}"'
                return 200, {"X-Repo-Commit": self.commit(name), "ETag": etag}, content
            case _:
                return _json({"id": name, "modelId": name, "sha": self.commit(name), "siblings": [
                    {"rfilename": path} for path in files], "tags": [], "private": False, "downloads": 0})


def _json(value: Any) -> tuple[int, dict[str, str], bytes]:
    return 200, {"Content-Type": "application/json"}, json.dumps(value).encode()


@contextmanager
def hub() -> Iterator[Hub]:
    """A running stand-in; its address is ``endpoint``."""
    made = Hub()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _serve(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            status, headers, content = made.answer(self.command, self.path, body)
            self.send_response(status)
            for key, value in headers.items():
                self.send_header(key, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content)

        do_GET = do_POST = do_HEAD = _serve

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    made.endpoint = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield made
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
