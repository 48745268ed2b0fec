"""Programs measured beside spec-local: which, what they are told, and that they always end."""

from __future__ import annotations

import json
import os
import stat
import sys
from collections.abc import Iterator
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

import psutil
import pytest

from spec_local import ConfigError, Runner, Sampling
from spec_local.bench.peers.specs import (
    Peer,
    PeerAnswer,
    PeerError,
    PeerSetup,
    PeerSpec,
    peer_specs,
    start_peer,
)
from spec_local.llama.options import LoadOptions

pytestmark = pytest.mark.llama

DRAFT_FLAGS = ("-md", "{draft}", "--spec-type", "draft-simple")
PROMPT = "The capital of France is"

FAKE = '''#!{python}
"""A llama-server that answers from a table; `behaviour` says how it fails."""
import json, os, signal, sys, time
from http.server import BaseHTTPRequestHandler, HTTPServer

behaviour, record = {behaviour!r}, {record!r}
arguments = sys.argv[1:]
if behaviour == "exits":
    print("loading", file=sys.stderr)
    sys.exit("error: no such flag")
if behaviour == "crashes":
    os.kill(os.getpid(), signal.SIGSEGV)
if behaviour == "stubborn":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)

TIMINGS = {{"prompt_ms": 1500.0, "predicted_ms": 250.0, "predicted_n": 3}}
if "-md" in arguments:
    TIMINGS |= {{"draft_n": 4, "draft_n_accepted": 1}}

class Handler(BaseHTTPRequestHandler):
    def reply(self, status, text):
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())

    def do_GET(self):
        if self.path == "/health" and behaviour == "never ready":
            self.reply(503, "{{}}")
        else:
            self.reply(200, json.dumps({{"build_info": "b1-fake"}}))

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with open(record, "w") as file:
            json.dump({{"arguments": arguments, "path": self.path, "body": body}}, file)
        if behaviour == "garbage":
            self.reply(200, "<html>")
        elif behaviour == "not a completion":
            self.reply(200, "[1]")
        elif behaviour == "refuses":
            self.reply(400, json.dumps({{"error": {{"message": "the prompt is too long."}}}}))
        elif behaviour == "hangs":
            time.sleep(60)
        elif behaviour == "dies":
            print("out of memory", file=sys.stderr, flush=True)
            os._exit(3)
        else:
            self.reply(200, json.dumps({{"tokens": [7, 8, 9], "timings": TIMINGS}}))

    def log_message(self, *_):
        pass

port = int(arguments[arguments.index("--port") + 1])
HTTPServer(("127.0.0.1", port), Handler).serve_forever()
'''


def executable(path: Path, text: str = "#!/bin/sh\n") -> Path:
    path.write_text(text, encoding="utf-8")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


@pytest.fixture
def setup(tmp_path: Path) -> PeerSetup:
    load = LoadOptions(n_ctx=256, n_threads=2, n_gpu_layers=-1, kv_type_k="q8_0")
    return PeerSetup(tmp_path / "target.gguf", tmp_path / "a draft.gguf", load)


def fake(
    tmp_path: Path, setup: PeerSetup, behaviour: str = "", flags: str = "", **timeouts: float
) -> Peer:
    text = FAKE.format(
        python=sys.executable, behaviour=behaviour, record=str(tmp_path / "record.json")
    )
    server = executable(tmp_path / "llama-server", text)
    spec = PeerSpec("llama-server", "plain", server, tuple(flags.split()))
    return start_peer(spec, setup, **timeouts)


def recorded(tmp_path: Path) -> dict[str, Any]:
    return dict(json.loads((tmp_path / "record.json").read_text(encoding="utf-8")))


def children() -> list[psutil.Process]:
    return psutil.Process().children(recursive=True)


@pytest.fixture(autouse=True)
def _nothing_stays_behind() -> Iterator[None]:
    before = set(children())
    yield
    assert set(children()) <= before


# Which peers.


