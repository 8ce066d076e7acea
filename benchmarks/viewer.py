"""A visitor without a browser: the page by HTTP, its document by Bokeh's protocol, and the answers that the page's scripts give.

What a browser does with the news, this one does not: it keeps the steps of the plots' table, takes `DRAWING` seconds over each drawing, and
tells the server that it is drawn, on which the server's pace depends (app/turns.py).
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urljoin

from bokeh.client.websocket import WebSocketClientConnectionWrapper
from bokeh.core.serialization import Deserializer, Serialized
from bokeh.protocol import Protocol
from bokeh.protocol.message import Message
from bokeh.protocol.messages.patch_doc import patch_doc
from bokeh.protocol.receiver import Receiver
from tornado.httpclient import AsyncHTTPClient, HTTPRequest
from tornado.websocket import websocket_connect

DRAWING = 0.05  # seconds: what Chromium takes for a drawing of six panels on an idle machine
PATIENCE = 180.0  # seconds until the page must be there
LARGEST = 2**27  # bytes of a message
TOKEN = re.compile(r'"token":"([^"]+)"')
PARTS = re.compile(r'(?:src|href)="([^"]+\.(?:js|css)[^"]*)"')


class Broken(Exception):
    """The server did not answer as its page needs it to."""


@dataclass
class Parts:
    """Identifiers of the models that a viewer deals with: where the transport listens, where its state is, the plots' table."""

    transport: str
    state: str
    table: str

    @classmethod
    def of(cls, document: dict[str, Any]) -> Parts:
        """As a pulled document's JSON names them. Raises Broken."""
        transport = next((model for model in objects(document) if _name(model) == "transport" and "data" in model["attributes"]), None)
        table = next((model for model in objects(document) if _name(model) == "table"), None)
        if transport is None or table is None:
            raise Broken("the document has no transport, or no table")
        return cls(transport["id"], transport["attributes"]["data"]["id"], table["id"])


def objects(value: Any) -> Iterator[dict[str, Any]]:
    """All models written out in a piece of Bokeh's JSON."""
    if isinstance(value, dict):
        if value.get("type") == "object" and "attributes" in value:
            yield value
        for part in value.values():
            yield from objects(part)
    elif isinstance(value, list):
        for part in value:
            yield from objects(part)


def _name(model: dict[str, Any]) -> str:
    return model["attributes"].get("name") or ""


def event(name: str, **values: Any) -> dict[str, Any]:
    """An event as BokehJS sends it: `document_ready`, or the `data_event` of a component's message."""
    entries = {"entries": [list(entry) for entry in values.items()]} if values else {}
    return {
        "kind": "MessageSent",
        "msg_type": "bokeh_event",
        "msg_data": {"type": "event", "name": name, "values": {"type": "map", **entries}},
    }


def told(model: str, **message: Any) -> dict[str, Any]:
    """What a component's script says by `model.send_msg` (app/assets/dom.js)."""
    return event("data_event", model={"id": model}, data={"type": "map", "entries": [list(entry) for entry in message.items()]})


@dataclass
class Viewer:
    """One visitor of one address. failures: sentences.

    steps: those in its table. arrivals: step -> seconds since the epoch at which it came, for those that came while it watched.
    """

    url: str
    presses: bool = True  # Run
    steps: list[int] = field(default_factory=list)
    arrivals: dict[int, float] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)
    messages: int = 0
    opened: float = 0.0  # seconds until the document was there

    async def watch(self, leave: asyncio.Event) -> None:
        """Open the page, press Run, and keep up with the news until it is time to leave. What goes wrong becomes a failure."""
        try:
            begin = time.time()
            async with asyncio.timeout(PATIENCE):
                page = await self._open()
            self.opened = time.time() - begin
            try:
                await page.follow(leave)
            finally:
                page.close()
        except Exception as problem:
            self.failures.append(f"{type(problem).__name__}: {problem}")

    async def _open(self) -> _Page:
        client = AsyncHTTPClient(force_instance=True)  # as many connections as viewers
        html = (await client.fetch(HTTPRequest(self.url, request_timeout=2 * PATIENCE))).body.decode()
        for part in dict.fromkeys(PARTS.findall(html)):
            await client.fetch(HTTPRequest(urljoin(self.url, part), request_timeout=2 * PATIENCE))
        token = TOKEN.search(html)
        if token is None:
            raise Broken("the page names no session")
        address = re.sub(r"^http(.*?)/?(\?|$)", r"ws\1/ws\2", self.url, count=1)
        socket = await websocket_connect(address, subprotocols=["bokeh", token[1]], max_message_size=LARGEST)
        page = _Page(self, WebSocketClientConnectionWrapper(socket))
        try:
            await page.begin()
        except BaseException:
            page.close()
            raise
        return page

    def take(self, change: dict[str, Any], buffers: list[Any], now: float) -> None:
        """What a change of the table's data means for its steps."""
        if change["kind"] == "ColumnsStreamed":
            fresh = _column(change["data"], buffers)
            if self.steps and fresh and fresh[0] <= self.steps[-1]:
                self.failures.append(f"step {fresh[0]} was streamed behind step {self.steps[-1]}")
            self.steps += fresh
        elif change["kind"] == "ColumnDataChanged" or (change["kind"] == "ModelChanged" and change["attr"] == "data"):
            newest, shown = self.steps[-1] if self.steps else -1, _column(change["data" if "data" in change else "new"], buffers)
            self.steps, fresh = shown, [step for step in shown if step > newest]
        else:
            return
        for step in fresh:
            self.arrivals.setdefault(step, now)


