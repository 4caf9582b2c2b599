#!/usr/bin/python3
"""Any number of real XMPP clients, driven by lines on stdin, over plain TCP to a server of ours.

stdin    connect NAME JID PASSWORD HOST PORT [sm|resume]  log in; NAME is ours for this session; sm: with stream
                                                   management (XEP-0198), an acknowledgement asked for after each say;
                                                   resume: one that can be resumed
         send NAME BASE64XML                    a stanza, sent exactly as it is
         say NAME ID JID BASE64TEXT             a chat message
         presence NAME                          initial presence: available
         disconnect NAME                        close the stream as a client should
         kill NAME                              drop the TCP connection
         deaf NAME                              acknowledge nothing from now on, not even by a resume; the connection
                                                stays, and what arrives is shown
         hush NAME                              acknowledge nothing until the next resume, which tells what has arrived
         hear NAME                              after a kill: the next resume ends being deaf
         resume NAME                            connect again after a kill and go on with the old session
         reset TEXT                             end all sessions as kill does, forget their names, and echo TEXT
         echo TEXT                              say so; all lines before this one were obeyed by then
         quit                                   close all and end; so does the end of stdin
stdout   connected NAME FULLJID                 session begun, nothing sent but what login needs
         resumed NAME                           the old session goes on; connected NAME ...: a new one had to begin
         failed NAME REASON                     no session came of it
         recv NAME BASE64XML                    every stanza that arrives in a session
         acked NAME ID                          the server has acknowledged what was said (sm)
         disconnected NAME                      the session is over, whoever ended it
         echo TEXT
         error NAME TEXT                        a command that could not be obeyed; NAME is - if it has none
"""

import asyncio
import base64
import logging
import sys
import threading

logging.basicConfig(level=logging.CRITICAL)  # before slixmpp, which warns at import

import slixmpp  # noqa: E402
from slixmpp.xmlstream import tostring  # noqa: E402

STANZAS = tuple('{jabber:client}' + kind for kind in ('message', 'presence', 'iq'))
LOGIN_SECONDS = 20
CLOSE_SECONDS = 5


def tell(*words):
    print(*(' '.join(str(word).split()) for word in words), flush=True)


class Client(slixmpp.ClientXMPP):
    def __init__(self, name, jid, password):
        # PLAIN: without TLS, slixmpp 1.10 and ejabberd 24.12 do not agree on SCRAM's channel binding.
        super().__init__(jid, password, sasl_mech='PLAIN')
        self.plugin['feature_mechanisms'].unencrypted_plain = True
        self.name = name
        self.auto_authorize = None  # answer no subscription by ourselves
        self.auto_subscribe = False
        self.whitespace_keepalive = False
        self.in_session = False
        self.deaf = False
        self.over = asyncio.get_running_loop().create_future()
        self.add_event_handler('session_start', self.begin)
        self.add_event_handler('session_resumed', self.go_on)
        self.add_event_handler('failed_all_auth', lambda _: self.end('not authorized'))
        self.add_event_handler('connection_failed', self.end)
        self.add_event_handler('disconnected', self.end)

    def manage_stream(self, resumable):
        self.register_plugin('xep_0198', {'window': 1, 'allow_resume': resumable})
        self.add_event_handler('stanza_acked', lambda stanza: tell('acked', self.name, stanza['id']))

    def open(self, host, port):
        self.address = (host, port)
        if hasattr(self, 'enable_plaintext'):  # slixmpp 1.9 and later
            self.enable_plaintext = True
            self.enable_starttls = self.enable_direct_tls = False
            self.connect(host, port)
        else:
            self.connect((host, port), force_starttls=False, disable_starttls=True)
        self.loop.call_later(LOGIN_SECONDS, self.give_up)

    def begin(self, _event):
        self.in_session = True
        tell('connected', self.name, self.boundjid.full)

    def acknowledge_nothing(self):
        self.deaf = True
        management = self.plugin['xep_0198']
        management.send_ack = lambda: None
        management.enabled_in = False  # counts nothing, so that a resume does not tell of it

    def acknowledge_again(self):
        self.deaf = False
        vars(self.plugin['xep_0198']).pop('send_ack', None)  # a resume has it count again

    def go_on(self, _event):
        self.in_session = True
        if self.deaf:
            self.acknowledge_nothing()
        tell('resumed', self.name)

    def reopen(self):
        self.over = asyncio.get_running_loop().create_future()
        self.open(*self.address)

    def give_up(self):
        if not self.in_session and not self.over.done():
            self.end('no session within %d s' % LOGIN_SECONDS)

    def end(self, reason):
        """Says how it ended, once, and keeps slixmpp from trying again."""
        if self.over.done():
            return
        self.over.set_result(None)
        if self.in_session:
            self.in_session = False
            tell('disconnected', self.name)
        else:
            tell('failed', self.name, reason or 'connection closed during login')
        self.cancel_connection_attempt()
        self.drop()

    def drop(self):
        if self.transport:
            self.transport.abort()

    def incoming_filter(self, xml):
        if self.in_session and xml.tag in STANZAS:
            text = tostring(xml, xmlns='', top_level=True)
            tell('recv', self.name, base64.b64encode(text.encode()).decode())
        return xml


