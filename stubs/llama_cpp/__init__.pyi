# Types of the part of llama-cpp-python 0.3.36 that spec-local uses; mypy reads these files instead
# of the package's own, whose ctypes signatures do not type-check. A name missing here is not used
# yet: add it together with its first use. tests/test_llama_stub.py compares them with the library.
from collections.abc import Generator, Sequence

from llama_cpp.llama_cpp import *
from llama_cpp.llama_speculative import LlamaDraftModel

__version__: str

class Llama:
    def __init__(
        self,
        model_path: str,
        *,
        n_ctx: int = ...,
        n_threads: int | None = ...,
        n_threads_batch: int | None = ...,
        n_batch: int = ...,
        n_ubatch: int = ...,
        n_gpu_layers: int = ...,
        main_gpu: int = ...,
        tensor_split: list[float] | None = ...,
        use_mmap: bool = ...,
        use_mlock: bool = ...,
        flash_attn: bool = ...,
        type_k: int | None = ...,
        type_v: int | None = ...,
        draft_model: LlamaDraftModel | None = ...,
        logits_all: bool = ...,
        verbose: bool = ...,
    ) -> None: ...
    @property
    def model(self) -> llama_model_p: ...
    def set_seed(self, seed: int) -> None: ...
    def reset(self) -> None: ...
    def generate(
        self,
        tokens: Sequence[int],
        top_k: int = ...,
        top_p: float = ...,
        min_p: float = ...,
        *,
        temp: float = ...,
    ) -> Generator[int, Sequence[int] | None]: ...
    def close(self) -> None: ...
