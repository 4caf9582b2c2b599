#!/usr/bin/python3
"""prowl.py [KEY...]: Prowl's API (https://www.prowlapp.com/api.php) as far as POST /publicapi/add goes, on 127.0.0.1.

KEYs are valid. `LIMIT n` on stdin: n more calls are allowed in this hour; `FAIL n`: the next n end with 500. The first
line on stdout is `listening PORT`; then, for each notification, `pushed ` and its fields as JSON, or `error CODE`; for
each line on stdin `done`.
"""

import re
import sys
import time

from push_server import Refused, Service, serve

LENGTHS = {'providerkey': 40, 'url': 512, 'application': 256, 'event': 1024, 'description': 10000}  # bytes


class Prowl(Service):
    content_type = 'application/xml; charset=utf-8'

    def __init__(self, keys):
        self.keys = set(keys)
        self.settings = {'LIMIT': 1000, 'FAIL': 0}

    def take(self, path, fields):
        if path != '/publicapi/add':
            raise Refused(404, 'Not found')
        if self.settings['LIMIT'] <= 0:
            raise Refused(406, 'Not accepted: Your IP address has exceeded the API limit')
        self.settings['LIMIT'] -= 1
        if self.settings['FAIL'] > 0:
            self.settings['FAIL'] -= 1
            raise Refused(500, 'Internal server error')
        given = dict(fields)
        if len(given) != len(fields):
            raise Refused(400, 'Bad request: a parameter came twice')
        for name in ('apikey', 'application'):
            if not given.get(name):
                raise Refused(400, 'Bad request: Missing %s' % name)
        if not given.get('event') and not given.get('description'):
            raise Refused(400, 'Bad request: Missing event and description')
        for name, most in LENGTHS.items():
            if len(given.get(name, '').encode()) > most:
                raise Refused(400, 'Bad request: %s is too long' % name)
        if not re.fullmatch('-?[0-2]', given.get('priority', '0')):
            raise Refused(400, 'Bad request: Invalid priority')
        if not self.keys & {key for key in given['apikey'].split(',') if re.fullmatch('[0-9a-f]{40}', key)}:
            raise Refused(401, 'Invalid API key')
        return self.answer('<success code="200" remaining="%d" resetdate="%d" />' % (
            self.settings['LIMIT'], time.time() + 3600))

    def refusal(self, status, why):
        return self.answer('<error code="%d">%s</error>' % (status, why))

    def answer(self, xml):
        return '<?xml version="1.0" encoding="UTF-8"?>\n<prowl>\n%s\n</prowl>' % xml


serve(Prowl(sys.argv[1:]))
