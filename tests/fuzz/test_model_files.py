"""models.toml as it may be after a slip of the hand, or worse."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from spec_local.errors import ConfigError
from spec_local.models.registry import read_registry, shipped_file

SHIPPED = shipped_file().read_text("utf-8")
LINES = SHIPPED.splitlines()
VALUE = st.one_of(
    st.integers().map(str),
    st.floats().map(str),
    st.text().map(repr),
    st.sampled_from(["true", "[]", "{}", "[1, 'a']", "{a = 1}", "nan", "1979-05-27", "''", ""]),
)
own_file = settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])


def read(path: Path, text: str) -> None:
    path.write_bytes(text.encode(errors="surrogatepass"))
    with suppress(ConfigError):
        read_registry(path)


@own_file
@given(number=st.integers(0, len(LINES) - 1), value=VALUE)
def test_another_value(tmp_path: Path, number: int, value: str) -> None:
    lines = LINES.copy()
    lines[number] = f"{lines[number].split('=')[0]} = {value}"
    read(tmp_path / "models.toml", "\n".join(lines))


@own_file
@given(number=st.integers(0, len(LINES) - 1), start=st.integers(0, 80), put=st.text(max_size=4))
def test_another_spelling(tmp_path: Path, number: int, start: int, put: str) -> None:
    lines = LINES.copy()
    lines[number] = lines[number][:start] + put + lines[number][start + 1 :]
    read(tmp_path / "models.toml", "\n".join(lines))


@own_file
@given(st.binary(max_size=200))
def test_anything(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "models.toml"
    path.write_bytes(data)
    with suppress(ConfigError):
        read_registry(path)
