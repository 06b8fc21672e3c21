"""The least that any host must do: take a request, hand it to a worker, and pass the bytes of its answer on.

``python reference_relay.py PORT SOCKET KEY`` listens on PORT of loopback; the worker is at SOCKET. It checks
nothing, counts nothing and survives nothing. What a host adds to its time is the price of all that.
"""

import asyncio
import sys

import httptools
import uvicorn


class Upstream(asyncio.Protocol):
    def __init__(self):
        self.parser, self.blocks = httptools.HttpResponseParser(self), asyncio.Queue()

    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        self.parser.feed_data(data)

    def on_body(self, body):
        self.blocks.put_nowait(body)

    def on_message_complete(self):
        self.blocks.put_nowait(b"")

    def connection_lost(self, error):
        self.blocks.put_nowait(b"")


async def relay(scope, receive, send):
    message = await receive()
    body = message["body"]
    while message.get("more_body"):
        message = await receive()
        body += message["body"]
    _, upstream = await asyncio.get_running_loop().create_unix_connection(Upstream, sys.argv[2])
    head = f"POST {scope['path']} HTTP/1.1\r\nHost: worker\r\nAuthorization: Bearer {sys.argv[3]}\r\n"
    head += f"Content-Type: application/json\r\nConnection: close\r\nContent-Length: {len(body)}\r\n\r\n"
    upstream.transport.write(head.encode() + body)
    headers = [(b"content-type", b"text/event-stream")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    while block := await upstream.blocks.get():
        await send({"type": "http.response.body", "body": block, "more_body": True})
    await send({"type": "http.response.body", "body": b""})
    upstream.transport.close()


if __name__ == "__main__":
    uvicorn.run(relay, port=int(sys.argv[1]), loop="uvloop", http="httptools", lifespan="off", log_level="warning")
