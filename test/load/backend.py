#!/usr/bin/python3
"""A backend on 127.0.0.1 that takes a while for each answer, and has trouble.

SIGUSR1: for a while it takes requests and answers none of them; whoever still waits then gets an answer. GET tells what
it has seen so far, a line `NAME NUMBER` each.
"""

import argparse
import asyncio
import random
import signal


class World:
    def __init__(self, options):
        self.takes, self.fails, self.stall, self.stalled_until = options.takes, options.fails, options.stall, 0
        self.random = random.Random(6)  # the same faults in every run
        self.requests = self.failed = self.stalled = self.succeeded = 0
        self.ids = set()  # of all that was answered with 200

    def begin_stall(self):
        self.stalled_until = asyncio.get_running_loop().time() + self.stall

    def figures(self):
        return {'requests': self.requests, 'failed': self.failed, 'stalled': self.stalled, 'delivered': len(self.ids),
                'doubles': self.succeeded - len(self.ids)}


class Connection(asyncio.Protocol):
    def __init__(self, world):
        self.world, self.buffer = world, b''

    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        self.buffer += data
        head, end, body = self.buffer.partition(b'\r\n\r\n')
        if not end:
            return
        method, *lines = head.split(b'\r\n')
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(b':') for line in lines)}
        if len(body) < int(headers.get(b'content-length', 0)):
            return
        self.buffer = b''  # a client that waits for its answer sends nothing after this
        if method.startswith(b'GET '):
            figures = ''.join('%s %d\n' % figure for figure in self.world.figures().items())
            self.send(b'200 OK', figures.encode())
        else:
            self.take(headers[b'webhook-id'])

    def take(self, event):
        world, loop = self.world, asyncio.get_running_loop()
        world.requests += 1
        left = world.stalled_until - loop.time()
        world.stalled += left > 0
        status = world.random.choice([b'500', b'503']) if world.random.random() < world.fails else b'200'
        loop.call_later(max(left, world.takes), self.answer, event, status)

    def answer(self, event, status):
        if self.transport.is_closing():
            return  # the client has given up: it cannot know of any success
        if status == b'200':
            self.world.succeeded += 1
            self.world.ids.add(event)
        else:
            self.world.failed += 1
        self.send(status + b' Status', b'')

    def send(self, status, body):
        self.transport.write(b'HTTP/1.1 %s\r\nContent-Length: %d\r\n\r\n%s' % (status, len(body), body))


async def serve(options):
    world, loop = World(options), asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGUSR1, world.begin_stall)
    server = await loop.create_server(lambda: Connection(world), '127.0.0.1', options.port, backlog=1024)
    print('listening', flush=True)
    await server.serve_forever()


if __name__ == '__main__':
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('port', type=int)
    # A push service's time, so that one connection carries 20 requests a second.
    parser.add_argument('--takes', type=float, default=0.05, metavar='SECONDS', help='for each answer')
    parser.add_argument('--fails', type=float, default=0, metavar='PART', help='of the requests, with 500 or 503')
    parser.add_argument('--stall', type=float, default=0, metavar='SECONDS')
    asyncio.run(serve(parser.parse_args()))
