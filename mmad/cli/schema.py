"""``mmad schema``: the JSON Schema of the ablation file."""

from __future__ import annotations

import typer

from mmad.cli.common import print_json


def register(app: typer.Typer) -> None:
    @app.command("schema")
    def schema() -> None:
        """Print the JSON Schema (draft 4) of the ablation file.

        The shipped files name their copy of it in the first line, so that editors with Taplo complete and check them.
        """
        from mmad.spec.schema import ablation_schema

        print_json(ablation_schema())
