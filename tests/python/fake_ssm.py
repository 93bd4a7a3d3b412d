"""Parameter Store for tests: moto answers, this stands before it, counts the calls and fails when told to."""

from __future__ import annotations

import http.client
import json
import logging
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import boto3
from moto.server import ThreadedMotoServer

from support import PLANTED

REGION = "eu-central-1"


class ParameterStore(ThreadingHTTPServer):
    """`with ParameterStore() as ssm`: an endpoint with moto's whole behaviour."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        # moto's web server would print a line for each call.
        logging.getLogger("werkzeug").setLevel(logging.ERROR)
        self.moto = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
        # The names of each GetParameters call, in order.
        self.calls: list[list[str]] = []
        # Any other operation: the gateway's role allows none.
        self.other_operations: list[str] = []
        # Asked before each call; a text like `ThrottlingException` is answered instead of moto.
        self.fail: Callable[[list[str]], str | None] = lambda names: None
        # Answers wait for this; a test clears it to hold them.
        self.open = threading.Event()
        self.open.set()
        self.arrived = threading.Semaphore(0)
        self.lock = threading.Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def __enter__(self) -> ParameterStore:
        self.moto.start()
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()
        host, port = self.moto.get_host_and_port()
        http_reset = http.client.HTTPConnection(host, port)
        # moto keeps its state in the process, not in the server.
        http_reset.request("POST", "/moto-api/reset")
        http_reset.getresponse().read()
        self.client = boto3.client(
            "ssm", REGION, endpoint_url=f"http://{host}:{port}", aws_access_key_id="x", aws_secret_access_key="x"
        )
        return self

    def __exit__(self, *_: object) -> None:
        self.open.set()
        self.shutdown()
        self.server_close()
        self.moto.stop()

    def handle_error(self, request: object, client_address: object) -> None:
        """A gateway that is stopped in the middle of a call is no fault."""

    def put(self, name: str, value: str) -> int:
        """Stores a secret, which from now on must not be seen; returns its version."""
        PLANTED.add(value)
        return self.client.put_parameter(Name=name, Value=value, Type="SecureString", Overwrite=True)["Version"]

    def label(self, name: str, version: int, label: str) -> None:
        self.client.label_parameter_version(Name=name, ParameterVersion=version, Labels=[label])


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: ParameterStore
    disable_nagle_algorithm = True

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name is the base class's
        pass

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        operation = self.headers["x-amz-target"].partition(".")[2]
        names: list[str] = json.loads(body).get("Names", [])
        with self.server.lock:
            if operation == "GetParameters":
                self.server.calls.append(names)
            else:
                self.server.other_operations.append(operation)
            failure = self.server.fail(names)
        self.server.arrived.release()
        self.server.open.wait(20)
        if failure:
            # The text quotes nothing that is secret, as AWS's do not.
            text = f"User: arn:aws:sts::123456789012:assumed-role/gateway is not authorized: {failure}"
            self.reply(400, {"x-amzn-errortype": failure}, json.dumps({"__type": failure, "message": text}).encode())
            return
        connection = http.client.HTTPConnection(*self.server.moto.get_host_and_port(), timeout=20)
        connection.request("POST", "/", body, dict(self.headers.items()))
        answer = connection.getresponse()
        status, body = answer.status, answer.read()
        connection.close()
        if operation == "GetParameters" and status == 200:
            body = self.as_aws_says_it(names, json.loads(body)["InvalidParameters"])
        self.reply(status, {}, body)

    def as_aws_says_it(self, names: list[str], invalid: list[str]) -> bytes:
        """moto leaves out `Selector` and keeps the order of the request. AWS gives a selector back and promises no order,
        so that what is asked for twice under several selectors can be told apart by it alone."""
        found = []
        for name in sorted(set(names) - set(invalid)):
            one = self.server.client.get_parameters(Names=[name], WithDecryption=True)["Parameters"][0]
            bare = name.rpartition(":parameter")[2] if name.startswith("arn:") else name
            _, colon, selector = bare.partition(":")
            shown = {key: one[key] for key in ("Name", "Type", "Value", "Version", "ARN", "DataType")}
            found.append(shown | ({"Selector": colon + selector} if colon else {}))
        # Those with a selector first: the trap for a reader that takes the first of the right name.
        found.sort(key=lambda one: "Selector" not in one)
        return json.dumps({"Parameters": found, "InvalidParameters": invalid}).encode()

    def reply(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.send_response(status)
        for name, value in ({"content-type": "application/x-amz-json-1.1", "content-length": str(len(body))} | headers).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)
