"""Traces of a real run at a real OTLP receiver: one trace from the webhook's sender over message and effect to the target."""

from __future__ import annotations

import gzip
import http.server
import threading
from pathlib import Path

import pytest

pytest.importorskip("opentelemetry.proto")
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from journeys.live import DESK, PROJECT, Live, desk
from servers import wait_until

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
MARK = "marked.person@planted.example"
FILES = {
    "systems/desk.yaml": DESK,
    "systems/board.yaml": """
system: board
connector: http
settings:
  address: ${env:BOARD_ADDRESS}
  operations:
    pin: {path: /pin, takes: {id: integer, text: string}}
""",
    "flows/f.yaml": """
flow: f
on: {webhook: desk.tickets}
key: text
steps:
  - call: board.pin
    with: {id: id, text: text}
""",
}


class Collector:
    """``bodies`` as they came, decoded; a server in a thread."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        self.figures: list[bytes] = []
        bodies, figures = self.bodies, self.figures

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                whole = gzip.decompress(body) if self.headers.get("content-encoding") == "gzip" else body
                (bodies if self.path == "/v1/traces" else figures).append(whole)
                answer = ExportTraceServiceResponse().SerializeToString()
                self.send_response(200)
                self.send_header("content-type", "application/x-protobuf")
                self.send_header("content-length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_args: object) -> None:
                """Nothing on the terminal."""

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.server.server_address[1]}"
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        self.thread.start()

    def close(self) -> None:
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()

    def counts(self) -> dict[str, tuple[int, set[str]]]:
        """Of each metric told last: the sum of what its points count, and the values of their labels."""
        metrics = [
            metric
            for resource in ExportMetricsServiceRequest.FromString(self.figures[-1]).resource_metrics
            for scope in resource.scope_metrics
            for metric in scope.metrics
        ]
        found = {}
        for one in metrics:
            points = one.sum.data_points or one.histogram.data_points
            count = sum(point.as_int if one.HasField("sum") else point.count for point in points)
            found[one.name] = (count, {label.value.string_value for point in points for label in point.attributes})
        return found

    def spans(self) -> list[tuple[str, str, str, str, dict[str, str]]]:
        """(name, trace, span, parent, attributes) of each."""
        return [
            (
                span.name,
                span.trace_id.hex(),
                span.span_id.hex(),
                span.parent_span_id.hex(),
                {one.key: one.value.string_value for one in span.attributes},
            )
            for body in self.bodies
            for resource in ExportTraceServiceRequest.FromString(body).resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]


def test_one_trace_from_the_sender_to_the_target(tmp_path: Path) -> None:
    collector, seen = Collector(), []

    def answer(_method: str, _path: str, _body: object, headers: object) -> tuple[int, dict[str, str]]:
        seen.append(headers)
        return 200, {}

    project = PROJECT.replace(
        "drain: 10s", f'drain: 10s, telemetry: {{otlp: "{collector.address}", sample: 1, metrics_every: 1s}}'
    )
    try:
        with desk(answer) as board:
            live = Live(tmp_path, {**FILES, "accord.yaml": project}, environment={"BOARD_ADDRESS": board.address})
            with live:
                parent = {"traceparent": f"00-{TRACE}-{SPAN}-01"}
                assert live.hook({"id": 1, "text": MARK, "version": 1}, id="1", **parent)[0] == 200
                assert live.hook({"id": 2, "text": MARK, "version": 1}, id="2")[0] == 200
                live.wait_settled()
                known = lambda: bool(collector.figures) and collector.counts()["accord.messages.accepted"][0] == 2  # noqa: E731
                wait_until("figures have come", known)
                figures = collector.counts()
            wait_until("all spans", lambda: len(collector.spans()) == 4)
    finally:
        collector.close()
    followed = {name: (span, parent, marks) for name, trace, span, parent, marks in collector.spans() if trace == TRACE}
    assert followed.keys() == {"f", next(name for name in followed if name != "f")}
    message, effect = followed.pop("f"), next(iter(followed.values()))
    assert message[1] == SPAN
    assert message[2]["accord.outcome"] == "done"
    assert effect[1] == message[0]
    assert effect[2]["accord.system"] == "board"
    (sent,) = [headers["traceparent"] for headers in seen if TRACE in headers["traceparent"]]
    assert sent == f"00-{TRACE}-{effect[0]}-01"
    others = [(trace, marks) for name, trace, _, _, marks in collector.spans() if trace != TRACE and name == "f"]
    assert others[0][0] == others[0][1]["accord.message.id"], "without a trace of its sender, a message is its own"
    assert MARK.encode() not in b"".join(collector.bodies + collector.figures)
    assert figures["accord.message.duration"] == (2, {"f"})
    assert figures["accord.system.requests"] == (2, {"board", "done"})
    assert figures["accord.step.duration"][1] == {"f", "0.call"}
