# The low-level ctypes API as it behaves at run time: a returned void pointer is an int, or None for
# NULL; a returned struct pointer is a ctypes pointer, which is false for NULL. Handles are distinct
# types, so that a context is not taken for a model. Of structures, only the fields in use.
import ctypes
from _ctypes import _CData, _Pointer, _PyCStructType
from collections.abc import Callable
from typing import Generic, NewType, TypeVar

_T = TypeVar("_T")

class _Structure(_CData, metaclass=_PyCStructType):
    # ctypes.Structure as typeshed has it takes any attribute; this one only those it declares.
    ...

class _Ref(Generic[_T]):
    # What byref returns, with the type of what it refers to.
    ...

def byref(obj: _T, offset: int = 0, /) -> _Ref[_T]: ...

# Handles

llama_vocab_p = NewType("llama_vocab_p", int)
llama_model_p = NewType("llama_model_p", int)
llama_context_p = NewType("llama_context_p", int)
llama_memory_t = NewType("llama_memory_t", int)

class llama_sampler(_Structure): ...
class llama_sampler_p_ctypes(_Pointer[llama_sampler]): ...

# Constants

GGML_TYPE_F32: int
GGML_TYPE_F16: int
GGML_TYPE_Q4_0: int
GGML_TYPE_Q4_1: int
GGML_TYPE_Q5_0: int
GGML_TYPE_Q5_1: int
GGML_TYPE_Q8_0: int
LLAMA_FLASH_ATTN_TYPE_AUTO: int
LLAMA_FLASH_ATTN_TYPE_DISABLED: int
LLAMA_FLASH_ATTN_TYPE_ENABLED: int
LLAMA_FTYPE_MOSTLY_F16: int
LLAMA_FTYPE_MOSTLY_Q4_0: int
LLAMA_FTYPE_MOSTLY_Q4_K_M: int
LLAMA_FTYPE_MOSTLY_Q8_0: int
LLAMA_LOAD_MODE_MLOCK: int
LLAMA_LOAD_MODE_MMAP: int
LLAMA_LOAD_MODE_MMAP_MLOCK: int
LLAMA_LOAD_MODE_NONE: int
LLAMA_STATE_SEQ_FLAGS_PARTIAL_ONLY: int
LLAMA_TOKEN_ATTR_BYTE: int
LLAMA_TOKEN_ATTR_CONTROL: int
LLAMA_TOKEN_ATTR_UNKNOWN: int
LLAMA_TOKEN_ATTR_USER_DEFINED: int

# Types and structures

llama_token = ctypes.c_int32

class llama_token_data(_Structure):
    def __init__(self, id: int = ..., logit: float = ..., p: float = ...) -> None: ...

class llama_token_data_p(_Pointer[llama_token_data]): ...

class llama_token_data_array(_Structure):
    data: llama_token_data_p
    size: int
    selected: int
    sorted: bool
    def __init__(
        self,
        data: llama_token_data_p | ctypes.Array[llama_token_data] = ...,
        size: int = ...,
        selected: int = ...,
        sorted: bool = ...,
    ) -> None: ...

class llama_logit_bias(_Structure):
    def __init__(self, token: int = ..., bias: float = ...) -> None: ...

class llama_batch(_Structure):
    n_tokens: int
    token: _Pointer[llama_token]
    pos: _Pointer[ctypes.c_int32]
    n_seq_id: _Pointer[ctypes.c_int32]
    seq_id: _Pointer[_Pointer[ctypes.c_int32]]
    logits: _Pointer[ctypes.c_int8]

class llama_log_callback:
    def __init__(self, function: Callable[[int, bytes, int | None], None], /) -> None: ...

class ggml_abort_callback:
    # Of a function in Python, or the address of one in C.
    def __init__(self, function: Callable[[int | None], bool] | int, /) -> None: ...

class llama_progress_callback:
    def __init__(self, function: Callable[[float, int | None], bool], /) -> None: ...

class llama_model_params(_Structure):
    devices: ctypes.c_void_p
    n_gpu_layers: int
    load_mode: int
    main_gpu: int
    progress_callback: llama_progress_callback
    vocab_only: bool
    use_extra_bufts: bool

class llama_context_params(_Structure):
    n_ctx: int
    n_batch: int
    n_ubatch: int
    n_seq_max: int
    n_outputs_max: int
    n_rs_seq: int
    n_threads: int
    n_threads_batch: int
    flash_attn_type: int
    type_k: int
    type_v: int
    swa_full: bool

