"""
The process that makes an explanation for the page (`explain.jobs`): a job comes in, an answer goes.
"""

from ..explain.job import run
from .serve import load_server

if __name__ == "__main__":
    load_server()
    from ..app import create_app

    run(create_app)
