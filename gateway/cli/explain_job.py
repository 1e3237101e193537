"""
The process that makes explanations for the page (`explain.jobs`): jobs come in, answers go out.
"""

from ..explain.job import run
from .serve import load_server

if __name__ == "__main__":
    load_server()
    from ..app import create_app

    run(create_app)
