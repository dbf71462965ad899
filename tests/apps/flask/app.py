"""An ordinary Flask service that knows nothing of telemetry; `weir run` observes it.

Routes: /hello/<name> answers at once, /slow takes 120 ms, /fail answers 500, /relay calls the URL in `to`.
"""

import os
import time

import requests
from flask import Flask, request

app = Flask(__name__)


@app.get("/hello/<name>")
def hello(name):
    return {"hello": name}


@app.get("/slow")
def slow():
    time.sleep(0.12)
    return {"slow": True}


@app.get("/fail")
def fail():
    raise RuntimeError("the database said no")


@app.get("/relay")
def relay():
    return {"relayed": requests.get(request.args["to"], timeout=5).status_code}


if __name__ == "__main__":
    app.run(host="127.0.0.1", port=int(os.environ.get("PORT", "8081")))
