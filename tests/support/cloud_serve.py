"""Run by the Python of .venv-neutron (see cloud.py): DIRECTORY, or DIRECTORY ADDRESS PORT. Its configuration is in there."""

import io
import os
import sys
from pathlib import Path
from wsgiref.simple_server import WSGIRequestHandler, make_server

ATTEMPTS = 8


def main(directory: Path, address: str, port: int) -> None:
    os.environ["OS_NEUTRON_CONFIG_DIR"] = str(directory)
    os.environ["OS_NEUTRON_CONFIG_FILES"] = "neutron.conf"
    sys.argv = ["neutron-server"]
    from neutron.wsgi.api import application

    with make_server(address, port, again(application), handler_class=Handler) as server:
        server.serve_forever()


def again(application):
    """SQLite refuses one of two processes that write at once, which then has written nothing; other databases let it wait."""

    def answer(environ, start_response):
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        said = []
        for _ in range(ATTEMPTS):
            whole = b"".join(
                application(
                    {**environ, "wsgi.input": io.BytesIO(body)}, lambda *start: said.append(start) or (lambda _: None)
                )
            )
            if not said[-1][0].startswith("500"):
                break
        start_response(*said[-1][:2])
        return [whole]

    return answer


def make_tables(directory: Path) -> None:
    import sqlalchemy
    from neutron.db.migration.models import head

    engine = sqlalchemy.create_engine(f"sqlite:///{directory}/neutron.db")
    with engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA journal_mode=WAL")  # who reads keeps nobody from writing
    head.get_metadata().create_all(engine)
    engine.dispose()


class Handler(WSGIRequestHandler):
    """One request at a time, a connection for each."""

    def log_message(self, format: str, *args: object) -> None: ...


if __name__ == "__main__":
    if sys.argv[2:]:
        main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
    else:
        make_tables(Path(sys.argv[1]))