def _column(data: dict[str, Any], buffers: list[Any], name: str = "step") -> list[int]:
    """A column of a table's data, which is a map whose values are lists or arrays."""
    values = next(value for key, value in data["entries"] if key == name)
    return [int(value) for value in Deserializer().deserialize(Serialized(values, buffers))]


class _Page:
    """An open page's conversation with the server."""

    def __init__(self, viewer: Viewer, socket: WebSocketClientConnectionWrapper):
        self.viewer = viewer
        self._socket = socket
        self._receiver = Receiver(Protocol())
        self._drawn = 0
        self._tasks: set[asyncio.Task[None]] = set()

    async def begin(self) -> None:
        """Pull the document, say that it is ready, and press Run."""
        if (await self._next()).msgtype != "ACK":
            raise Broken("the server did not greet")
        await Protocol().create("PULL-DOC-REQ").send(self._socket)
        while (answer := await self._next()).msgtype != "PULL-DOC-REPLY":
            pass
        document: Any = answer.content["doc"]
        self._parts = Parts.of(document)
        data = next(model["attributes"]["data"] for model in objects(document) if model["id"] == self._parts.table)
        self.viewer.steps = _column(data, answer.buffers)
        await self._say(event("document_ready"))
        if self.viewer.presses:
            await self._say(told(self._parts.transport, action="run", sent=1))

    async def follow(self, leave: asyncio.Event) -> None:
        """Take the news until it is time to leave."""
        leaving = asyncio.ensure_future(leave.wait())
        try:
            while not leave.is_set():
                news = asyncio.ensure_future(self._next())
                await asyncio.wait({news, leaving}, return_when=asyncio.FIRST_COMPLETED)
                if not news.done():
                    news.cancel()
                    break
                self._take(news.result())
        finally:
            leaving.cancel()

    def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        self._socket.close()

    def _take(self, message: Message[Any]) -> None:
        if message.msgtype == "ERROR":
            self.viewer.failures.append(f"the server said: {message.content.get('text')}")
        if message.msgtype != "PATCH-DOC":
            return
        now = time.time()
        self.viewer.messages += 1
        for change in message.content["events"]:
            model = change.get("model", {}).get("id")
            if model == self._parts.table:
                self.viewer.take(change, message.buffers, now)
            elif model == self._parts.state and change.get("attr") == "state":
                number = dict(change["new"]["entries"])["drawing"]
                if number != self._drawn:
                    self._drawn = number
                    task = asyncio.ensure_future(self._draw(number))
                    self._tasks.add(task)
                    task.add_done_callback(self._tasks.discard)

    async def _draw(self, number: int) -> None:
        await asyncio.sleep(DRAWING)
        await self._say(told(self._parts.transport, drawn=number))

    async def _say(self, *events: dict[str, Any]) -> None:
        content: Any = {"events": list(events)}
        await patch_doc(patch_doc.create_header(), {}, content).send(self._socket)

    async def _next(self) -> Message[Any]:
        while True:
            fragment = await self._socket.read_message()
            if fragment is None:
                raise Broken("the server closed the connection")
            message = await self._receiver.consume(fragment)
            if message is not None:
                return message
