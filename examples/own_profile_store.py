"""Keep what is learned about the machine in a database of your own, here one of SQLite.

    python examples/own_profile_store.py [MODEL] [--directory DIRECTORY]

What evaluations cost and what drafts earn is learned while answers are written. The second run of
this program begins with what the first one has learned.
"""

from __future__ import annotations

import argparse
import json
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

from spec_local import ProfileStore, Runner

TABLE = "CREATE TABLE IF NOT EXISTS profiles (model, entry, value, PRIMARY KEY (model, entry))"


class DatabaseProfiles(ProfileStore):
    """All profiles go through `read` and `change`; an identity says which model and machine."""

    def read(self, identity: Mapping[str, str | int]) -> dict[str, Any]:
        model = json.dumps(dict(identity), sort_keys=True)
        with closing(self._connect()) as database:
            rows = database.execute("SELECT entry, value FROM profiles WHERE model = ?", (model,))
            return {entry: json.loads(value) for entry, value in rows}

    def change(self, identity: Mapping[str, str | int], entries: Mapping[str, Any]) -> None:
        model = json.dumps(dict(identity), sort_keys=True)
        rows = [(model, entry, json.dumps(value)) for entry, value in entries.items()]
        with closing(self._connect()) as database, database:
            database.executemany("INSERT OR REPLACE INTO profiles VALUES (?, ?, ?)", rows)

    def _connect(self) -> sqlite3.Connection:
        database = sqlite3.connect(self.directory / "profiles.sqlite")
        database.execute(TABLE)
        return database


def main() -> None:
    parser = argparse.ArgumentParser(description="Keep profiles in a database.")
    parser.add_argument("model", nargs="?", default="smollm2-135m")
    parser.add_argument("--directory", type=Path, default=Path("."), help="of the database")
    arguments = parser.parse_args()

    store = DatabaseProfiles(arguments.directory)
    with Runner.load(target=arguments.model, profiles=store) as runner:
        machine = runner.target.model.identity
        print("Known beforehand:", "yes" if store.curve(machine).is_known else "nothing")
        runner.complete("Once upon a time", max_tokens=32)
        print(f"One token takes {store.curve(machine).seconds(1, context=100) * 1e3:.1f} ms here.")


if __name__ == "__main__":
    main()
