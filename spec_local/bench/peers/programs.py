"""What is said to the programs measured beside spec-local, and how their figures are read.

A peer works on the same token ids with the same settings in a process of its own, and times itself,
so that neither HTTP nor pipes count. Nothing here knows llama.cpp or judges the figures.
"""

from __future__ import annotations

import json
import socket
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from http.client import HTTPException
from pathlib import Path
from time import monotonic, sleep
from typing import Any
from urllib.error import HTTPError
from urllib.request import ProxyHandler, Request, build_opener

from spec_local.bench.peers.process import Peer, PeerAnswer, PeerError, PeerSetup, Timeouts
from spec_local.llama.devices import gpus
from spec_local.llama.options import ALL, AUTO, LoadOptions
from spec_local.sampling.settings import Sampling

_POLL = 0.05
_LOOPBACK = "127.0.0.1"
_ALL_LAYERS = 999
_SAMPLING = Sampling()
_opener = build_opener(ProxyHandler({}))  # the environment's proxies are none of its business


class LlamaServer(Peer):
    """llama.cpp's server, on a free port of the loopback interface."""

    def __init__(
        self,
        name: str,
        setup: PeerSetup,
        timeouts: Timeouts,
        *,
        executable: Path,
        flags: Sequence[str],
    ) -> None:
        port = _free_port()
        self._url = f"http://{_LOOPBACK}:{port}"
        where = ["--host", _LOOPBACK, "--port", str(port)]
        command = [str(executable), *where, *_server_flags(setup), *flags]
        super().__init__(name, command, timeouts, piped=False)

    def _until_ready(self) -> str:
        deadline = monotonic() + self.start_timeout
        while not self._is_healthy():
            if self._process.poll() is not None:
                raise self._stopped()
            if monotonic() > deadline:
                raise self._late(self.start_timeout)
            sleep(_POLL)
        properties = self._ask("/props")
        with self._well_formed():
            return str(properties.get("build_info", ""))

    def _is_healthy(self) -> bool:
        try:
            with _opener.open(f"{self._url}/health", timeout=1):
                return True
        except HTTPError as error:  # 503: the model is still being loaded
            error.close()
        except (OSError, HTTPException):
            pass
        return False

    def answer(
        self, tokens: Sequence[int], max_tokens: int, temperature: float, seed: int
    ) -> PeerAnswer:
        reply = self._ask(
            "/completion",
            {
                "prompt": list(tokens),
                "n_predict": max_tokens,
                "temperature": temperature,
                "seed": seed,
                # Greedy needs no more than the one most probable token.
                "top_k": _SAMPLING.top_k if temperature > 0 else 1,
                "top_p": _SAMPLING.top_p,
                "min_p": _SAMPLING.min_p,
                "samplers": ["top_k", "top_p", "min_p", "temperature"],
                "cache_prompt": False,
                "return_tokens": True,
            },
        )
        with self._well_formed():
            timings = reply["timings"]
            # prompt_ms ends when the first token is drawn, and predicted_ms begins there, though
            # predicted_n counts that token (server_slot_stats in llama.cpp's server-common.h).
            return PeerAnswer(
                tokens=tuple(int(token) for token in reply["tokens"]),
                count=int(timings["predicted_n"]),
                prompt_seconds=timings["prompt_ms"] / 1000,
                seconds=timings["predicted_ms"] / 1000,
                drafted=int(timings.get("draft_n", 0)),
                accepted=int(timings.get("draft_n_accepted", 0)),
            )

    def _ask(self, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """What the server says, from JSON. With a body it is a POST request."""
        data = None if body is None else json.dumps(body).encode()
        request = Request(self._url + path, data, {"Content-Type": "application/json"})
        try:
            with _opener.open(request, timeout=self.answer_timeout) as response:
                text = response.read()
        except HTTPError as error:
            with error:
                raise PeerError(f"{self.name} answered {error.code}: {_reason(error)}.") from None
        except TimeoutError:
            raise self._late(self.answer_timeout) from None
        except (OSError, HTTPException):
            raise self._stopped() from None
        with self._well_formed():
            return json.loads(text)


class LlamaCppPython(Peer):
    """`llama_cpp.Llama`, run by `spec_local.llama.peer`; a line of JSON for every question."""

    def __init__(self, name: str, setup: PeerSetup, timeouts: Timeouts, *, lookup: bool) -> None:
        load = asdict(setup.load)
        self._settings = {
            "model": str(setup.target),
            "lookup": lookup,
            "load": {name: value for name, value in load.items() if name != "draft"},
        }
        command = [sys.executable, "-m", "spec_local.llama.peer"]
        super().__init__(name, command, timeouts, piped=True)

    def _until_ready(self) -> str:
        ready = self._ask(self._settings, self.start_timeout)
        with self._well_formed():
            return str(ready["version"])

    def answer(
        self, tokens: Sequence[int], max_tokens: int, temperature: float, seed: int
    ) -> PeerAnswer:
        question = {
            "tokens": list(tokens),
            "max_tokens": max_tokens,
            "temperature": temperature,
            "seed": seed,
            "top_k": _SAMPLING.top_k,
            "top_p": _SAMPLING.top_p,
            "min_p": _SAMPLING.min_p,
        }
        reply = self._ask(question, self.answer_timeout)
        with self._well_formed():
            answered = tuple(int(token) for token in reply["tokens"])
            return PeerAnswer(
                answered, len(answered), float(reply["prompt_seconds"]), float(reply["seconds"])
            )

    def _ask(self, question: Mapping[str, Any], seconds: float) -> Any:
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        late = threading.Event()

        def give_up() -> None:
            late.set()
            self._process.kill()  # ends the wait for a line

        alarm = threading.Timer(seconds, give_up)
        alarm.start()
        line = ""
        try:
            with suppress(OSError):  # it has gone: no line will come
                print(json.dumps(question), file=stdin, flush=True)
                line = stdout.readline()
        finally:
            alarm.cancel()
        if not line:
            raise self._late(seconds) if late.is_set() else self._stopped()
        with self._well_formed():
            return json.loads(line)


def _server_flags(setup: PeerSetup) -> list[str]:
    """What makes llama-server work under spec-local's settings and stay by itself."""
    load, draft = setup.load, setup.load.for_draft()
    values = {
        "-m": setup.target,
        "-c": load.n_ctx,
        "-t": load.n_threads,
        "-tb": load.n_threads,
        "-b": load.n_batch,
        "-ub": load.n_ubatch,
        "-fa": load.flash_attention,
        "-ctk": load.kv_type_k,
        "-ctv": load.kv_type_v,
        "-ctkd": draft.kv_type_k,
        "-ctvd": draft.kv_type_v,
        "-ngl": _number_of_layers(load.n_gpu_layers),
        "-ngld": _number_of_layers(draft.n_gpu_layers),
        "--main-gpu": load.main_gpu,
        "--parallel": 1,
        "--cache-ram": 0,  # it would copy the last prompt's cache away before the next one
    }
    flags = [part for flag, value in values.items() for part in (flag, str(value))]
    flags += ["--offline", "--no-webui", "--no-context-shift"]
    if load.repack is False:
        flags.append("--no-repack")
    if load.n_cpu_moe not in (0, AUTO):
        flags += ["--n-cpu-moe", str(_number_of_layers(load.n_cpu_moe))]
    if load.tensor_split:
        flags += ["--tensor-split", ",".join(map(str, load.tensor_split))]
    if load.devices:
        flags += ["--device", _names_of_gpus(load)]
    if draft.devices:
        flags += ["--device-draft", _names_of_gpus(draft)]
    if draft.n_threads != load.n_threads:
        flags += ["-td", str(draft.n_threads), "-tbd", str(draft.n_threads)]
    return flags


def _number_of_layers(wanted: int | str) -> int | str:
    """Of all of them, more than any model has."""
    return _ALL_LAYERS if wanted == ALL else wanted


def _names_of_gpus(load: LoadOptions) -> str:
    return ",".join(device.name for device in gpus(load)) or "none"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((_LOOPBACK, 0))
        return int(probe.getsockname()[1])


def _reason(error: HTTPError) -> str:
    """What the server says about an error, else the status line's words."""
    with suppress(AttributeError, KeyError, TypeError, ValueError, OSError, HTTPException):
        return str(json.loads(error.read())["error"]["message"]).rstrip(".")
    return error.reason
