"""Starlette's StaticFiles under uvicorn. Arguments: the port, the folder, the packages."""
import sys

port, root, packages = int(sys.argv[1]), sys.argv[2], sys.argv[3]
sys.path.insert(0, packages)
import uvicorn
from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.staticfiles import StaticFiles

uvicorn.run(Starlette(routes=[Mount("/", StaticFiles(directory=root))]), host="127.0.0.1", port=port, log_level="error")