class llama_model_quantize_params(_Structure):
    nthread: int
    ftype: int
    allow_requantize: bool

class llama_sampler_chain_params(_Structure): ...

# The library

def llama_backend_init() -> None: ...
def llama_log_set(
    log_callback: llama_log_callback | None, user_data: ctypes.c_void_p, /
) -> None: ...
def llama_print_system_info() -> bytes: ...
def llama_supports_gpu_offload() -> bool: ...

# Models

def llama_model_default_params() -> llama_model_params: ...
def llama_model_load_from_file(
    path_model: bytes, params: llama_model_params, /
) -> llama_model_p | None: ...
def llama_model_free(model: llama_model_p, /) -> None: ...
def llama_model_get_vocab(model: llama_model_p, /) -> llama_vocab_p: ...
def llama_model_desc(
    model: llama_model_p, buf: ctypes.Array[ctypes.c_char], buf_size: int, /
) -> int: ...
def llama_model_n_ctx_train(model: llama_model_p, /) -> int: ...
def llama_model_n_swa(model: llama_model_p, /) -> int: ...
def llama_model_size(model: llama_model_p, /) -> int: ...
def llama_model_chat_template(model: llama_model_p, name: bytes | None, /) -> bytes | None: ...
def llama_model_has_encoder(model: llama_model_p, /) -> bool: ...
def llama_model_has_decoder(model: llama_model_p, /) -> bool: ...
def llama_model_is_recurrent(model: llama_model_p, /) -> bool: ...
def llama_model_is_diffusion(model: llama_model_p, /) -> bool: ...
def llama_model_is_hybrid(model: llama_model_p, /) -> bool: ...
def llama_model_quantize_default_params() -> llama_model_quantize_params: ...
def llama_model_quantize(
    fname_inp: bytes, fname_out: bytes, params: _Ref[llama_model_quantize_params], /
) -> int: ...

# Vocabularies

def llama_vocab_type(vocab: llama_vocab_p, /) -> int: ...
def llama_vocab_n_tokens(vocab: llama_vocab_p, /) -> int: ...
def llama_vocab_bos(vocab: llama_vocab_p, /) -> int: ...
def llama_vocab_eos(vocab: llama_vocab_p, /) -> int: ...
def llama_vocab_eot(vocab: llama_vocab_p, /) -> int: ...
def llama_vocab_sep(vocab: llama_vocab_p, /) -> int: ...
def llama_vocab_nl(vocab: llama_vocab_p, /) -> int: ...
def llama_vocab_pad(vocab: llama_vocab_p, /) -> int: ...
def llama_vocab_get_add_bos(vocab: llama_vocab_p, /) -> bool: ...
def llama_vocab_get_add_eos(vocab: llama_vocab_p, /) -> bool: ...
def llama_vocab_get_suppress_tokens(
    vocab: llama_vocab_p, n_suppress_tokens: _Ref[ctypes.c_int32], /
) -> _Pointer[llama_token]: ...
def llama_vocab_get_text(vocab: llama_vocab_p, token: int, /) -> bytes: ...
def llama_vocab_get_attr(vocab: llama_vocab_p, token: int, /) -> int: ...
def llama_vocab_is_eog(vocab: llama_vocab_p, token: int, /) -> bool: ...
def llama_tokenize(
    vocab: llama_vocab_p,
    text: bytes,
    text_len: int,
    tokens: ctypes.Array[llama_token],
    n_tokens_max: int,
    add_special: bool,
    parse_special: bool,
    /,
) -> int: ...
def llama_token_to_piece(
    vocab: llama_vocab_p,
    token: int,
    buf: ctypes.Array[ctypes.c_char],
    length: int,
    lstrip: int,
    special: bool,
    /,
) -> int: ...

# Contexts

def llama_context_default_params() -> llama_context_params: ...
def llama_init_from_model(
    model: llama_model_p, params: llama_context_params, /
) -> llama_context_p | None: ...
def llama_free(ctx: llama_context_p, /) -> None: ...
def llama_n_ctx(ctx: llama_context_p, /) -> int: ...
def llama_n_batch(ctx: llama_context_p, /) -> int: ...
def llama_batch_init(n_tokens: int, embd: int, n_seq_max: int, /) -> llama_batch: ...
def llama_batch_free(batch: llama_batch, /) -> None: ...
def llama_decode(ctx: llama_context_p, batch: llama_batch, /) -> int: ...
def llama_set_abort_callback(
    ctx: llama_context_p, abort_callback: ggml_abort_callback, data: ctypes.c_void_p, /
) -> None: ...
def llama_synchronize(ctx: llama_context_p, /) -> None: ...
def llama_get_logits(ctx: llama_context_p, /) -> _Pointer[ctypes.c_float]: ...

