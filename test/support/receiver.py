#!/usr/bin/python3
"""receiver.py [PORT] [--status CODE]: an HTTP server on 127.0.0.1 that shows what is posted to it.

The first line on stdout is `listening PORT`; then one line of JSON per POST:
  {"path": ..., "headers": {...lower-case names...}, "raw": the body as it came, "fields": [[name, value], ...]}
The fields are decoded by Python's own urllib.parse, which shares no code with what sent them.
"""

import argparse
import http.server
import json
import urllib.parse


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'  # keeps the connection open between requests
    disable_nagle_algorithm = True

    def do_POST(self):
        raw = self.rfile.read(int(self.headers.get('content-length', 0)))
        post = {'path': self.path, 'headers': {name.lower(): value for name, value in self.headers.items()}}
        try:
            text = raw.decode('ascii')
            post['raw'] = text
            post['fields'] = urllib.parse.parse_qsl(
                text, keep_blank_values=True, strict_parsing=True, encoding='utf-8', errors='strict')
        except ValueError as error:
            post['error'] = str(error)
        print(json.dumps(post), flush=True)
        self.send_response(self.server.status)
        self.send_header('Content-Length', '0')
        self.end_headers()

    def log_message(self, *_args):
        pass  # stdout has it all


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128


def main():
    parser = argparse.ArgumentParser(description='Shows what is posted to it, one line of JSON per POST.')
    parser.add_argument('port', type=int, nargs='?', default=0, help='0, the default: any free one')
    parser.add_argument('--status', type=int, default=200, help='what to answer; 200 if not given')
    options = parser.parse_args()
    with Server(('127.0.0.1', options.port), Handler) as server:
        server.status = options.status
        print('listening', server.server_address[1], flush=True)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            pass


if __name__ == '__main__':
    main()
