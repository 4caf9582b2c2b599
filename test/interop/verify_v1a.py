#!/usr/bin/python3
"""verify_v1a.py SECRET FILE: is one of the POST's signatures a v1a (ed25519) that libsodium takes, made with the private
key SECRET (whsk_...)? Only its public half is used. Prints `verified` or `refused: why`.
"""
import base64
import sys

import nacl.exceptions
import nacl.signing


def main(secret, path):
    head, body = open(path, 'rb').read().split(b'\r\n\r\n', 1)
    headers = dict(line.split(b': ', 1) for line in head.split(b'\r\n'))
    key = nacl.signing.VerifyKey(base64.b64decode(secret[len('whsk_'):] + '==')[32:])
    signed = b'.'.join([headers[b'webhook-id'], headers[b'webhook-timestamp'], body])
    listed = headers[b'webhook-signature'].decode().split(' ')
    signatures = [one[len('v1a,'):] for one in listed if one.startswith('v1a,')]
    for signature in signatures:
        try:
            key.verify(signed, base64.b64decode(signature, validate=True))
            return 'verified'
        except nacl.exceptions.BadSignatureError:
            pass
    return 'refused: none of %d v1a signatures fits' % len(signatures)


print(main(*sys.argv[1:]))
