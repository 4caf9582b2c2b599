#!/usr/bin/python3
"""zeropush.py TOKEN: ZeroPush's API as far as POST /notify and /broadcast go, on 127.0.0.1; forms and JSON.

`FAIL n` on stdin: the next n calls end with 500. The first line on stdout is `listening PORT`; then, for each
notification, `pushed ` and its fields as JSON, or `error CODE`; for each line on stdin `done`.
"""

import json
import re
import sys

from push_server import Refused, Service, serve


class ZeroPush(Service):
    content_type = 'application/json'

    def __init__(self, token):
        self.token = token
        self.settings = {'FAIL': 0}

    def take(self, path, fields):
        names = [name for name, _ in fields]
        given = dict(fields)
        if self.settings['FAIL'] > 0:
            self.settings['FAIL'] -= 1
            raise Refused(500, 'internal server error')
        if given.get('auth_token') != self.token:
            raise Refused(401, 'auth_token is invalid')
        if not given.get('alert') and not given.get('badge'):
            raise Refused(400, 'alert or badge is required')
        if not re.fullmatch(r'[+-]?[0-9]+', given.get('badge', '0')):
            raise Refused(400, 'badge must be a number')
        # As Rack reads names: info[from] is a member of a map, device_tokens[] one of a list.
        if any(not re.fullmatch(r'\w+(\[\w*\])*', name) for name in names):
            raise Refused(400, 'a parameter has no name')
        if path.rstrip('/') == '/broadcast':
            return json.dumps({'sent_count': 1})
        if path == '/notify':
            tokens = [value for name, value in fields if name == 'device_tokens[]']
            if not tokens:
                raise Refused(400, 'device_tokens is required')
            return json.dumps({'sent_count': len(tokens), 'inactive_tokens': [], 'unregistered_tokens': []})
        raise Refused(404, 'not found')

    def refusal(self, status, why):
        return json.dumps({'error': 'unauthorized' if status == 401 else 'bad_request', 'message': why})


serve(ZeroPush(sys.argv[1]))