def test_default_peers_with_a_draft(tmp_path: Path) -> None:
    server = executable(tmp_path / "llama-server")
    found = peer_specs([f"llama-server={server}", "llama-cpp-python"], [], has_draft=True)
    assert [(spec.name, spec.flags) for spec in found] == [
        ("llama-server plain", ()),
        ("llama-server -md", DRAFT_FLAGS),
        (
            "llama-server -md n8 p0.75",
            (*DRAFT_FLAGS, "--spec-draft-n-max", "8", "--spec-draft-p-min", "0.75"),
        ),
        ("llama-server ngram-map-k", ("--spec-type", "ngram-map-k")),
        ("llama-server ngram-mod", ("--spec-type", "ngram-mod")),
        ("llama-cpp-python plain", ()),
        ("llama-cpp-python lookup", ()),
    ]
    assert [spec.executable for spec in found] == [server] * 5 + [None] * 2


def test_without_a_draft_nothing_needs_one(tmp_path: Path) -> None:
    server = executable(tmp_path / "llama-server")
    found = peer_specs([f"llama-server={server}"], [], has_draft=False)
    assert [spec.variant for spec in found] == ["plain", "ngram-map-k", "ngram-mod"]


def test_own_flags_replace_the_default_ones(tmp_path: Path) -> None:
    server = executable(tmp_path / "llama-server")
    sets = ["mine=-md {draft} --spec-type draft-simple", "with a space = --alias 'a b=c'"]
    found = peer_specs([f"llama-server={server}"], sets, has_draft=True)
    assert found == [
        PeerSpec("llama-server", "plain", server),
        PeerSpec("llama-server", "mine", server, DRAFT_FLAGS),
        PeerSpec("llama-server", "with a space", server, ("--alias", "a b=c")),
    ]


def test_no_peers() -> None:
    assert peer_specs([], [], has_draft=True) == []


@pytest.mark.parametrize(
    "requested", ["ollama", "llama-server", "llama-server=", "llama-cpp-python=x", ""]
)
def test_unknown_peers_are_refused(requested: str) -> None:
    with pytest.raises(ConfigError, match="give llama-server=PATH or llama-cpp-python"):
        peer_specs([requested], [], has_draft=False)


def test_what_cannot_be_run_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no program", encoding="utf-8")
    for path in (tmp_path / "missing", tmp_path / "text", tmp_path):
        with pytest.raises(ConfigError, match="is not a program that can be run"):
            peer_specs([f"llama-server={path}"], [], has_draft=False)


@pytest.mark.parametrize(
    ("sets", "message"),
    [
        (["mine"], "write NAME=FLAGS"),
        (["=-md x"], "write NAME=FLAGS"),
        (["mine="], "write NAME=FLAGS"),
        (["plain=--mlock"], "choose another name"),
        (["mine=-x", "mine=-y"], "choose another name"),
        (["mine=-md {draft}"], "give --draft"),
        (["mine=-md 'x"], "close it"),
    ],
)
def test_bad_flags_are_refused(tmp_path: Path, sets: list[str], message: str) -> None:
    server = executable(tmp_path / "llama-server")
    with pytest.raises(ConfigError, match=message):
        peer_specs([f"llama-server={server}"], sets, has_draft=False)


def test_a_peer_is_given_once_and_flags_with_it() -> None:
    with pytest.raises(ConfigError, match="given twice"):
        peer_specs(["llama-cpp-python", "llama-cpp-python"], [], has_draft=False)
    with pytest.raises(ConfigError, match="Flags are for llama-server"):
        peer_specs(["llama-cpp-python"], ["mine=--x"], has_draft=False)


# llama-server, played by a fake.


