"""A web server for tests: files with ETags and ranges, which can break off and refuse."""

from __future__ import annotations

import hashlib
import http.server
import json
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

COMMIT = "a" * 40


@dataclass
class Answer:
    """What is answered at one path."""

    body: bytes = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)


class FileServer(http.server.ThreadingHTTPServer):
    """Answers by path, and what was asked of it."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answers: dict[str, Answer] = {}
        self.knows_ranges = True
        self.cuts: list[int] = []
        """After how many bytes the next answers with a file break off, one after another."""
        self.asked: list[tuple[str, Mapping[str, str]]] = []
        """Paths and headers of all requests."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def ranges(self, name: str) -> list[str | None]:
        """The ranges that were asked for of paths that end so."""
        return [headers.get("Range") for path, headers in self.asked if path.endswith(name)]

    def put(self, path: str, body: bytes, **headers: str) -> None:
        """Serve a file, with an ETag unless one is given."""
        tag = {"ETag": f'"{hashlib.sha256(body).hexdigest()[:32]}"'}
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        self.answers[path] = Answer(body, 200, {**tag, **given})

    def refuse(self, path: str, status: int, **headers: str) -> None:
        """Answer with an error."""
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        self.answers[path] = Answer(b"no", status, given)

    def put_repository(self, repo: str, files: Mapping[str, bytes], cdn: FileServer) -> None:
        """A repository as the hub has it: a list of its files, and where each of them lies."""
        for name, body in files.items():
            digest = hashlib.sha256(body).hexdigest()
            cdn.put(f"/cdn/{digest}/{name}", body)
            self.answers[f"/{repo}/resolve/main/{name}"] = Answer(
                status=302,
                headers={
                    "Location": f"{cdn.url}/cdn/{digest}/{name}",
                    "X-Linked-ETag": f'"{digest}"',
                    "X-Repo-Commit": COMMIT,
                },
            )
        listing = {"siblings": [{"rfilename": name} for name in [*files, "README.md"]]}
        self.put(f"/api/models/{repo}/revision/main", json.dumps(listing).encode())


class _Handler(http.server.BaseHTTPRequestHandler):
    server: FileServer

    def do_GET(self) -> None:
        path = self.path.split("?")[0]
        self.server.asked.append((path, dict(self.headers)))
        answer = self.server.answers.get(path)
        if answer is None:
            known = re.match(r"/([\w-]+/[\w-]+)/resolve/", path)
            in_repo = known and f"/api/models/{known[1]}/revision/main" in self.server.answers
            answer = Answer(
                status=404, headers={"X-Error-Code": "EntryNotFound" if in_repo else "RepoNotFound"}
            )
        start, status, headers = 0, answer.status, dict(answer.headers)
        wanted = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        if status == 200 and wanted and self.server.knows_ranges:
            start, size = int(wanted[1]), len(answer.body)
            status = 206 if start < size else 416
            headers["Content-Range"] = f"bytes {start}-{size - 1}/{size}"
        body = answer.body[start:]
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        is_file = status in (200, 206) and not path.startswith(("/api/", "/simple/"))
        cut = self.server.cuts.pop(0) if is_file and self.server.cuts else None
        self.wfile.write(body[:cut])

    def log_message(self, *_: Any) -> None:
        pass


@contextmanager
def file_server() -> Iterator[FileServer]:
    """One that serves until the block ends."""
    server = FileServer()
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
