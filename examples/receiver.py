#!/usr/bin/python3
"""A backend to start from: takes signed events of mod_offline_post and hands each to a push service, once.

    SECRET=whsec_... PUSH_URL=https://push.example/send receiver.py PORT

with `format: json`, `signing_secrets: [whsec_...]` and `post_url: "http://127.0.0.1:PORT/"` in ejabberd.yml.
"""
import base64, collections, hashlib, hmac, http.server, json, os, sys, time, urllib.request

KEY = base64.b64decode(os.environ['SECRET'][len('whsec_'):] + '==')
MAX_BYTES, TOLERANCE_S, REMEMBERED = 4 * 1024 * 1024, 300, 100_000


def push(to, title, text):
    """Your push service. An exception has the event sent again later; so has one that takes longer than `timeout`."""
    url = os.environ.get('PUSH_URL')
    if not url:
        return print('to %s: %s: %s' % (to, title, text), flush=True)
    body = json.dumps({'to': to, 'title': title, 'text': text}).encode()
    urllib.request.urlopen(urllib.request.Request(url, body, {'Content-Type': 'application/json'}), timeout=3).close()


def is_genuine(headers, body):
    """Standard Webhooks 1.0, v1: one of the signatures is ours, and made just now."""
    message_id, sent_at = headers.get('webhook-id', ''), headers.get('webhook-timestamp', '')
    if not message_id or not sent_at.isdecimal() or abs(time.time() - int(sent_at)) > TOLERANCE_S:
        return False
    digest = hmac.new(KEY, b'%s.%s.%s' % (message_id.encode(), sent_at.encode(), body), hashlib.sha256).digest()
    ours = b'v1,' + base64.b64encode(digest)
    return any([hmac.compare_digest(ours, one.encode()) for one in headers.get('webhook-signature', '').split()])


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'  # keeps connections open
    seen = collections.OrderedDict()

    def do_POST(self):
        length = int(self.headers.get('Content-Length', 0))
        self.close_connection = length > MAX_BYTES
        self.send_response(413 if length > MAX_BYTES else self.take(self.rfile.read(length)))
        self.send_header('Content-Length', '0')
        self.end_headers()

    def take(self, body):
        """2xx: in safe hands, never sent again. 503: again later."""
        if not is_genuine(self.headers, body):
            return 401
        message_id, event = self.headers['webhook-id'], json.loads(body)['data']
        if message_id not in self.seen:  # twice with the same id: a lost answer looks like a lost message
            try:
                push(event['to'], event.get('from', ''), event['body'])
            except OSError as error:
                print('cannot push now:', error, file=sys.stderr)
                return 503
            self.seen[message_id] = True
            len(self.seen) > REMEMBERED and self.seen.popitem(last=False)
        return 204


http.server.ThreadingHTTPServer(('127.0.0.1', int(sys.argv[1])), Handler).serve_forever()
