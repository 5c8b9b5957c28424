"""A Hugging Face hub on loopback: real repositories through the part of its HTTP API that the clients use, with faults.

    with Hub() as hub:
        hub.push("me/model", folder)                    # or {"config.json": b"..."}
        hub.fail("*/model.safetensors", cut=1000)       # the next time, the connection breaks after 1,000 bytes
        ... HF_ENDPOINT=hub.address ...

Files of a repository come by redirects as they do there: large ones from a "CDN", small ones from a cache.
"""

from __future__ import annotations

import base64
import fnmatch
import hashlib
import json
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Lock, Thread
from urllib.parse import parse_qs, quote, unquote, urlsplit

LARGE = (".safetensors", ".bin", ".parquet", ".zip", ".tar", ".npz", ".jpg", ".png")
CHUNK = 1 << 14
KINDS = {"models": "model", "datasets": "dataset"}


@dataclass
class Repository:
    refs: dict[str, str] = field(default_factory=dict)
    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    gated: bool = False
    licence: str | None = None
    private: bool = False


@dataclass
class Fault:
    """What happens to the next ``times`` answers for a path: one of the others is set."""

    pattern: str
    times: int = 1
    cut: int | None = None
    status: int | None = None
    message: str = ""
    garble: bool = False
    pause: float = 0.0
    loop: bool = False
    unsized: bool = False


@dataclass
class Request:
    method: str
    path: str
    range: str | None
    status: int
    sent: int
    token: str | None