# Memory; an encoder has none, and these functions take NULL

def llama_get_memory(ctx: llama_context_p, /) -> llama_memory_t | None: ...
def llama_memory_clear(mem: llama_memory_t | None, data: bool, /) -> None: ...
def llama_memory_seq_rm(mem: llama_memory_t | None, seq_id: int, p0: int, p1: int, /) -> bool: ...
def llama_memory_seq_pos_max(mem: llama_memory_t | None, seq_id: int, /) -> int: ...
def llama_n_rs_seq(ctx: llama_context_p | None, /) -> int: ...
def llama_memory_seq_pos_min(mem: llama_memory_t | None, seq_id: int, /) -> int: ...

# A sequence's state as bytes

def llama_state_seq_get_size_ext(ctx: llama_context_p, seq_id: int, flags: int, /) -> int: ...
def llama_state_seq_get_data_ext(
    ctx: llama_context_p, dst: ctypes.Array[ctypes.c_uint8], size: int, seq_id: int, flags: int, /
) -> int: ...
def llama_state_seq_set_data_ext(
    ctx: llama_context_p,
    src: ctypes.Array[ctypes.c_uint8],
    size: int,
    dest_seq_id: int,
    flags: int,
    /,
) -> int: ...

# Samplers

def llama_sampler_accept(smpl: llama_sampler_p_ctypes | None, token: int, /) -> None: ...
def llama_sampler_apply(
    smpl: llama_sampler_p_ctypes | None, cur_p: _Ref[llama_token_data_array], /
) -> None: ...
def llama_sampler_clone(smpl: llama_sampler_p_ctypes | None, /) -> llama_sampler_p_ctypes: ...
def llama_sampler_copy(
    src: llama_sampler_p_ctypes | None, dst: llama_sampler_p_ctypes | None, /
) -> None: ...
def llama_sampler_free(smpl: llama_sampler_p_ctypes | None, /) -> None: ...
def llama_sampler_chain_default_params() -> llama_sampler_chain_params: ...
def llama_sampler_chain_init(params: llama_sampler_chain_params, /) -> llama_sampler_p_ctypes: ...
def llama_sampler_chain_add(
    chain: llama_sampler_p_ctypes, smpl: llama_sampler_p_ctypes, /
) -> None: ...
def llama_sampler_init_top_k(k: int, /) -> llama_sampler_p_ctypes: ...
def llama_sampler_init_top_p(p: float, min_keep: int, /) -> llama_sampler_p_ctypes: ...
def llama_sampler_init_min_p(p: float, min_keep: int, /) -> llama_sampler_p_ctypes: ...
def llama_sampler_init_typical(p: float, min_keep: int, /) -> llama_sampler_p_ctypes: ...
def llama_sampler_init_top_n_sigma(n: float, /) -> llama_sampler_p_ctypes: ...
def llama_sampler_init_temp_ext(
    t: float, delta: float, exponent: float, /
) -> llama_sampler_p_ctypes: ...
def llama_sampler_init_xtc(
    p: float, t: float, min_keep: int, seed: int, /
) -> llama_sampler_p_ctypes: ...
def llama_sampler_init_grammar(
    vocab: llama_vocab_p, grammar_str: bytes, grammar_root: bytes, /
) -> llama_sampler_p_ctypes: ...
def llama_sampler_init_penalties(
    n_vocab: int,
    penalty_last_n: int,
    penalty_repeat: float,
    penalty_freq: float,
    penalty_present: float,
    /,
) -> llama_sampler_p_ctypes: ...
def llama_sampler_init_dry(
    vocab: llama_vocab_p,
    dry_multiplier: float,
    dry_base: float,
    dry_allowed_length: int,
    dry_penalty_last_n: int,
    seq_breakers: ctypes.Array[ctypes.c_char_p],
    num_breakers: int,
    /,
) -> llama_sampler_p_ctypes: ...
def llama_sampler_init_logit_bias(
    n_vocab: int, n_logit_bias: int, logit_bias: ctypes.Array[llama_logit_bias], /
) -> llama_sampler_p_ctypes: ...
