import ctypes
from pathlib import Path

libggml: ctypes.CDLL
libggml_base_path: Path
