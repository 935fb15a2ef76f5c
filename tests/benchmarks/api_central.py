"""Central as a process that only serves: `python -m tests.benchmarks.api_central PORT DATABASE_URL FOLDER`."""

import sys
from pathlib import Path

import uvicorn

from central.app import create_app
from central.settings import Settings

if __name__ == "__main__":
    port, url, folder = sys.argv[1:]
    app = create_app(Settings(data_dir=Path(folder), database_url=url, requests_per_minute=10**9), with_ingest=False)
    uvicorn.run(app, host="127.0.0.1", port=int(port), log_level="error")
