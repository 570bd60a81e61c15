"""The floor of an HTTP request that is looked up and answered: FastAPI that answers as much, and does nothing else.

python -m tests.bench.echo PORT
"""

import sys

import uvicorn
import uvloop
from fastapi import FastAPI
from starlette.responses import JSONResponse

_ANSWER = {"id": "ses_" + 32 * "0", "state": "active", "user": {"name": "Bench Person"}, "amr": ["pwd"]}


def echo() -> FastAPI:
    app = FastAPI(openapi_url=None)

    @app.get("/echo")
    async def answer() -> JSONResponse:
        return JSONResponse(_ANSWER)

    return app


def main() -> None:
    config = uvicorn.Config(
        echo(), port=int(sys.argv[1]), loop="none", http="httptools", ws="none", access_log=False, log_config=None
    )
    uvloop.run(uvicorn.Server(config).serve())


if __name__ == "__main__":
    main()
