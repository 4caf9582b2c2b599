#!/usr/bin/env node
// A backend to start from: takes signed events of mod_offline_post and hands each to a push service, once.
//
//     SECRET=whsec_... PUSH_URL=https://push.example/send receiver.js PORT
//
// with `format: json`, `signing_secrets: [whsec_...]` and `post_url: "http://127.0.0.1:PORT/"` in ejabberd.yml.
'use strict';
const crypto = require('crypto');
const http = require('http');

const KEY = Buffer.from(process.env.SECRET.slice('whsec_'.length), 'base64');
const MAX_BYTES = 4 * 1024 * 1024, TOLERANCE_S = 300, REMEMBERED = 100000;

// Your push service. A failure has the event sent again later; so has an answer that takes longer than `timeout`.
async function push(to, title, text) {
  if (!process.env.PUSH_URL) return console.log(`to ${to}: ${title}: ${text}`);
  const answer = await fetch(process.env.PUSH_URL, {
    method: 'POST', headers: {'Content-Type': 'application/json'}, body: JSON.stringify({to, title, text}),
    signal: AbortSignal.timeout(3000),
  });
  if (!answer.ok) throw new Error(`the push service answers ${answer.status}`);
}

// Standard Webhooks 1.0, v1: one of the signatures is ours, and made just now.
function isGenuine(headers, body) {
  const id = headers['webhook-id'], sentAt = headers['webhook-timestamp'] || '';
  if (!id || !/^\d+$/.test(sentAt) || Math.abs(Date.now() / 1000 - Number(sentAt)) > TOLERANCE_S) return false;
  const ours = crypto.createHmac('sha256', KEY).update(`${id}.${sentAt}.`).update(body).digest();
  return (headers['webhook-signature'] || '').split(' ').some((one) => {
    const theirs = Buffer.from(one.startsWith('v1,') ? one.slice(3) : '', 'base64');
    return theirs.length === ours.length && crypto.timingSafeEqual(theirs, ours);
  });
}

const seen = new Set();
// 2xx: in safe hands, never sent again. 503: again later.
async function take(headers, body) {
  if (!isGenuine(headers, body)) return 401;
  const id = headers['webhook-id'], event = JSON.parse(body).data;
  if (seen.has(id)) return 204; // a lost answer looks like a lost message
  try {
    await push(event.to, event.from || '', event.body);
  } catch (error) {
    console.error('cannot push now:', error.message);
    return 503;
  }
  if (seen.add(id).size > REMEMBERED) seen.delete(seen.values().next().value);
  return 204;
}

http.createServer(async (request, response) => {
  const parts = [];
  let size = 0;
  try {
    for await (const part of request) if ((size += part.length) <= MAX_BYTES) parts.push(part);
    response.writeHead(size > MAX_BYTES ? 413 : await take(request.headers, Buffer.concat(parts))).end();
  } catch {
    response.destroy(); // broken off, or no event
  }
}).listen(Number(process.argv[2]), '127.0.0.1');
