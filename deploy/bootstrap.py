"""Prepares a stack: `files` makes every secret, key and certificate that is not there yet, `databases` the roles and
databases in PostgreSQL. Both are safe to run at every start: what is good stays, leaves with under ten days are renewed
by rename, and servers re-read them without a restart.
"""

import argparse
import sys
from pathlib import Path

from deploy.certificates import make_authority, make_leaf, write_private
from deploy.credentials import ForDatabases, Layout, Lost, hand_over_to_databases, make_secrets
from deploy.databases import SERVICES, prepare

_SERVERS = ("postgres", "redis", "broker")
# For a back end of the product's own, which asks identity who sent a request. It runs as whom it likes, in our group.
_CALLERS = ("backend",)


def make_files(layout: Layout, *, database_exists: bool, with_watchers: bool = False) -> list[str]:
    """Secrets and certificates; answers the names of the certificates written now."""
    make_secrets(layout, database_exists=database_exists, with_watchers=with_watchers)
    renewed = []
    try:
        make_authority(layout.authority)
        for name in (*SERVICES, *_SERVERS, *_CALLERS):
            mode = layout.open_folder(layout.tls(name), foreign=name in _SERVERS + _CALLERS)
            if make_leaf(layout.authority, layout.tls(name), [name], key_mode=mode):
                renewed.append(name)
    except ValueError as error:
        raise Lost(
            f"The certificate authority in {layout.authority} is damaged ({error}). Restore ca.pem and ca-key.pem, or "
            "delete both: then every certificate is made anew."
        ) from error
    _copy_trust(layout)
    return renewed


def make_databases(folder: Path, url: str) -> None:
    """Roles, databases and their passwords, as `files` has put them into the folder. `url`: a superuser's connection
    string, without the password."""
    import psycopg  # only this step speaks to a database

    found = ForDatabases.load(folder)
    with psycopg.connect(url, password=found.superuser, autocommit=True, connect_timeout=5) as connection:
        prepare(connection, found.roles)


def _copy_trust(layout: Layout) -> None:
    """The authority's certificate alone, for processes that call but are not called."""
    folder = layout.tls("trust")
    folder.mkdir(parents=True, exist_ok=True)
    content = (layout.authority / "ca.pem").read_bytes()
    if not (folder / "ca.pem").exists() or (folder / "ca.pem").read_bytes() != content:
        write_private(folder / "ca.pem", content, 0o444)


def main() -> None:
    """The command line, as the containers call it."""
    parser = argparse.ArgumentParser(prog="python -m deploy.bootstrap", description=__doc__)
    parser.add_argument("step", choices=("files", "databases"))
    parser.add_argument("--state", type=Path, help="folder that holds secrets/, keyrings/, owners/ and tls/ (files)")
    parser.add_argument("--secrets", type=Path, help="the folder secrets/databases of STATE (databases)")
    parser.add_argument("--authority", type=Path, help="folder of the authority's key (default: STATE/authority)")
    parser.add_argument("--database-folder", type=Path, help="there once PostgreSQL was initialised (files)")
    parser.add_argument("--foreign-group", type=int, help="group of the users that PostgreSQL and Redis run as")
    parser.add_argument("--watchers", action="store_true", help="also secrets of who looks at the two Redis (files)")
    parser.add_argument("--make-folder", action="append", default=[], help="an empty folder for another container")
    parser.add_argument("--url", default="", help="a PostgreSQL superuser's connection string (databases)")
    chosen = parser.parse_args()
    if (chosen.state if chosen.step == "files" else chosen.secrets) is None:
        parser.error("files needs --state, databases --secrets")
    try:
        if chosen.step == "files":
            layout = Layout(chosen.state, chosen.authority or chosen.state / "authority", chosen.foreign_group)
            exists = bool(chosen.database_folder and chosen.database_folder.exists())
            renewed = make_files(layout, database_exists=exists, with_watchers=chosen.watchers)
            hand_over_to_databases(layout)
            for name in chosen.make_folder:
                (layout.root / name).mkdir(mode=0o700, exist_ok=True)
            print(f"secrets are there; certificates written now: {', '.join(renewed) or 'none'}")
        else:
            make_databases(chosen.secrets, chosen.url)
            print("roles and databases are there")
    except (Lost, OSError) as error:
        sys.exit(f"bootstrap: {error}")


if __name__ == "__main__":
    main()
