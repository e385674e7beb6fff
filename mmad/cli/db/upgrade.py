"""``mmad db upgrade``: the database to the schema of this version."""

from __future__ import annotations

import typer

from mmad.cli.common import DEFAULT_DB, DatabaseOption, JsonOption, print_json


def register(app: typer.Typer) -> None:
    @app.command("upgrade")
    def upgrade(db: DatabaseOption = DEFAULT_DB, json: JsonOption = False) -> None:
        """Bring the database to the schema of this version.

        All of it, or nothing. An SQLite file is copied to FILE.REVISION.backup first. Commands that write do the same
        by themselves when they meet an older database; this one does nothing else. Of a server's database, take a
        pg_dump first.

        --json prints {"database", "from", "to", "backup" (a file, or null)}.
        """
        from mmad.store.migrate import upgrade_database

        done = upgrade_database(db)
        if json:
            backup = None if done.backup is None else done.backup.as_posix()
            print_json({"database": done.where, "from": done.found, "to": done.now, "backup": backup})
        elif done.found == done.now:
            typer.echo(f"{done.where}: has schema {done.now}, the newest")
        else:
            kept = f"; as it was before: {done.backup}" if done.backup else ""
            typer.echo(f"{done.where}: upgraded from schema {done.found} to {done.now}{kept}")
