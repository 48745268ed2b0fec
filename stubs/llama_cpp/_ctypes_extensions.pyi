import ctypes
from pathlib import Path

def load_shared_library(lib_base_name: str, base_path: Path) -> ctypes.CDLL: ...