class Hub:
    """The hub; ``requests`` tells what it was asked and how many bytes of content it sent."""

    def __init__(self, token: str = "hf_right", ranges: bool = True) -> None:
        self.repositories: dict[tuple[str, str], Repository] = {}
        self.web: dict[str, bytes] = {}
        self.uploaded: dict[str, bytes] = {}
        self.readers: set[str] = set()
        self.requests: list[Request] = []
        self.token, self.ranges = token, ranges
        self._faults: list[Fault] = []
        self._lock = Lock()

    def __enter__(self) -> Hub:
        handler = type("Handler", (_Handler,), {"hub": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        self.address = f"http://127.0.0.1:{self._server.server_port}"
        self.cdn = f"http://localhost:{self._server.server_port}"  # another host, to which no token may go
        Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def push(
        self,
        name: str,
        content: Path | Mapping[str, bytes],
        kind: str = "model",
        *,
        branch: str = "main",
        gated: bool = False,
        licence: str | None = None,
        commit: str | None = None,
    ) -> str:
        """Put a commit with these files on a branch; returns its hash, which is ``commit`` where that is given."""
        if isinstance(content, Path):
            paths = [path for path in content.rglob("*") if path.is_file()]
            content = {path.relative_to(content).as_posix(): path.read_bytes() for path in paths}
        repository = self.repositories.setdefault((kind, name), Repository())
        repository.gated, repository.licence = gated, licence
        told = [name, branch, str(len(repository.commits)), *(f"{path} {_git(data)}" for path, data in content.items())]
        commit = commit or hashlib.sha1("\n".join(told).encode()).hexdigest()
        repository.commits[commit] = dict(content)
        repository.refs[branch] = commit
        return commit

    def serve(self, name: str, content: bytes) -> str:
        """Put a file on the web beside the hub; returns its address."""
        self.web[name] = content
        return f"{self.address}/web/{name}"

    def fail(self, pattern: str, **fault) -> None:
        """Let the next answers (``times``) for paths like ``pattern`` fail: cut, status, garble, pause, loop or unsized.

        loop redirects to the same path again; unsized tells no length.
        """
        self._faults.append(Fault(pattern, **fault))

    def fault(self, path: str) -> Fault | None:
        with self._lock:
            for fault in self._faults:
                if fault.times > 0 and fnmatch.fnmatch(path, fault.pattern):
                    fault.times -= 1
                    return fault
        return None

    def sent(self, pattern: str = "*") -> int:
        """Bytes of content sent so far for paths like ``pattern``."""
        return sum(request.sent for request in self.requests if fnmatch.fnmatch(request.path, pattern))


def _oid(path: str, content: bytes) -> str:
    """The hash by which the client sees whether a file has changed."""
    return _sha256(content) if path.endswith(LARGE) else _git(content)


def _git(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


class _Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def do_PUT(self) -> None:
        self._answer()

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = []
        while size := int(self.rfile.readline(), 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def _answer(self) -> None:
        parts = urlsplit(self.path)
        path, query = unquote(parts.path), parse_qs(parts.query)
        content = self._body()
        body = "" if self.command == "PUT" else content.decode()
        self.fault = self.hub.fault(path)
        if self.fault and self.fault.status:
            return self._send(self.fault.status, b"", {"X-Error-Message": self.fault.message})
        if self.fault and self.fault.loop:
            return self._send(302, b"", {"Location": self.path})
        if self.command in ("POST", "PUT") and self._is_upload(path, content):
            return None
        if match := re.fullmatch(r"/api/(models|datasets)/([^/]+(?:/[^/]+)?)/tree/([^/]+)(?:/(.+))?", path):
            return self._tree(*match.groups(), recursive=query.get("recursive", [""])[0].lower() == "true")
        if match := re.fullmatch(r"/api/(models|datasets)/([^/]+(?:/[^/]+)?)/paths-info/([^/]+)", path):
            return self._paths_info(*match.groups(), paths=parse_qs(body).get("paths", []))
        if match := re.fullmatch(r"/api/resolve-cache/(models|datasets)/([^/]+/[^/]+)/([0-9a-f]{40})/(.+)", path):
            return self._small(*match.groups())
        if match := re.fullmatch(r"/cdn/([0-9a-f]{64})", path):
            return self._cdn(match.group(1))
        if match := re.fullmatch(r"/web/(.+)", path):
            return self._content(self.hub.web.get(match.group(1)))
        if match := re.fullmatch(r"/(datasets/)?([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path):
            kind = "datasets" if match.group(1) else "models"
            return self._resolve(kind, *match.groups()[1:])
        if match := re.fullmatch(r"/api/(models|datasets)/([^/]+/[^/]+)/auth-check", path):
            return self._auth_check(*match.groups())
        if match := re.fullmatch(r"/api/(models|datasets)/([^/]+(?:/[^/]+)?)(?:/revision/([^/]+))?", path):
            return self._info(*match.groups())
        return self._refuse(404, "EntryNotFound")

    def _is_upload(self, path: str, content: bytes) -> bool:
        """Answer a request that uploads; False for any other."""
        if match := re.fullmatch(r"/upload/([0-9a-f]{64})", path):
            if _sha256(content) == match.group(1):
                self.hub.uploaded[match.group(1)] = content
            self._send(200 if match.group(1) in self.hub.uploaded else 400, b"")
        elif path == "/api/validate-yaml":
            self._json({"errors": [], "warnings": []})
        elif path == "/api/repos/create":
            if self._may_write():
                self._create(json.loads(content))
        elif match := re.fullmatch(r"/api/datasets/([^/]+/[^/]+)/preupload/main", path):
            if self._may_write() and self._found("datasets", match.group(1), None):
                self._preupload(match.group(1), json.loads(content)["files"])
        elif re.fullmatch(r"/datasets/[^/]+/[^/]+\.git/info/lfs/objects/batch", path):
            if self._may_write():
                self._json({"transfer": "basic", "objects": [self._lfs(one) for one in json.loads(content)["objects"]]})
        elif match := re.fullmatch(r"/api/datasets/([^/]+/[^/]+)/commit/main", path):
            if self._may_write():
                self._commit(match.group(1), [json.loads(line) for line in content.splitlines()])
        else:
            return False
        return True

    def _may_write(self) -> bool:
        token = (self.headers.get("Authorization") or "").removeprefix("Bearer ")
        if token == self.hub.token:
            return True
        self._send(403 if token in self.hub.readers else 401, b"")
        return False

    def _create(self, wanted: Mapping[str, str]) -> None:
        name = f"{wanted['organization']}/{wanted['name']}"
        if (wanted["type"], name) in self.hub.repositories:
            return self._send(409, b"{}")
        self.hub.push(name, {".gitattributes": b""}, wanted["type"])
        self.hub.repositories[wanted["type"], name].private = wanted.get("visibility") == "private"
        return self._json({"url": f"{self.hub.address}/datasets/{name}"})

    def _preupload(self, name: str, wanted: list[dict]) -> None:
        repository = self.hub.repositories["dataset", name]
        there = repository.commits[repository.refs["main"]]
        modes = [
            {
                "path": one["path"],
                "uploadMode": "lfs" if one["path"].endswith(LARGE) else "regular",
                "shouldIgnore": False,
                "oid": _oid(one["path"], there[one["path"]]) if one["path"] in there else None,
            }
            for one in wanted
        ]
        self._json({"files": modes})

    def _lfs(self, wanted: Mapping[str, object]) -> dict[str, object]:
        known = {"oid": wanted["oid"], "size": wanted["size"]}
        if wanted["oid"] in self.hub.uploaded:
            return known
        return known | {"actions": {"upload": {"href": f"{self.hub.address}/upload/{wanted['oid']}"}}}

    def _commit(self, name: str, lines: list[dict]) -> None:
        repository = self.hub.repositories["dataset", name]
        files = dict(repository.commits[repository.refs["main"]])
        for line in lines:
            value = line["value"]
            if line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                files[value["path"]] = self.hub.uploaded[value["oid"]]
            elif line["key"] == "deletedFile":
                files.pop(value["path"])
        commit = self.hub.push(name, files, "dataset")
        address = f"{self.hub.address}/datasets/{name}/commit/{commit}"
        self._json({"success": True, "commitOid": commit, "commitUrl": address})

    def _found(self, kind: str, name: str, revision: str | None) -> tuple[str, dict[str, bytes]] | None:
        """Commit and files of a repository at a revision; where there is none, the answer is given."""
        repository = self.hub.repositories.get((KINDS[kind], name))
        if repository is None:
            return self._refuse(401, "RepoNotFound")
        commit = repository.refs.get(revision or "main", revision)
        if commit not in repository.commits:
            return self._refuse(404, "RevisionNotFound")
        return commit, repository.commits[commit]

    def _info(self, kind: str, name: str, revision: str | None) -> None:
        if found := self._found(kind, name, revision):
            commit, files = found
            repository = self.hub.repositories[KINDS[kind], name]
            gated = "manual" if repository.gated else False
            siblings = [{"rfilename": path, **_size(content)} for path, content in files.items()]
            told = {
                "id": name,
                "sha": commit,
                "private": repository.private,
                "gated": gated,
                "tags": [],
                "siblings": siblings,
            }
            self._json(told | ({"cardData": {"license": repository.licence}} if repository.licence else {}))

    def _auth_check(self, kind: str, name: str) -> None:
        if self._found(kind, name, None) and not self._is_closed(kind, name):
            self._send(200, b"")

    def _is_closed(self, kind: str, name: str) -> bool:
        """Whether a repository is gated and the token is not the right one; the answer is given then."""
        given = self.headers.get("Authorization")
        closed = self.hub.repositories[KINDS[kind], name].gated and given != f"Bearer {self.hub.token}"
        if closed:
            self._refuse(403 if given else 401, "GatedRepo")
        return closed

    def _tree(self, kind: str, name: str, revision: str, folder: str | None, recursive: bool) -> None:
        if not (found := self._found(kind, name, revision)):
            return
        prefix = f"{folder}/" if folder else ""
        inside = {path: content for path, content in found[1].items() if path.startswith(prefix)}
        if folder and not inside:
            return self._refuse(404, "EntryNotFound")
        folders = {path[: len(prefix) + at] for path in inside for at in _slashes(path[len(prefix) :])}
        entries = [_folder(path) for path in sorted(folders)] + [
            _file(path, content) for path, content in inside.items()
        ]
        shown = [entry for entry in entries if recursive or "/" not in entry["path"][len(prefix) :]]
        self._json(shown)

    def _paths_info(self, kind: str, name: str, revision: str, paths: list[str]) -> None:
        if found := self._found(kind, name, revision):
            files = found[1]
            entries = [_file(path, files[path]) for path in paths if path in files]
            inner = [path for path in paths if any(file.startswith(f"{path}/") for file in files)]
            self._json(entries + [_folder(path) for path in inner])

    def _resolve(self, kind: str, name: str, revision: str, path: str) -> None:
        if not (found := self._found(kind, name, revision)):
            return
        commit, files = found
        if self._is_closed(kind, name):
            return
        if path not in files:
            return self._refuse(404, "EntryNotFound", {"X-Repo-Commit": commit})
        content = files[path]
        if path.endswith(LARGE):
            headers = {"X-Linked-Size": str(len(content)), "X-Linked-ETag": f'"{_sha256(content)}"'}
            self._send(
                302, b"", {**headers, "X-Repo-Commit": commit, "Location": f"{self.hub.cdn}/cdn/{_sha256(content)}"}
            )
        else:
            place = quote(f"/api/resolve-cache/{kind}/{name}/{commit}/{path}")
            self._send(307, b"", {"X-Repo-Commit": commit, "ETag": f'"{_git(content)}"', "Location": place})

    def _small(self, kind: str, name: str, commit: str, path: str) -> None:
        if found := self._found(kind, name, commit):
            content = found[1][path]
            self._content(content, {"X-Repo-Commit": commit, "ETag": f'"{_git(content)}"'})

    def _cdn(self, digest: str) -> None:
        contents = (
            c for repo in self.hub.repositories.values() for files in repo.commits.values() for c in files.values()
        )
        self._content(next((content for content in contents if _sha256(content) == digest), None))

    def _content(self, content: bytes | None, headers: Mapping[str, str] | None = None) -> None:
        """A file, or the rest of it, with the fault that is due."""
        if content is None:
            return self._refuse(404, "EntryNotFound")
        headers = {"ETag": f'"{_sha256(content)}"', "Accept-Ranges": "bytes", **(headers or {})}
        status, start = 200, 0
        wanted = self.hub.ranges and re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range") or "")
        if wanted and self.headers.get("If-Range", headers["ETag"]) == headers["ETag"]:
            status, start = 206, int(wanted.group(1))
            if start >= len(content):
                return self._send(416, b"", {"Content-Range": f"bytes */{len(content)}"})
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        if self.fault and self.fault.garble:
            content = content[:start] + bytes(byte ^ 0xFF for byte in content[start : start + 1]) + content[start + 1 :]
        return self._send(status, content[start:], headers)

    def _refuse(self, status: int, code: str, headers: Mapping[str, str] | None = None) -> None:
        self._send(status, b"", {"X-Error-Code": code, "X-Error-Message": code, **(headers or {})})

    def _json(self, content: object) -> None:
        self._send(200, json.dumps(content).encode(), {"Content-Type": "application/json"}, counted=False)

    def _send(self, status: int, body: bytes, headers: Mapping[str, str] | None = None, counted: bool = True) -> None:
        asked, token = self.headers.get("Range"), self.headers.get("Authorization")
        noted = Request(self.command, unquote(self.path), asked, status, 0, token)
        self.hub.requests.append(noted)  # before the answer: whoever has it may look
        self.send_response(status)
        for key, value in (headers or {}).items():
            self.send_header(key, value)
        if self.fault and self.fault.unsized:
            self.close_connection = True
        else:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        cut = self.fault.cut if self.fault and self.fault.cut is not None else len(body)
        sent = 0
        if self.command != "HEAD":
            while sent < min(cut, len(body)):
                if self.fault:
                    time.sleep(self.fault.pause)
                chunk = body[sent : min(sent + CHUNK, cut)]
                noted.sent += len(chunk) if counted else 0
                try:
                    self.wfile.write(chunk)
                    self.wfile.flush()
                except OSError:
                    noted.sent -= len(chunk) if counted else 0
                    break
                sent += len(chunk)
        self.close_connection = self.close_connection or sent < len(body)


def _size(content: bytes) -> dict[str, object]:
    return {"size": len(content), "blobId": _git(content)}


def _file(path: str, content: bytes) -> dict[str, object]:
    entry = {"type": "file", "path": path, "size": len(content), "oid": _git(content)}
    if path.endswith(LARGE):
        entry["lfs"] = {"oid": _sha256(content), "size": len(content), "pointerSize": 130}
    return entry


def _folder(path: str) -> dict[str, object]:
    return {"type": "directory", "path": path, "oid": _git(path.encode())}


def _slashes(path: str) -> list[int]:
    return [at for at, letter in enumerate(path) if letter == "/"]
