"""Writing a model file in another quantisation, by llama.cpp's own quantizer."""

from __future__ import annotations

import os
from pathlib import Path

from spec_local.errors import ModelFileError, require
from spec_local.gguf.header import check_model_file
from spec_local.llama.backend import collected_errors, default_threads, lib

FILE_TYPES = {
    "F16": lib.LLAMA_FTYPE_MOSTLY_F16,
    "Q8_0": lib.LLAMA_FTYPE_MOSTLY_Q8_0,
    "Q4_K_M": lib.LLAMA_FTYPE_MOSTLY_Q4_K_M,
    "Q4_0": lib.LLAMA_FTYPE_MOSTLY_Q4_0,
}


def quantize(source: Path, out: Path, file_type: str) -> None:
    """Write `source` to `out` as F16, Q8_0, Q4_K_M or Q4_0; replaces `out` once it is whole.

    A quantized source is quantized again: no better than it was, but with the cost of the new type.
    """
    require(file_type in FILE_TYPES, f"The type must be one of {', '.join(FILE_TYPES)}.")
    check_model_file(source)
    params = lib.llama_model_quantize_default_params()
    params.nthread = default_threads()
    params.ftype = FILE_TYPES[file_type]
    params.allow_requantize = True
    partial = out.with_name(out.name + ".partial")
    with collected_errors() as errors:
        status = lib.llama_model_quantize(
            os.fsencode(source), os.fsencode(partial), lib.byref(params)
        )
    if status != 0:
        partial.unlink(missing_ok=True)
        reason = errors[0] if errors else "llama.cpp gave no reason"
        raise ModelFileError(f"{source.name} cannot be written as {file_type}: {reason}.")
    partial.replace(out)
