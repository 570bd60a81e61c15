"""The operator's command `replay`: recorded decisions put in again, to see whether they would be made alike now."""

import json
from pathlib import Path
from typing import Annotated

import typer

from services.policy.replaying import replay


def add_replay(app: typer.Typer) -> None:
    """Adds the command."""

    @app.command("replay")
    def replay_file(
        file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="A record a line, as JSON.")],
    ) -> None:
        """Decides recorded facts again; exit code 1 where a decision or its reasons are not the same."""
        different = 0
        with file.open(encoding="utf-8") as lines:
            for found in replay(lines):
                different += bool(found.differs)
                said = {"line": found.line, "same": not found.differs, "differs": list(found.differs)}
                typer.echo(json.dumps({**said, "sentence": found.sentence}, ensure_ascii=False))
        if different:
            typer.echo(f"{different} are decided otherwise, or are no records.", err=True)
            raise typer.Exit(1)