class Driver:
    def __init__(self):
        self.clients = {}

    def obey(self, line):
        """Obeys one line; false ends."""
        command, *words = line.split() or ['']
        if command in ('', 'quit'):
            return command == ''
        name = words[0] if words else '-'
        try:
            getattr(self, 'do_' + command)(*words)
        except AttributeError:
            tell('error', name, 'no such command:', command)
        except Exception as error:  # a bad line must not end the other sessions
            tell('error', name, command + ':', error)
        return True

    def session(self, name):
        client = self.clients.get(name)
        if client is None or not client.in_session:
            raise ValueError('no session')
        return client

    def do_connect(self, name, jid, password, host, port, sm=None):
        if name in self.clients and not self.clients[name].over.done():
            raise ValueError('name in use')
        client = self.clients[name] = Client(name, jid, password)
        if sm:
            client.manage_stream(resumable=sm == 'resume')
        client.open(host, int(port))

    def do_say(self, name, stanza_id, jid, text):
        message = self.session(name).make_message(jid, base64.b64decode(text).decode(), mtype='chat')
        message['id'] = stanza_id
        message.send()

    def do_send(self, name, xml):
        self.session(name).send_raw(base64.b64decode(xml, validate=True))

    def do_reset(self, text):
        for client in self.clients.values():
            client.end('reset')
        self.clients.clear()
        tell('echo', text)

    def do_echo(self, text):
        tell('echo', text)

    def do_presence(self, name):
        self.session(name).send_raw('<presence/>')

    def do_disconnect(self, name):
        self.session(name).disconnect()

    def do_kill(self, name):
        self.session(name).drop()

    def do_deaf(self, name):
        self.session(name).acknowledge_nothing()

    def do_hush(self, name):
        self.session(name).plugin['xep_0198'].send_ack = lambda: None

    def do_hear(self, name):
        self.clients[name].acknowledge_again()

    def do_resume(self, name):
        client = self.clients[name]
        if not client.over.done():
            raise ValueError('session goes on')
        client.reopen()

    async def close(self):
        open_ones = [client for client in self.clients.values() if not client.over.done()]
        for client in open_ones:
            client.disconnect() if client.in_session else client.end('quit')
        if open_ones:
            await asyncio.wait([client.over for client in open_ones], timeout=CLOSE_SECONDS)


def read_stdin(loop, lines):
    for line in sys.stdin:
        loop.call_soon_threadsafe(lines.put_nowait, line)
    loop.call_soon_threadsafe(lines.put_nowait, 'quit')


async def main():
    lines = asyncio.Queue()
    # A thread, because stdin may be a file, which asyncio cannot wait for.
    threading.Thread(target=read_stdin, args=(asyncio.get_running_loop(), lines), daemon=True).start()
    driver = Driver()
    while driver.obey(await lines.get()):
        pass
    await driver.close()


if __name__ == '__main__':
    try:
        asyncio.run(main())
    except (KeyboardInterrupt, BrokenPipeError):
        pass