def test_a_greedy_answer(tmp_path: Path, setup: PeerSetup, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    with fake(tmp_path, setup) as peer:
        assert peer.answer([1, 2, 3], 5, 0.0, 11) == PeerAnswer((7, 8, 9), 3, 1.5, 0.25, 0, 0)
        assert peer.version == "b1-fake"
        peak = peer.peak_rss()
        assert peak is None or peak > 1 << 20
    seen = recorded(tmp_path)
    assert seen["path"] == "/completion"
    assert seen["body"] == {
        "prompt": [1, 2, 3],
        "n_predict": 5,
        "temperature": 0.0,
        "seed": 11,
        "top_k": 1,
        "top_p": 0.95,
        "min_p": 0.05,
        "samplers": ["top_k", "top_p", "min_p", "temperature"],
        "cache_prompt": False,
        "return_tokens": True,
    }


def test_a_sampled_and_drafted_answer(tmp_path: Path, setup: PeerSetup) -> None:
    with fake(tmp_path, setup, flags="-md {draft}") as peer:
        assert peer.answer([1], 5, 0.8, 0) == PeerAnswer((7, 8, 9), 3, 1.5, 0.25, 4, 1)
    seen = recorded(tmp_path)
    assert (seen["body"]["temperature"], seen["body"]["top_k"]) == (0.8, 40)
    assert seen["arguments"][-2:] == ["-md", str(setup.draft)]


def test_the_server_gets_the_settings_of_spec_local(
    tmp_path: Path, setup: PeerSetup, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LLAMA_ARG_THREADS", "64")
    with fake(tmp_path, setup) as peer:
        peer.answer([1], 1, 0.0, 0)
        environment = next(child for child in children()).environ()
    assert "LLAMA_ARG_THREADS" not in environment
    arguments = recorded(tmp_path)["arguments"]
    after = dict(pairwise(arguments))
    expected = {
        "--host": "127.0.0.1",
        "-m": str(setup.target),
        "-c": "256",
        "-t": "2",
        "-tb": "2",
        "-b": "512",
        "-ub": "512",
        "-fa": "auto",
        "-ctk": "q8_0",
        "-ctv": "f16",
        "-ngl": "999",
        "--parallel": "1",
        "--cache-ram": "0",
    }
    assert {flag: after[flag] for flag in expected} == expected
    assert {"--offline", "--no-webui", "--no-context-shift"} <= set(arguments)
    assert not {"--no-warmup", "--no-repack", "--device"} & set(arguments)


@pytest.mark.parametrize(
    ("behaviour", "message"),
    [
        ("garbage", "answer of an unknown form"),
        ("not a completion", "answer of an unknown form"),
        ("refuses", r"answered 400: the prompt is too long\.$"),
        ("dies", "ended with exit code 3; its last line was: out of memory"),
    ],
)
def test_a_bad_answer_is_an_error(
    tmp_path: Path, setup: PeerSetup, behaviour: str, message: str
) -> None:
    with fake(tmp_path, setup, behaviour) as peer, pytest.raises(PeerError, match=message):
        peer.answer([1], 1, 0.0, 0)


def test_an_answer_has_a_deadline(tmp_path: Path, setup: PeerSetup) -> None:
    with (
        fake(tmp_path, setup, "hangs", answer_timeout=0.3) as peer,
        pytest.raises(PeerError, match=r"took more than 0\.3 s"),
    ):
        peer.answer([1], 1, 0.0, 0)


@pytest.mark.parametrize(
    ("behaviour", "message"),
    [
        ("exits", "llama-server plain ended with exit code 1; its last line was: error: no such"),
        ("crashes", "llama-server plain crashed .*; it wrote nothing"),
    ],
)
def test_a_server_that_does_not_start(
    tmp_path: Path, setup: PeerSetup, behaviour: str, message: str
) -> None:
    with pytest.raises(PeerError, match=message):
        fake(tmp_path, setup, behaviour)


def test_a_server_that_never_gets_ready(tmp_path: Path, setup: PeerSetup) -> None:
    with pytest.raises(PeerError, match=r"took more than 0\.5 s"):
        fake(tmp_path, setup, "never ready", start_timeout=0.5)


def test_a_file_that_is_no_program_of_this_machine(tmp_path: Path, setup: PeerSetup) -> None:
    spec = PeerSpec("llama-server", "plain", executable(tmp_path / "x", "#!/no/such/interpreter\n"))
    with pytest.raises(PeerError, match="cannot be started"):
        start_peer(spec, setup)


def test_the_process_ends_with_the_block(tmp_path: Path, setup: PeerSetup) -> None:
    before = set(children())
    with fake(tmp_path, setup) as peer:
        assert set(children()) - before
    assert set(children()) == before
    peer.close()


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_the_process_ends_with_an_exception(
    tmp_path: Path, setup: PeerSetup, error: type[BaseException]
) -> None:
    before = set(children())
    with pytest.raises(error), fake(tmp_path, setup):
        raise error
    assert set(children()) == before


def test_the_process_ends_when_waiting_for_it_is_interrupted(
    tmp_path: Path, setup: PeerSetup, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(_seconds: float) -> None:
        raise KeyboardInterrupt

    before = set(children())
    monkeypatch.setattr("spec_local.bench.peers.programs.sleep", interrupt)
    with pytest.raises(KeyboardInterrupt):
        fake(tmp_path, setup, "never ready")
    assert set(children()) == before


def test_a_process_that_does_not_listen_is_killed(
    tmp_path: Path, setup: PeerSetup, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("spec_local.bench.peers.process._GRACE", 0.1)
    before = set(children())
    fake(tmp_path, setup, "stubborn").close()
    assert set(children()) == before


def test_the_process_ends_with_python(tmp_path: Path, setup: PeerSetup) -> None:
    """Even if nobody closed it."""
    fake(tmp_path, setup).close()  # writes the script
    script = f"""
from pathlib import Path
from spec_local.bench.peers.specs import *
from spec_local.llama.options import LoadOptions
spec = PeerSpec("llama-server", "plain", Path({str(tmp_path / "llama-server")!r}))
peer = start_peer(spec, PeerSetup(Path("x"), None, LoadOptions(n_ctx=8, n_threads=1)))
print(peer._process.pid)
"""
    with psutil.Popen([sys.executable, "-c", script], stdout=-1) as python:
        pid = int(python.stdout.read())
    assert not psutil.pid_exists(pid)


@pytest.mark.skipif(sys.platform != "linux", reason="others do not tell a child")
@pytest.mark.parametrize("thread", ["main", "another"])
def test_the_process_ends_with_python_that_is_killed(tmp_path: Path, thread: str) -> None:
    """If the main thread started it; one of another thread lives on when that thread ends."""
    script = """
import sys, threading
from spec_local.bench.peers.process import Peer
class Sleep(Peer):
    def _until_ready(self): return "1"
    def answer(self, *_): raise NotImplementedError
def start():
    print(Sleep("sleep", ["sleep", "60"], (1, 1), piped=False)._process.pid, flush=True)
if sys.argv[1] == "main":
    start()
else:
    starting = threading.Thread(target=start)
    starting.start()
    starting.join()
input()
"""
    with psutil.Popen(
        [sys.executable, "-c", script, thread],
        stdin=-1,
        stdout=-1,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    ) as python:
        sleep = psutil.Process(int(python.stdout.readline()))
        try:
            assert sleep.name() == "sleep"
            python.kill()
            if thread == "main":
                sleep.wait(10)
            else:
                assert sleep.is_running()
        finally:
            with suppress(psutil.NoSuchProcess):
                sleep.kill()


# llama-cpp-python.


def python_peer(variant: str, target: Path, n_ctx: int = 64) -> Peer:
    load = LoadOptions(n_ctx=n_ctx, n_threads=2, n_batch=32, n_ubatch=32)
    return start_peer(PeerSpec("llama-cpp-python", variant), PeerSetup(target, None, load))


def test_llama_cpp_python_on_a_tiny_model(tiny: Path) -> None:
    """A prompt of more than one batch, and nothing kept from answer to answer."""
    prompt = [1, *range(5, 25), *range(5, 25)]
    answers = []
    for variant in ("plain", "lookup"):
        with python_peer(variant, tiny) as peer:
            first, again = (peer.answer(prompt, 8, 0.0, 0) for _ in range(2))
            sampled = [peer.answer(prompt, 8, 1.0, seed).tokens for seed in (1, 1, 2)]
            assert peer.version
        assert first.tokens == again.tokens
        assert first.count == len(first.tokens) <= 8
        assert sampled[0] == sampled[1]
        answers.append(first.tokens)
    assert answers[0] == answers[1]


def test_llama_cpp_python_without_a_model(tmp_path: Path) -> None:
    with pytest.raises(PeerError, match=r"ended with exit code 1; .*does not exist"):
        python_peer("plain", tmp_path / "missing.gguf")


@pytest.mark.model("smollm2-135m")
def test_all_write_the_same(model_files: list[Path]) -> None:
    greedy = Sampling(temperature=0)
    options = LoadOptions(n_ctx=64, n_threads=2, n_batch=32, n_ubatch=32)
    with Runner.load(target=model_files[0], drafter="none", options=options) as runner:
        prompt = runner.tokenize(PROMPT)
        own = runner.complete(prompt, max_tokens=16, sampling=greedy).tokens
    for variant in ("plain", "lookup"):
        with python_peer(variant, model_files[0]) as peer:
            assert peer.answer(prompt, 16, 0.0, 0).tokens == own
