"""aiohttp: a handler that returns FileResponse. Arguments: the port, the folder, the packages."""
import sys

port, root, packages = int(sys.argv[1]), sys.argv[2], sys.argv[3]
sys.path.insert(0, packages)
from aiohttp import web

app = web.Application()
app.router.add_get("/{path:.+}", lambda request: web.FileResponse(f"{root}/{request.match_info['path']}"))
web.run_app(app, host="127.0.0.1", port=port, print=None)
