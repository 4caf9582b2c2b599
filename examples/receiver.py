#!/usr/bin/python3
"""A backend to start from: takes the POSTs of mod_offline_post and hands each message on, once.

receiver.py PORT TOKEN, with `post_url: "http://127.0.0.1:PORT/"` and `auth_token: "TOKEN"` in ejabberd.yml.

What to answer: 2xx when the message is in safe hands; it is then never sent again. 503 when it cannot be taken
now; it comes again later. 400 when it can never be taken; it is not sent again. Answer within `timeout`.
"""

import collections
import hmac
import http.server
import sys
import urllib.parse

REMEMBERED = 100_000  # ids; a double follows a lost answer or a restart, usually soon
MAX_BYTES = 4 * 1024 * 1024


def notify(recipient, sender, text):
    """Put the push notification here. An exception has the message sent again later."""
    print('to %s: %s wrote: %s' % (recipient, sender, text), flush=True)


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'  # keeps connections open, which saves one round trip a message
    seen = collections.OrderedDict()

    def do_POST(self):
        length = int(self.headers.get('Content-Length', 0))
        if length > MAX_BYTES:
            self.close_connection = True
            return self.answer(413)
        form = dict(urllib.parse.parse_qsl(self.rfile.read(length).decode(), keep_blank_values=True))
        if not hmac.compare_digest(form.get('access_token', '').encode(), TOKEN):
            return self.answer(401)
        # A message may come twice, with the same id: a lost answer looks like a lost message.
        message_id = self.headers.get('webhook-id')
        if not message_id:
            return self.answer(400)
        if message_id not in self.seen:
            try:
                notify(form['to'], form['from'], form['body'])
            except KeyError:
                return self.answer(400)
            except Exception as error:
                print('cannot notify now:', error, file=sys.stderr)
                return self.answer(503)
            self.seen[message_id] = True
            while len(self.seen) > REMEMBERED:
                self.seen.popitem(last=False)
        self.answer(200)

    def answer(self, status):
        self.send_response(status)
        self.send_header('Content-Length', '0')
        self.end_headers()

    def log_message(self, *_args):
        pass


if __name__ == '__main__':
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    TOKEN = sys.argv[2].encode()
    try:
        http.server.ThreadingHTTPServer(('127.0.0.1', int(sys.argv[1])), Handler).serve_forever()
    except KeyboardInterrupt:
        pass
