#!/usr/bin/python3
"""What scripts/demo says and hears: XMPP over TCP on one side, what the receiver printed on the other.

demo.py compare XMPP_PORT POSTS TOKEN   send a set of messages; 0 if exactly they arrive, field by field
demo.py say XMPP_PORT TEXT              send one message
demo.py follow POSTS                    show every further POST, until a signal
"""

import base64
import json
import os
import subprocess
import sys
import time
from xml.sax.saxutils import escape

CLIENT = os.path.join(os.path.dirname(os.path.abspath(__file__)), '../../test/support/xmpp_client.py')
SENDER, RECIPIENT, HOST, PASSWORD = 'romeo+verona', 'juliet', 'localhost', 'secret'
SECONDS = 30


def message(*bodies, attributes=''):
    bodies = ''.join('<body%s>%s</body>' % body for body in bodies)
    return "<message to='%s@%s' type='chat' %s>%s</message>" % (RECIPIENT, HOST, attributes, bodies)


def plain(text):
    return message(('', escape(text)))


# What is sent, and the text that is to arrive; None: nothing is.
TALK = [
    ('plain text', plain('Good night, good night!'), 'Good night, good night!'),
    ('what a form must escape', plain('50% + 50% = 100% & "more" ?to=x;'), '50% + 50% = 100% & "more" ?to=x;'),
    ('a chat state, without text', "<message to='%s@%s' type='chat'><composing "
     "xmlns='http://jabber.org/protocol/chatstates'/></message>" % (RECIPIENT, HOST), None),
    ('lines', plain('parting\nis such\n\n\tsweet sorrow'), 'parting\nis such\n\n\tsweet sorrow'),
    ('emoji and other scripts', plain('🌹 👩‍❤️‍👨 ïñtërnâtiônàl 朱丽叶 جولييت'), '🌹 👩‍❤️‍👨 ïñtërnâtiônàl 朱丽叶 جولييت'),
    ('two languages, in a German message',
     message((" xml:lang='en'", 'Good night'), (" xml:lang='de'", 'Gute Nacht'), attributes="xml:lang='de'"), 'Gute Nacht'),
    ('64 KiB', plain('0123456789abcde\n' * 4096), '0123456789abcde\n' * 4096),
]


class Client:
    """One session of the XMPP client."""

    def __init__(self, port):
        self.process = subprocess.Popen([CLIENT], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.tell('connect', 'romeo', '%s@%s/balcony' % (SENDER, HOST), PASSWORD, '127.0.0.1', str(port))
        self.expect('connected')

    def tell(self, *words):
        print(*words, file=self.process.stdin, flush=True)

    def expect(self, event):
        line = self.process.stdout.readline()
        while line.startswith('recv '):  # such as the bounced chat state
            line = self.process.stdout.readline()
        if not line.startswith(event + ' '):
            sys.exit('demo: the XMPP client says: ' + (line.strip() or 'nothing'))

    def send(self, stanza):
        self.tell('send', 'romeo', base64.b64encode(stanza.encode()).decode())

    def close(self):
        self.tell('disconnect', 'romeo')
        self.expect('disconnected')
        self.process.communicate()


def posts(path, only_new=False):
    """Every POST the receiver has told of in the file, for ever; None when there is none yet."""
    with open(path) as lines:
        lines.readline()  # listening PORT
        if only_new:
            lines.seek(0, os.SEEK_END)
        part = ''
        while True:
            part += lines.readline()
            if part.endswith('\n'):
                yield json.loads(part)
                part = ''
            else:
                yield None


def next_post(arriving):
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        post = next(arriving)
        if post:
            return post
        time.sleep(0.02)
    sys.exit('demo: nothing arrived within %d s' % SECONDS)


def shown(value):
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 70 else '%s..." (%d characters)' % (text[:50], len(value))


def show(post):
    print('  POST %s  webhook-id: %s' % (post['path'], post['headers'].get('webhook-id')))
    for name, value in post.get('fields', []):
        print('    %-13s %s' % (name, shown(value)))


def differences(post, text, token, ids):
    expected = [['to', RECIPIENT], ['from', SENDER], ['body', text], ['access_token', token]]
    headers = post['headers']
    if post.get('fields') != expected:
        for have, want in zip(post.get('fields', []), expected):
            if have != want:
                yield '%s is %s, not %s' % (have[0], shown(have[1]), shown(want[1]))
        yield 'the fields are %s' % [name for name, _ in post.get('fields', [])]
    if headers.get('content-type') != 'application/x-www-form-urlencoded':
        yield 'content-type is %s' % headers.get('content-type')
    if not headers.get('webhook-id') or headers['webhook-id'] in ids:
        yield 'webhook-id is missing or not new'
    if not headers.get('user-agent'):
        yield 'user-agent is missing'


def compare(port, path, token):
    arriving, client, ids, failed = posts(path), Client(port), set(), 0
    expected = 0
    for what, stanza, text in TALK:
        client.send(stanza)
        print('\n%s' % what)
        if text is None:
            print('  no POST is to come of it; a wrong one would be the next to arrive')
            continue
        expected += 1
        post = next_post(arriving)
        show(post)
        different = list(differences(post, text, token, ids))
        ids.add(post['headers'].get('webhook-id'))
        for difference in different:
            print('    DIFFERS: ' + difference)
        print('    ' + ('not what was sent' if different else 'equal to what was sent, field by field'))
        failed += bool(different)
    client.close()
    print('\ndemo: %d of %d messages arrived exactly as they were sent' % (expected - failed, expected))
    return 1 if failed or next(arriving) else 0


def say(port, text):
    client = Client(port)
    client.send(plain(text))
    client.close()
    return 0


def follow(path):
    for post in posts(path, only_new=True):
        if post is None:
            time.sleep(0.1)
        else:
            show(post)
            sys.stdout.flush()


def main(command='', *arguments):
    commands = {'compare': (compare, 3), 'say': (say, 2), 'follow': (follow, 1)}
    function, count = commands.get(command, (None, -1))
    if count != len(arguments):
        sys.exit(__doc__)
    return function(*arguments)


if __name__ == '__main__':
    try:
        sys.exit(main(*sys.argv[1:]))
    except (KeyboardInterrupt, BrokenPipeError):
        sys.exit(130)
