"""What the push services of the tests share: see prowl.py and zeropush.py."""

import http.server
import json
import sys
import threading
import urllib.parse


class Refused(Exception):
    def __init__(self, status, why):
        super().__init__(why)
        self.status = status


class Service:
    """take(path, fields) -> the text of a 200, or raises Refused; refusal(status, why) -> the text of another status."""

    def command(self, line):
        name, value = line.split()
        self.settings[name] = int(value)


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'
    disable_nagle_algorithm = True

    def do_POST(self):
        service = self.server.service
        body = self.rfile.read(int(self.headers.get('content-length', 0)))
        with self.server.lock:
            try:
                fields = self.fields(body)
                status, text = 200, service.take(self.path, fields)
                print('pushed', json.dumps([self.path, fields], ensure_ascii=True), flush=True)
            except Refused as refused:
                status, text = refused.status, service.refusal(refused.status, str(refused))
                print('error', status, flush=True)
        self.answer(status, text)

    def do_GET(self):
        self.answer(405, self.server.service.refusal(405, 'Method not allowed'))

    def fields(self, body):
        kind = self.headers.get('content-type', '').split(';')[0]
        try:
            if kind == 'application/json':
                return [(name, value if isinstance(value, str) else json.dumps(value))
                        for name, value in json.loads(body).items()]
            if kind != 'application/x-www-form-urlencoded':
                raise Refused(400, 'neither a form nor JSON')
            return urllib.parse.parse_qsl(
                body.decode('ascii'), keep_blank_values=True, strict_parsing=True, errors='strict')
        except ValueError as error:
            raise Refused(400, 'cannot be read: %s' % error) from error

    def answer(self, status, text):
        self.send_response(status)
        self.send_header('Content-Type', self.server.service.content_type)
        self.send_header('Content-Length', str(len(text.encode())))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *_args):
        pass


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128


def serve(service):
    """Until stdin ends."""
    with Server(('127.0.0.1', 0), Handler) as server:
        server.service, server.lock = service, threading.Lock()
        threading.Thread(target=server.serve_forever, daemon=True).start()
        print('listening', server.server_address[1], flush=True)
        for line in sys.stdin:
            with server.lock:
                service.command(line)
                print('done', flush=True)
