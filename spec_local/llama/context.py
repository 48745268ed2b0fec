"""Making a context: how a model's load options become llama.cpp's parameters."""

from __future__ import annotations

from spec_local.errors import ContextOverflow, ContextTooLarge
from spec_local.llama.adapting import put_in_force
from spec_local.llama.backend import collected_errors, default_threads, lib
from spec_local.llama.branches import branches_of
from spec_local.llama.cache_bytes import SNAPSHOTS
from spec_local.llama.kv_types import KV_TYPES
from spec_local.llama.memory import require_memory
from spec_local.llama.model import Model
from spec_local.llama.rpc import freed
from spec_local.llama.shortage import is_of_machine

_FLASH = {
    "auto": lib.LLAMA_FLASH_ATTN_TYPE_AUTO,
    "on": lib.LLAMA_FLASH_ATTN_TYPE_ENABLED,
    "off": lib.LLAMA_FLASH_ATTN_TYPE_DISABLED,
}
_UBATCH_BEYOND_SNAPSHOTS = 2
"""llama.cpp computes the tokens of all snapshots and one more in a single ubatch, which has to have
room for yet another; it ends the process where it has not."""

_EXACT_TYPES = ("f16", "bf16")
"""Of keys and values in exact modes. Where both are in one cache, llama.cpp wants one type, and all
of it is bf16: of that type it is not divided between threads either."""


def make_context(
    model: Model,
    n_ctx: int,
    max_rows: int,
    *,
    heads: bool = False,
    beside: lib.llama_context_p | None = None,
) -> lib.llama_context_p:
    """A context for one sequence of n_ctx tokens, whose evaluations give at most max_rows rows.

    heads: of the model's multi-token prediction layers alone. beside: the context of the target
    whose embeddings and output the model may use.
    Raises ContextOverflow when there is not enough memory for it.
    """
    options = model.options
    if not heads:  # whose cache is that of one layer
        require_memory(model, n_ctx)
    params = lib.llama_context_default_params()
    params.n_ctx = n_ctx
    params.n_batch = options.n_batch
    params.n_ubatch = min(options.n_ubatch, options.n_batch)
    params.n_outputs_max = params.n_batch if model.wants_all_rows else min(max_rows, params.n_batch)
    branches = 1 if heads or beside is not None else branches_of(model, params.n_outputs_max)
    params.n_seq_max, params.kv_unified = branches, True
    # A sliding window keeps what it needs, not the whole context; that of a head is one layer.
    params.swa_full = heads or beside is not None
    if heads:
        params.ctx_type = lib.LLAMA_CONTEXT_TYPE_MTP
    if beside is not None:
        params.ctx_other = beside
    most = min(SNAPSHOTS, max_rows - 1, params.n_ubatch - _UBATCH_BEYOND_SNAPSHOTS)
    params.n_rs_seq = max(0, most) if model.is_recurrent and not heads else 0
    params.n_threads = params.n_threads_batch = options.n_threads or default_threads()
    params.flash_attn_type = _FLASH[options.flash_attention]
    kv_types = (options.kv_type_k, options.kv_type_v)
    if kv_types == _EXACT_TYPES and model.has_one_cache:
        kv_types = (options.kv_type_v, options.kv_type_v)
    if model.taps is not None:
        params.cb_eval = model.taps.callback
    params.type_k, params.type_v = (KV_TYPES[each].number for each in kv_types)
    with collected_errors() as errors:
        handle = lib.llama_init_from_model(model.handle, params)
    if not handle:
        reason = errors[0] if errors else "llama.cpp gave no reason"
        said = f"A context of {n_ctx:,} tokens cannot be made: {reason.strip(' .')}"
        if "alloc" in reason:
            advice = "ask for a smaller one with --ctx-size"
            raise ContextTooLarge(said, advice, of_machine=is_of_machine(errors))
        raise ContextOverflow(f"{said}.")
    put_in_force(handle, model.adapters)
    return handle


def free_context(model: Model, handle: lib.llama_context_p) -> None:
    """Of a context; that its model is named here keeps this one alive for as long."""
    if model.closed:
        return
    if model.options.rpc:
        freed(lib.llama_free, handle)
    else:
        lib.llama_free(handle)
