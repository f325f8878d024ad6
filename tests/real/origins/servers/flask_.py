"""Flask's send_from_directory under Werkzeug. Arguments: the port, the folder, the packages."""
import sys

port, root, packages = int(sys.argv[1]), sys.argv[2], sys.argv[3]
sys.path.insert(0, packages)
from flask import Flask, send_from_directory
from werkzeug.serving import make_server

app = Flask("films", static_folder=None)
app.add_url_rule("/<path:path>", view_func=lambda path: send_from_directory(root, path))
make_server("127.0.0.1", port, app, threaded=True).serve_forever()
